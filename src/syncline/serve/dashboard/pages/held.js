// What is held back, and why: streams of events that could not be made rows, and pieces of views that could not be computed.

import { json } from "../api.js";
import { Asked, Failed, Sure, Table, When, html, useAsked, useState } from "../parts.js";

export function Held() {
  const held = useAsked("dead-letters");
  const [asking, setAsking] = useState(null);
  const [done, setDone] = useState(null);
  const [error, setError] = useState(null);
  const act = async (what, letter) => {
    setAsking(null);
    setError(null);
    try {
      const { outcomes } = await json(`dead-letters/${what}`, { method: "POST", body: { service: letter.service, stream: letter.stream, position: letter.position } });
      setDone(outcomes.map((each) => `${each.stream} in ${each.read_model}: ${each.is_released ? "goes on" : `still held back, ${each.error}`}`).join("; "));
    } catch (failure) { setError(failure); }
    held.again();
  };
  return html`<h1>Held back</h1>
    ${done ? html`<p class="note" role="status">${done}</p>` : null}
    ${error ? html`<${Failed} error=${error} />` : null}
    <${Asked} of=${held}>${(found) => html`
      <h2>Streams</h2>
      <${Table} rows=${found.dead_letters} empty="No stream is held back." columns=${[
        { title: "Stream", of: (l) => html`<strong class="short">${l.stream}</strong><br /><span class="quiet short">${l.service} → ${l.read_model}</span>
          <div class="actions left"><button onClick=${() => act("retry", l)}>Try again</button><button class="danger" onClick=${() => setAsking(l)}>Drop…</button></div>` },
        { title: "Why", of: (l) => l.error }, { title: "Event", of: (l) => l.event }, { title: "From", num: true, of: (l) => l.position }, { title: "Since", of: (l) => html`<${When} at=${l.since} />` },
        { title: "Rows", num: true, of: (l) => l.rows },
      ]} />
      <h2>Pieces set aside</h2>
      <${Table} rows=${found.set_aside} empty="Nothing is set aside." columns=${[
        { title: "View", of: (p) => html`<a href=${`#/view/${p.view}`}>${p.view}</a>` }, { title: "Key", of: (p) => p.key.join(", ") },
        { title: "Why", of: (p) => p.error }, { title: "Since", of: (p) => html`<${When} at=${p.since} />` },
      ]} />`}<//>
    ${asking ? html`<${Sure} title="Drop this event for good?" confirm="Drop it" danger=${true} onNo=${() => setAsking(null)} onYes=${() => act("drop", asking)}>
      <p>The event <strong>${asking.event}</strong> at position ${asking.position} of stream <strong>${asking.stream}</strong> will be left out of ${asking.read_model}, in every rebuild as well.
      What follows it goes on. The service's own log keeps it.</p><//>` : null}`;
}
