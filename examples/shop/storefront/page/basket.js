// The basket: what is in it, who is buying, with which card; and placing the order.

import { ask } from "dashboard/api.js";
import { Failed, html, useEffect, useRef, useState } from "dashboard/parts.js";
import { choose, tokens } from "./chosen.js";
import { useRows } from "./live.js";
import { euros } from "./money.js";
import { Quantity } from "./window.js";

// The order, with an id of its own. One whose answer was lost is placed again as it was, by the same id: it is one order.
function sameAgain(tried, wants) {
  const wanted = JSON.stringify(wants);
  if (tried.current.wanted !== wanted) {
    const body = { order_id: `web-${crypto.randomUUID().slice(0, 8)}`, placed_at: new Date().toISOString(), ...wants };
    tried.current = { wanted, body };
  }
  return tried.current.body;
}

export function Basket({ shop, chosen }) {
  const products = useRows("products");
  const [isSent, setSent] = useState(false);
  const [error, setError] = useState(null);
  const lines = Object.entries(chosen.basket).map(([sku, quantity]) => ({ ...products.rows.get(sku), sku, quantity })).filter((each) => each.title);
  const total = lines.reduce((sum, each) => sum + each.quantity * each.price_cents, 0);
  const customer = chosen.customer || shop?.customers[0]?.customer_id || "";
  const card = chosen.card || shop?.cards[0]?.card || "";
  const tried = useRef({ wanted: "", body: null });
  const place = async (event) => {
    event.preventDefault();
    setSent(true);
    setError(null);
    const body = sameAgain(tried, { customer_id: customer, card, lines: lines.map(({ sku, quantity, price_cents }) => ({ sku, quantity, price_cents })) });
    const order = body.order_id;
    try {
      const answer = await ask("syncline/commands/PlaceOrder", { method: "POST", headers: { "Idempotency-Key": order, "Correlation-Id": order }, body });
      tokens.keep(order, answer.headers.get("Consistency-Token"));
      choose({ basket: {} });
      location.hash = `#/order/${order}`;
    } catch (failure) {
      setError(failure);
      setSent(false);
    }
  };
  useEffect(() => { document.title = "Basket · Fold & Leaf"; return () => { document.title = "Fold & Leaf"; }; }, []);
  if (!Object.keys(chosen.basket).length) return html`<h1>Basket</h1><p>It is empty. <a href="#/">To the shop</a></p>`;
  if (!products.isThere || !shop) return html`<h1>Basket</h1><p class="quiet">Loading…</p>`;
  return html`<h1>Basket</h1>
    <form onSubmit=${place}>
      <ul class="lines in-basket">${lines.map((each) => html`<li key=${each.sku}>
        <span class="what">${each.title}<small class="num">${euros(each.price_cents)}${each.available < each.quantity ? html` · <strong class="few">${Math.max(each.available, 0)} left</strong>` : null}</small></span>
        <${Quantity} sku=${each.sku} title=${each.title} quantity=${each.quantity} />
        <span class="num sum">${euros(each.quantity * each.price_cents)}</span></li>`)}
        <li class="total"><span class="what">Total</span><strong class="num sum">${euros(total)}</strong></li></ul>
      <label class="field">Who is buying <select value=${customer} onChange=${(event) => choose({ customer: event.target.value })}>
        ${shop.customers.map((each) => html`<option value=${each.customer_id}>${each.name}, ${each.city}</option>`)}</select></label>
      <fieldset class="cards"><legend>Card</legend>${shop.cards.map((each) => html`<label class=${each.card === card ? "card-choice chosen" : "card-choice"}>
        <input type="radio" name="card" value=${each.card} checked=${each.card === card} onChange=${() => choose({ card: each.card })} />
        <span><strong>${each.name}</strong><small>${each.about}</small></span></label>`)}</fieldset>
      ${error ? html`<${Failed} error=${error} />` : null}
      <div class="actions left"><button class="primary large" disabled=${isSent || !lines.length}>${isSent ? "Placing…" : `Place the order, ${euros(total)}`}</button></div>
    </form>`;
}
