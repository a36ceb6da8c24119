// What there is to read, for whoever may read: each view with its freshness, and the queries.

import { Asked, Badge, Table, age, html, useAsked, useEffect } from "../parts.js";

const LOOK_EVERY_MS = 2000;

export function Views() {
  const views = useAsked("views");
  const queries = useAsked("queries");
  useEffect(() => {
    const clock = setInterval(views.again, LOOK_EVERY_MS);
    return () => clearInterval(clock);
  }, []);
  return html`<h1>Views</h1>
    <${Asked} of=${views}>${(found) => html`<${Table} rows=${found.views} empty="There is no view." columns=${[
      { title: "View", of: (v) => html`<a href=${`#/view/${v.name}`}>${v.name}</a>${v.about ? html`<br /><span class="quiet">${v.about}</span>` : null}` },
      { title: "State", of: (v) => html`<${Badge} state=${v.state} />` },
      { title: "Staleness", num: true, of: (v) => age(v.staleness_s) },
      { title: "Made of", of: (v) => v.reads.join(", ") },
      { title: "Key", of: (v) => html`<code>${v.key.join(", ") || "(one row)"}</code>` },
    ]} />`}<//>
    <${Asked} of=${queries}>${(found) => (found.queries.length ? html`<h2>Queries</h2><${Table} rows=${found.queries} empty="" columns=${[
      { title: "Query", of: (q) => html`<a href="#/queries">${q.name}</a>` },
      { title: "What it tells", of: (q) => q.about },
      { title: "Asked with", of: (q) => q.parameters.map((each) => each.name).join(", ") },
    ]} />` : null)}<//>`;
}
