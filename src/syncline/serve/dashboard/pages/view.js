// A view: what it is, its rows with filters, order and pages, live; and one row with its changes.

import { ask, follow, keyPath } from "../api.js";
import { Asked, Badge, Failed, Table, Value, Vector, When, age, decoded, html, number, rate, useAsked, useEffect, useState } from "../parts.js";

const OPERATORS = [["eq", "="], ["ne", "≠"], ["gt", ">"], ["gte", "≥"], ["lt", "<"], ["lte", "≤"], ["in", "one of"], ["null", "is NULL"]];

export function View({ status, at, may }) {
  const [name] = at;
  const views = useAsked("views");
  const seen = status?.views.find((each) => each.view === name);
  return html`<h1>${name} ${seen ? html`<${Badge} state=${seen.state} />` : null}</h1>
    ${seen?.error ? html`<div class="problem" role="alert"><strong>Its last error</strong><p>${seen.error}</p></div>` : null}
    <${Asked} of=${views}>${(found) => {
      const view = found.views.find((each) => each.name === name);
      if (!view) return html`<p class="quiet">There is no view '${name}'.</p>`;
      return html`${view.about ? html`<p>${view.about}</p>` : null}
        <dl class="facts"><dt>Read model</dt><dd>${view.read_model}</dd><dt>Key</dt><dd><code>${view.key.join(", ") || "(one row)"}</code></dd>
          <dt>Made of</dt><dd>${view.reads.map((service, place) => html`${place ? ", " : ""}${may("operate") ? html`<a href=${`#/feed/${view.read_model}/${service}`}>${service}</a>` : service}`)}</dd>
          ${seen ? html`<dt>Staleness</dt><dd class="num">${age(seen.staleness_s)}</dd><dt>Changes</dt><dd class="num">${rate(seen.rate)}</dd>` : null}</dl>
        ${view.state === "live" ? html`<${Rows} key=${name} view=${view} />` : html`<p class="quiet">It has no rows yet: ${seen?.activity || "it waits"}.</p>`}`;
    }}<//>`;
}

function Rows({ view }) {
  const [filters, setFilters] = useState([]);
  const [sort, setSort] = useState("");
  const [cursors, setCursors] = useState([""]);
  const [live, setLive] = useState(true);
  const [page, setPage] = useState(null);
  const [error, setError] = useState(null);
  const [turn, setTurn] = useState(0);
  const [changed, setChanged] = useState(new Set());
  const cursor = cursors[cursors.length - 1];
  const query = new URLSearchParams(filters.filter((each) => each.value !== "").map((each) => [`${each.column}.${each.operator}`, each.value]));
  if (sort) query.set("sort", sort);
  query.set("limit", "25");
  if (cursor) query.set("after", cursor);
  const path = `views/${encodeURIComponent(view.name)}?${query}`;
  useEffect(() => {
    const stop = new AbortController();
    ask(path, { signal: stop.signal }).then(async (answer) => {
      setPage({ ...(await answer.json()), token: answer.headers.get("Consistency-Token"), staleness: answer.headers.get("Staleness") });
      setError(null);
    }).catch((failure) => failure.name !== "AbortError" && setError(failure));
    return () => stop.abort();
  }, [path, turn]);
  useEffect(() => {
    if (!live) return undefined;
    const stop = new AbortController();
    let waiting = null;
    follow(`views/${encodeURIComponent(view.name)}/changes`, (kind, data) => {
      if (kind === "begin") return;
      if (data.key) setChanged((was) => new Set([...was, keyPath(Object.values(data.key))].slice(-200)));
      waiting ??= setTimeout(() => { waiting = null; setTurn((was) => was + 1); }, 400);
    }, stop.signal).catch(setError);
    return () => { stop.abort(); clearTimeout(waiting); };
  }, [view.name, live]);
  const restart = (change) => { change(); setCursors([""]); };
  const order = (column) => restart(() => setSort(sort === column ? `-${column}` : sort === `-${column}` ? "" : column));
  return html`<section aria-label="Rows">
    <div class="filters">${filters.map((each, place) => html`<${Filter} key=${place} view=${view} filter=${each}
        onChange=${(now) => restart(() => setFilters(filters.map((was, other) => (other === place ? now : was))))}
        onRemove=${() => restart(() => setFilters(filters.filter((_, other) => other !== place)))} />`)}
      <button onClick=${() => setFilters([...filters, { column: view.columns[0].name, operator: "eq", value: "" }])}>Add a filter</button>
      <button aria-pressed=${live} onClick=${() => setLive(!live)}>${live ? "Live" : "Paused"}</button>
      <button onClick=${() => navigator.clipboard?.writeText(`curl '${new URL(path, document.baseURI)}'`)}>Copy as curl</button></div>
    ${error ? html`<${Failed} error=${error} again=${() => setTurn(turn + 1)} />` : null}
    ${page ? html`
      <div class="scroll" tabindex="0"><table><thead><tr>${view.columns.map((column) => html`<th scope="col" class=${page.rows.some((row) => typeof row[column.name] === "number") ? "num" : ""} aria-sort=${sort === column.name ? "ascending" : sort === `-${column.name}` ? "descending" : "none"}>
        <button class="sort" onClick=${() => order(column.name)}>${column.name}${sort === column.name ? " ↑" : sort === `-${column.name}` ? " ↓" : ""}</button><small>${column.type}</small></th>`)}</tr></thead>
        <tbody>${page.rows.map((row) => {
          const key = keyPath(view.key.map((name) => row[name]));
          return html`<tr key=${key} class=${changed.has(key) ? "changed" : ""}>${view.columns.map((column) => html`<td class=${typeof row[column.name] === "number" ? "num" : ""}>
            ${view.key.includes(column.name) ? html`<a href=${`#/row/${view.name}/${encodeURIComponent(key)}`}><${Value} value=${row[column.name]} /></a>` : html`<${Value} value=${row[column.name]} />`}</td>`)}</tr>`;
        })}</tbody></table></div>
      ${page.rows.length ? null : html`<p class="quiet">No row matches.</p>`}
      ${page.notes.map((note) => html`<p class="note">${note}</p>`)}
      <div class="actions left"><button disabled=${cursors.length === 1} onClick=${() => setCursors(cursors.slice(0, -1))}>Back</button>
        <button disabled=${!page.next} onClick=${() => setCursors([...cursors, page.next])}>Next</button>
        <span class="quiet">page ${cursors.length}, ${page.staleness === null ? "of unknown age" : `at most ${age(Number(page.staleness))} old`}, at</span> <${Vector} token=${page.token} /></div>` : html`<p class="quiet">Loading…</p>`}</section>`;
}

function Filter({ view, filter, onChange, onRemove }) {
  return html`<span class="filter"><select aria-label="Column" value=${filter.column} onChange=${(event) => onChange({ ...filter, column: event.target.value })}>
      ${view.columns.map((column) => html`<option>${column.name}</option>`)}</select>
    <select aria-label="Operator" value=${filter.operator} onChange=${(event) => onChange({ ...filter, operator: event.target.value, value: event.target.value === "null" ? "true" : filter.value })}>
      ${OPERATORS.map(([name, shown]) => html`<option value=${name}>${shown}</option>`)}</select>
    ${filter.operator === "null" ? null : html`<input aria-label="Value" value=${filter.value} onInput=${(event) => onChange({ ...filter, value: event.target.value })} />`}
    <button class="plain" aria-label="Remove the filter" onClick=${onRemove}>×</button></span>`;
}

export function Row({ at, may }) {
  const [name, key] = at;
  const [row, setRow] = useState(undefined);
  const [token, setToken] = useState("");
  const [error, setError] = useState(null);
  const [turn, setTurn] = useState(0);
  const history = useAsked(`views/${encodeURIComponent(name)}/history?key=${encodeURIComponent(key)}`, [turn]);
  const views = useAsked("views");
  useEffect(() => {
    const stop = new AbortController();
    ask(`views/${encodeURIComponent(name)}/${key}`, { signal: stop.signal }).then(async (answer) => {
      setToken(answer.headers.get("Consistency-Token"));
      setRow(await answer.json());
      setError(null);
    }).catch((failure) => { if (failure.name === "AbortError") return; if (failure.status === 404) setRow(null); else setError(failure); });
    return () => stop.abort();
  }, [name, key, turn]);
  useEffect(() => {
    const columns = views.value?.views.find((each) => each.name === name)?.key;
    if (!columns) return undefined;
    const stop = new AbortController();
    const query = new URLSearchParams(key.split(",").map((part, place) => [columns[place], decoded(part)]));
    follow(`views/${encodeURIComponent(name)}/changes?${query}`, () => setTurn((was) => was + 1), stop.signal).catch(() => {});
    return () => stop.abort();
  }, [views.value, name, key]);
  const shown = key.split(",").map(decoded).join(", ");
  return html`<p><a href=${`#/view/${name}`}>← ${name}</a></p><h1>${shown}</h1>
    ${error ? html`<${Failed} error=${error} again=${() => setTurn(turn + 1)} />` : null}
    ${row === undefined ? html`<p class="quiet">Loading…</p>` : row === null ? html`<p class="quiet">There is no row with this key now.</p>` : html`
      <dl class="facts">${Object.entries(row).map(([column, value]) => html`<dt>${column}</dt><dd><${Value} value=${value} /></dd>`)}</dl>
      <p class="quiet">As of <${Vector} token=${token} /></p>`}
    ${may("operate") ? html`<p><a class="button" href=${`#/story/${encodeURIComponent(key.split(",").map(decoded)[0])}`}>Its story across the services</a></p>` : null}
    <h2>Changes</h2><${Asked} of=${history}>${(found) => html`<${Table} rows=${found.changes} empty="The change feed holds none any more." columns=${[
      { title: "Number", of: (change) => number(change.seq) },
      { title: "What", of: (change) => (change.op === "upsert" ? "new, or changed" : change.op === "delete" ? "gone" : change.op) },
      { title: "When", of: (change) => (change.at ? html`<${When} at=${change.at} />` : html`<span class="quiet">not known</span>`) },
    ]} />
      ${found.changes.some((change) => !change.at) ? html`<p class="quiet">A change has a time where somebody was looking at the system when it came.</p>` : null}`}<//>`;
}
