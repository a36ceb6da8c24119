// Sagas: which are open and parked, and what happened to one. Lets a parked one go on, or gives it up.

import { json } from "../api.js";
import { Asked, Badge, Failed, Sure, Table, When, html, number, useAsked, useEffect, useRef, useState } from "../parts.js";

const STATUSES = ["parked", "open", "ended", "given up"];
const place = (saga) => `#/saga/${encodeURIComponent(saga.saga)}/${encodeURIComponent(saga.key)}`;

export function Sagas({ status, at }) {
  const chosen = STATUSES.includes(at[0]) ? at[0] : "";
  const all = status?.sagas || [];
  const sum = (name) => all.reduce((total, each) => total + each[name.replace(" ", "_")], 0);
  const counts = all.map((each) => [each.open, each.parked, each.ended, each.given_up].join()).join(";");
  const listed = useAsked(`sagas?limit=100${chosen ? `&status=${encodeURIComponent(chosen)}` : ""}`, [counts]);
  return html`<h1>Sagas</h1>
    <${Table} rows=${all} empty=${status ? "There is no saga." : "Waiting for the first look…"} columns=${[
      { title: "Saga", of: (s) => html`<strong>${s.saga}</strong>` }, { title: "State", of: (s) => html`<${Badge} state=${s.state} />` },
      ...["open", "parked", "ended", "given up"].map((name) => ({ title: name, num: true, of: (s) => number(s[name.replace(" ", "_")]) })),
      { title: "to send", num: true, of: (s) => number(s.waiting) }, { title: "", of: (s) => s.error || "" },
    ]} />
    ${all.length ? html`<div class="filters" role="group" aria-label="Status">
      <a class="button" aria-current=${chosen ? undefined : "true"} href="#/sagas">all</a>
      ${STATUSES.map((name) => html`<a class="button" aria-current=${chosen === name ? "true" : undefined} href=${`#/sagas/${encodeURIComponent(name)}`}>${name} ${number(sum(name))}</a>`)}</div>
    <${Asked} of=${listed}>${(found) => html`<${Table} rows=${found.sagas} empty="There is none." columns=${[
      { title: "Key", of: (s) => html`<a href=${place(s)}>${s.key}</a><br /><span class="quiet">${s.saga}</span>` },
      { title: "Status", of: (s) => html`<${Badge} state=${s.status} />` }, { title: "Events", num: true, of: (s) => s.events },
      { title: "Begun", of: (s) => html`<${When} at=${s.begun_at} />` }, { title: "Changed", of: (s) => html`<${When} at=${s.changed_at} />` },
      { title: "Why", of: (s) => s.error || "" },
    ]} />`}<//>` : null}`;
}

export function OneSaga({ at }) {
  const [name, key] = at;
  const path = `sagas/${encodeURIComponent(name)}/${encodeURIComponent(key)}`;
  const told = useAsked(path);
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState(null);
  const [said, setSaid] = useState("");
  const timer = useRef(null);
  useEffect(() => () => clearInterval(timer.current), []);
  const act = async (what) => {
    setAsking(false);
    setError(null);
    try {
      await json(`sagas/${what}`, { method: "POST", body: { saga: name, key } });
      setSaid(what === "retry" ? "Asked for: whoever runs the sagas tries it again." : "Asked for: whoever runs the sagas ends it.");
      let looks = 0;
      timer.current = setInterval(() => { told.again(); if (++looks >= 4) clearInterval(timer.current); }, 400);
    } catch (failure) { setError(failure); }
  };
  return html`<${Asked} of=${told}>${({ saga, history }) => html`
    <h1>${saga.saga} of ${saga.key} <${Badge} state=${saga.status} /></h1>
    ${saga.error ? html`<div class="problem" role="alert"><strong>It is parked</strong><p>${saga.error}</p></div>` : null}
    ${error ? html`<${Failed} error=${error} />` : null}
    ${said ? html`<p class="note" role="status">${said}</p>` : null}
    <div class="actions left">
      ${saga.status === "parked" ? html`<button class="primary" onClick=${() => act("retry")}>Try again</button>` : null}
      ${["parked", "open"].includes(saga.status) ? html`<button class="danger" onClick=${() => setAsking(true)}>Give up…</button>` : null}
      ${saga.correlation_id ? html`<a class="button" href=${`#/story/${encodeURIComponent(saga.correlation_id)}`}>Its story in all services</a>` : null}</div>
    <ol class="story">${history.map((step) => html`<li><div class=${`dot ${step.kind}`}></div><div>
      <strong>${step.name}</strong> <span class="quiet">${step.kind}${step.service ? (step.kind === "command" ? ` to ${step.service}` : ` of ${step.service}`) : ""}</span> <${Badge} state=${step.state} />
      <p class="quiet"><${When} at=${step.at} />${step.error ? ` · ${step.error}` : ""}</p>
      <details><summary>What it says</summary><pre>${JSON.stringify(step.data, null, 2)}</pre></details></div></li>`)}</ol>
    ${asking ? html`<${Sure} title="Give this saga up?" confirm="Give it up" danger=${true} onNo=${() => setAsking(false)} onYes=${() => act("give-up")}>
      <p>What <strong>${saga.saga}</strong> of <strong>${saga.key}</strong> still wants to send is dropped, its deadlines are withdrawn, and what comes for it is only noted. What it did stays done.</p><//>` : null}`}<//>`;
}
