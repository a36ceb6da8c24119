// One order: the row that joins what four services know of it, filled in as they answer; and, below, what they themselves did.

import { ask, json } from "dashboard/api.js";
import { Failed, age, html, useAsked, useEffect, useState } from "dashboard/parts.js";
import { tokens } from "./chosen.js";
import { useRows } from "./live.js";
import { euros } from "./money.js";
import { TONES, steps } from "./steps.js";

export function Order({ at, shop }) {
  const [id] = at;
  const key = encodeURIComponent(id);
  const live = useRows("order_details", `&order_id=${key}`);
  const reach = useReach(`syncline/views/order_details/${key}`, tokens.of(id));
  const order = live.rows.values().next().value;
  useEffect(() => { document.title = `${id} · Fold & Leaf`; return () => { document.title = "Fold & Leaf"; }; }, [id]);
  if (live.error) return html`<h1>${id}</h1><${Failed} error=${live.error} />`;
  return html`<h1>Order <span class="order-id">${id}</span> ${order ? html`<span class=${`badge ${TONES[order.status]}`} role="status">${order.status}</span>` : null}</h1>
    ${reach.isWaiting ? html`<div class="note" role="status"><strong>Your order is taken, and not to be seen yet.</strong>${" "}
      A read that carries its token is refused while the read model is behind: it is never answered with something older.
      ${shop?.relay === "stopped" ? " The relay is stopped: start it, and look here." : ""}</div>` : null}
    ${order ? html`<${Found} order=${order} />` : live.isThere && !reach.isWaiting && !reach.isAsking ? html`<p>There is no such order.</p>` : html`<${Steps} of=${BEFORE} />`}
    <p class="asof">${order ? html`As of <code class="token" title=${live.token}>${live.token.slice(0, 22)}…</code>` : null}
      ${reach.staleness === null ? null : html`<span>read with your order's token, at most ${age(reach.staleness)} old</span>`}</p>
    <${Did} id=${id} seen=${order && `${order.status} ${order.stock} ${order.payment}`} />`;
}

const BEFORE = [{ state: "busy", title: "Placed", about: "Not in the read model yet." }];

function Found({ order }) {
  const key = encodeURIComponent(order.order_id);
  return html`<${Steps} of=${steps(order)} />
    <${Lines} order=${order} />
    <dl class="facts"><dt>For</dt><dd>${order.customer ?? order.customer_id}${order.city ? `, ${order.city}` : ""}</dd>
      <dt>Placed</dt><dd><time dateTime=${order.placed_at}>${new Date(order.placed_at).toLocaleString()}</time></dd>
      <dt>In the dashboard</dt><dd><a href=${`syncline/#/row/order_details/${key}`}>its row</a>, <a href=${`syncline/#/story/${key}`}>its story</a></dd></dl>`;
}

const MARKS = { good: "✓", bad: "✕", calm: "–", busy: "…", waiting: "" };

function Steps({ of }) {
  return html`<ol class="steps" aria-label="How far it is">${of.map((each) => html`<li class=${each.state}>
    <span class="mark" aria-hidden="true">${MARKS[each.state]}</span><strong>${each.title}</strong><small>${each.about}</small></li>`)}</ol>`;
}

// They never change, and are in the read model since the order's row is: both came with the same event.
function Lines({ order }) {
  const lines = useAsked(`syncline/views/order_lines?order_id=${encodeURIComponent(order.order_id)}&limit=1000`);
  return html`<ul class="lines">${(lines.value?.rows ?? []).map((each) => html`<li key=${each.sku}><span class="what">${each.title ?? each.sku}<small class="num">${each.quantity} × ${euros(each.price_cents)}</small></span>
    <span class="num sum">${euros(each.quantity * each.price_cents)}</span></li>`)}
    <li class="total"><span class="what">${order.items} ${order.items === 1 ? "thing" : "things"}</span><strong class="num sum">${euros(order.total_cents)}</strong></li></ul>
    ${lines.error ? html`<${Failed} error=${lines.error} again=${lines.again} />` : null}`;
}

// Asks for the row with the order's token until it is granted: whether the read model has reached what was just written.
function useReach(path, token) {
  const [state, set] = useState({ isAsking: Boolean(token), isWaiting: false, staleness: null });
  useEffect(() => {
    if (!token) return undefined;
    const stop = new AbortController();
    (async () => {
      while (!stop.signal.aborted) {
        try {
          const answer = await ask(path, { signal: stop.signal, headers: { "At-Least": token, Wait: "0.5" } });
          return set({ isAsking: false, isWaiting: false, staleness: Number(answer.headers.get("Staleness")) });
        } catch (error) {
          if (error.name === "AbortError") return undefined;
          if (error.status !== 503) return set({ isAsking: false, isWaiting: false, staleness: null });
          set({ isAsking: true, isWaiting: true, staleness: null });
        }
      }
      return undefined;
    })();
    return () => stop.abort();
  }, [path, token]);
  return state;
}

// What the services' own logs say. It is read from them, not from the read model, which may be behind.
function Did({ id, seen }) {
  const [entries, setEntries] = useState([]);
  useEffect(() => {
    const stop = new AbortController();
    const look = () => json(`syncline/story/${encodeURIComponent(id)}`, { signal: stop.signal }).then((story) => setEntries(story.entries), () => {});
    look();
    const again = setInterval(look, 2000);
    return () => { stop.abort(); clearInterval(again); };
  }, [id, seen]);
  if (!entries.length) return null;
  const began = entries[0].at;
  return html`<section><h2>What the services did</h2>
    <ol class="did">${entries.map((each) => html`<li key=${`${each.service}-${each.position}`}><span class="num after">${after(each.at - began)}</span>
      <span class="badge calm">${each.service}</span><span>${each.type}</span></li>`)}</ol></section>`;
}

const after = (seconds) => (seconds < 1 ? `+${Math.round(seconds * 1000)} ms` : `+${seconds.toFixed(1)} s`);
