// A customer's orders, as they go on; and what they come to.

import { Failed, html } from "dashboard/parts.js";
import { choose } from "./chosen.js";
import { useRows } from "./live.js";
import { euros } from "./money.js";
import { TONES } from "./steps.js";

const MOST = 50;

export function Orders({ shop, chosen }) {
  const customer = chosen.customer || shop?.customers[0]?.customer_id;
  if (!customer) return html`<h1>Orders</h1><p class="quiet">Loading…</p>`;
  return html`<h1>Orders</h1>
    <label class="field">Whose <select value=${customer} onChange=${(event) => choose({ customer: event.target.value })}>
      ${shop?.customers.map((each) => html`<option value=${each.customer_id}>${each.name}, ${each.city}</option>`)}</select></label>
    <${Theirs} key=${customer} customer=${customer} />`;
}

function Theirs({ customer }) {
  const orders = useRows("order_details", `&customer_id=${encodeURIComponent(customer)}`);
  if (orders.error) return html`<${Failed} error=${orders.error} />`;
  if (!orders.isThere) return html`<p class="quiet">Loading…</p>`;
  const all = [...orders.rows.values()].sort((a, b) => (a.placed_at < b.placed_at ? 1 : -1));
  const spent = all.filter((each) => each.status === "confirmed").reduce((sum, each) => sum + each.total_cents, 0);
  if (!all.length) return html`<p>None yet. <a href="#/">To the shop</a></p>`;
  return html`<p class="quiet num">${all.length} ${all.length === 1 ? "order" : "orders"}, ${all.filter((each) => each.status === "confirmed").length} confirmed for ${euros(spent)}</p>
    <div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Order</th><th scope="col">State</th><th scope="col" class="detail">Stock</th><th scope="col" class="detail">Payment</th><th scope="col" class="num">Total</th></tr></thead>
    <tbody>${all.slice(0, MOST).map((each) => html`<tr key=${each.order_id} class=${orders.changed.has(each.order_id) ? "changed" : ""}>
      <td><a href=${`#/order/${encodeURIComponent(each.order_id)}`}>${each.order_id}</a><small class="when">${new Date(each.placed_at).toLocaleTimeString()}</small></td>
      <td><span class=${`badge ${TONES[each.status]}`}>${each.status}</span>${each.reason ? html`<small class="when">${each.reason}</small>` : null}</td>
      <td class="detail">${each.stock ?? "–"}</td><td class="detail">${each.payment ?? "–"}</td><td class="num">${euros(each.total_cents)}</td></tr>`)}</tbody></table></div>
    ${all.length > MOST ? html`<p class="quiet">The newest ${MOST} are shown.</p>` : null}`;
}
