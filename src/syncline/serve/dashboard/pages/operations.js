// Rebuild, verify, repair: begun here, watched here.

import { json } from "../api.js";
import { Asked, Badge, Failed, Sure, Table, When, html, number, useAsked, useEffect, useRef, useState } from "../parts.js";

export function Operations({ status }) {
  const list = useAsked("operations");
  const [asking, setAsking] = useState(null);
  const [error, setError] = useState(null);
  const view = useRef(null);
  const running = list.value?.operations.some((each) => each.state === "running");
  useEffect(() => {
    if (!running) return undefined;
    const clock = setInterval(list.again, 500);
    return () => clearInterval(clock);
  }, [running, list.value]);
  const begin = async (body) => {
    setAsking(null);
    setError(null);
    try { await json("operations", { method: "POST", body }); } catch (failure) { setError(failure); }
    list.again();
  };
  const chosen = () => view.current.value || null;
  return html`<h1>Operations</h1>
    <div class="filters"><label>View <select ref=${view}><option value="">all views</option>${(status?.views || []).map((each) => html`<option>${each.view}</option>`)}</select></label>
      <button class="primary" onClick=${() => begin({ kind: "verify", view: chosen(), repair: false })}>Verify</button>
      <button onClick=${() => setAsking({ kind: "verify", view: chosen(), repair: true })}>Verify and repair…</button>
      <button onClick=${() => (chosen() ? setAsking({ kind: "rebuild", view: chosen() }) : setError({ title: "Which view?", message: "Choose the view that is to be built anew." }))}>Rebuild…</button></div>
    ${error ? html`<${Failed} error=${error} />` : null}
    <${Asked} of=${list}>${(found) => (found.operations.length ? found.operations.map((each) => html`<${Operation} key=${each.id} operation=${each} />`) : html`<p class="quiet">None yet.</p>`)}<//>
    ${asking ? html`<${Sure} title=${asking.kind === "rebuild" ? `Build ${asking.view} anew?` : "Verify and repair?"} confirm=${asking.kind === "rebuild" ? "Rebuild" : "Repair"} onNo=${() => setAsking(null)} onYes=${() => begin(asking)}>
      <p>${asking.kind === "rebuild" ? "It is built beside the rows that are read now, and takes their place when it has caught up. Nobody waits for it; it costs the database work." : "What differs from the services is taken from them again; what does not is left alone."}</p><//>` : null}`;
}

function Operation({ operation }) {
  const { result } = operation;
  return html`<article class="card"><h2>${operation.kind} ${operation.view || "all views"}${operation.repair ? ", with repair" : ""} <${Badge} state=${operation.state} /></h2>
    <p class="quiet">asked by ${operation.asked_by}, <${When} at=${operation.started_at} />${operation.ended_at ? html`, ended <${When} at=${operation.ended_at} />` : null}</p>
    ${operation.progress.length ? html`<details open=${operation.state === "running"}><summary class="quiet">Each step</summary>${operation.progress.map((each) => html`
      <label class="bar">${each.what}: ${number(each.done)}${each.total ? ` of ${number(each.total)}` : ""} ${each.unit}
      <${Bar} progress=${each} isOver=${operation.state !== "running"} /></label>`)}</details>` : null}
    ${operation.error ? html`<div class="problem"><p>${operation.error}</p></div>` : null}
    ${result && operation.kind === "verify" ? html`<p><strong>${result.count ? `${number(result.count)} differences` : "No difference"}</strong> in ${number(result.checked.reduce((sum, each) => sum + each.rows, 0))} rows of ${result.checked.length} tables.</p>
      ${result.differences.length ? html`<${Table} rows=${result.differences} empty="" columns=${[{ title: "Where", of: (d) => d.where }, { title: "Key", of: (d) => d.key.join(", ") }, { title: "Kind", of: (d) => d.kind }, { title: "Detail", of: (d) => d.detail }]} />` : null}` : null}
  </article>`;
}

// Moves by itself only while nobody knows how much there is; of nothing, all is done.
function Bar({ progress, isOver }) {
  if (progress.total === null && !isOver) return html`<progress></progress>`;
  return progress.total ? html`<progress value=${progress.done} max=${progress.total}></progress>` : html`<progress value="1" max="1"></progress>`;
}
