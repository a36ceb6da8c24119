// What happened to an order, or anything else with an id, in every service: a time line.

import { Asked, When, html, useAsked, useRef } from "../parts.js";

export function Story({ at }) {
  const id = at[0] || "";
  const text = useRef(null);
  const go = (event) => { event.preventDefault(); location.hash = `#/story/${encodeURIComponent(text.current.value.trim())}`; };
  return html`<h1>Story</h1>
    <form class="filters" onSubmit=${go}><label>Key, stream, command or correlation <input key=${id} ref=${text} defaultValue=${id} required /></label><button class="primary">Tell</button></form>
    ${id ? html`<${Told} key=${id} id=${id} />` : html`<p class="quiet">An order's number, for example: its events in all services, with what caused them.</p>`}`;
}

function Told({ id }) {
  const story = useAsked(`story/${encodeURIComponent(id)}`);
  return html`<${Asked} of=${story}>${(found) => html`
    ${found.unreadable.length ? html`<p class="note">Could not be read: ${found.unreadable.join(", ")}.</p>` : null}
    ${found.entries.length ? html`<ol class="story">${found.entries.map((entry) => html`<li>
      <div class="dot"></div><div><strong>${entry.type}</strong> <span class="badge calm">${entry.service}</span>
      <p class="quiet"><${When} at=${entry.at} /> · ${entry.stream} v${entry.version} · position ${entry.position}${entry.caller ? ` · by ${entry.caller}` : ""}</p>
      <details><summary>What it says, and why it happened</summary><pre>${JSON.stringify(entry.data, null, 2)}</pre>
        <dl class="facts small">${["command_id", "correlation_id", "causation_id"].filter((name) => entry[name]).map((name) => html`<dt>${name.replace("_", " ")}</dt><dd><a href=${`#/story/${encodeURIComponent(entry[name])}`}><code>${entry[name]}</code></a></dd>`)}</dl></details></div></li>`)}</ol>`
      : html`<p class="quiet">No service with an event log knows '${id}'.</p>`}
    ${found.is_cut_short ? html`<p class="note">There is more; the first are shown.</p>` : null}`}<//>`;
}
