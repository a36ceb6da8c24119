// Behind the shop: is the relay at work, does the card processor answer, how many others buy; and buttons to change that.

import { Problem, ask, json } from "dashboard/api.js";
import { Failed, age, html, number, useEffect, useState } from "dashboard/parts.js";

const EVERY_MS = 1000;

// What the demo says of itself, each second; `act` asks it for something, and takes what it says then.
export function useShop() {
  const [state, setState] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    const stop = new AbortController();
    const look = () => json("demo/state", { signal: stop.signal }).then(
      (found) => { setState(found); setError(null); },
      (failure) => failure.name !== "AbortError" && setError(new Problem(failure.status, { detail: "the demo does not answer; is `syncline demo` at work?" })),
    );
    look();
    const again = setInterval(() => document.hidden || look(), EVERY_MS);
    return () => { stop.abort(); clearInterval(again); };
  }, []);
  const act = async (path) => setState(await (await ask(`demo/${path}`, { method: "POST" })).json());
  return { state, error, act };
}

const PROCESSOR = [
  ["charging", "Answers", "Each card does what it is named after."],
  ["declining", "Declines", "Watch orders being cancelled, and their stock given back."],
  ["paused", "Paused", "Watch orders wait for their payment, and give up after a while."],
];

export function Panel({ shop }) {
  const { state, act } = shop;
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState("");
  if (!state) return html`<aside class="panel" aria-label="Behind the shop"><h2>Behind the shop</h2><p class="quiet">…</p></aside>`;
  const doing = (path) => () => { setBusy(path); setError(null); act(path).catch(setError).finally(() => setBusy("")); };
  const isRunning = state.relay === "running";
  const { open, confirmed, cancelled } = state.orders;
  return html`<aside class="panel" aria-label="Behind the shop"><h2>Behind the shop</h2>
    <section><h3 id="relay-title">Relay <span class=${`badge ${isRunning ? "good" : "bad"}`} role="status">${state.relay}</span></h3>
      <p>What you see is at most <strong class=${`num ${state.staleness_s > 2 ? "stale" : ""}`}>${age(state.staleness_s)}</strong> old.</p>
      <button class=${isRunning ? "" : "primary"} disabled=${busy} onClick=${doing(isRunning ? "relay/stop" : "relay/start")}>${isRunning ? "Stop the relay" : "Start the relay"}</button></section>
    <section><h3 id="cards-title">Card processor</h3>
      <div class="choices" role="group" aria-labelledby="cards-title">${PROCESSOR.map(([mode, title]) => html`<button aria-pressed=${state.processor === mode} disabled=${busy} onClick=${doing(`processor/${mode}`)}>${title}</button>`)}</div>
      <p><small>${PROCESSOR.find(([mode]) => mode === state.processor)?.[2]}${state.processor === "paused" ? ` Here: ${state.deadline_s} s.` : ""}</small></p></section>
    <section><h3 id="buyers-title">Other buyers, orders a second</h3>
      <div class="choices" role="group" aria-labelledby="buyers-title">${state.rates.map((rate) => html`<button class="num" aria-pressed=${state.rate === rate} disabled=${busy} onClick=${doing(`buyers/${rate}`)}>${rate || "none"}</button>`)}</div></section>
    ${error ? html`<${Failed} error=${error} />` : null}
    <dl class="counts"><div><dt>open</dt><dd class="num">${number(open)}</dd></div><div><dt>confirmed</dt><dd class="num">${number(confirmed)}</dd></div><div><dt>cancelled</dt><dd class="num">${number(cancelled)}</dd></div></dl>
    <details><summary>What to watch</summary><ol>
      <li>Place an order: its page fills in as the services answer.</li>
      <li>Pay with a card that is declined, or never answers: what was reserved is given back.</li>
      <li>Stop the relay and place an order: it is taken, and a read with its token is refused. Start it: all is caught up.</li>
      <li>Pause the card processor: orders wait. Let it answer again: they go on, or were given up and the money goes back.</li></ol></details>
    <p class="quiet followed"><small>Followed: ${Object.entries(state.follow).map(([service, way]) => `${service} by ${way}`).join(", ")}.</small></p></aside>`;
}
