// Named queries: their parameters, and what they give.

import { json } from "../api.js";
import { Asked, Failed, Table, Value, html, useAsked, useState } from "../parts.js";

export function Queries() {
  const queries = useAsked("queries");
  return html`<h1>Queries</h1><${Asked} of=${queries}>${(found) => (found.queries.length ? found.queries.map((query) => html`<${Query} key=${query.name} query=${query} />`)
    : html`<p class="quiet">None: put a SELECT into a file that <code>queries</code> of the read model names.</p>`)}<//>`;
}

function Query({ query }) {
  const [answer, setAnswer] = useState(null);
  const [error, setError] = useState(null);
  const run = async (event) => {
    event.preventDefault();
    const given = new URLSearchParams([...new FormData(event.target)].filter(([, value]) => value !== ""));
    setError(null);
    try { setAnswer(await json(`queries/${query.name}?${given}`)); } catch (failure) { setError(failure); }
  };
  return html`<article class="card"><h2>${query.name}</h2>${query.about ? html`<p>${query.about}</p>` : null}
    <form class="filters" onSubmit=${run}>${query.parameters.map((each) => html`<label>${each.name} <small>${each.type}${each.optional ? "?" : ""}</small>
      <input name=${each.name} placeholder=${each.default ?? ""} required=${!each.optional && each.default === null} /></label>`)}<button class="primary">Ask</button></form>
    ${error ? html`<${Failed} error=${error} />` : null}
    ${answer ? html`<${Table} rows=${answer.rows} empty="No row." columns=${answer.columns.map((column) => ({ title: column.name, num: isNumeric(answer.rows, column.name), of: (row) => html`<${Value} value=${row[column.name]} />` }))} />
      ${answer.is_cut_short ? html`<p class="note">There are more than ${query.limit} rows; these are the first.</p>` : null}` : null}</article>`;
}

const isNumeric = (rows, name) => rows.some((row) => row[name] !== null) && rows.every((row) => row[name] === null || typeof row[name] === "number");
