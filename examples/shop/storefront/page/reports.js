// For those who run the shop: what to order from the suppliers, and what was sold.

import { ask, json } from "dashboard/api.js";
import { Asked, Failed, html, number, useAsked, useEffect, useState } from "dashboard/parts.js";
import { useRows } from "./live.js";
import { euros } from "./money.js";

const CRATE = 100;
const AGAIN_MS = 2000;

export function Stock() {
  const short = useRows("stock_to_reorder");
  const [error, setError] = useState(null);
  const restock = (sku) => ask("syncline/commands/Restock", { method: "POST", body: { delivery_id: crypto.randomUUID(), sku, quantity: CRATE } }).then(() => setError(null), setError);
  if (short.error) return html`<h1>Stock to reorder</h1><${Failed} error=${short.error} />`;
  const rows = [...short.rows.values()].sort((a, b) => a.left_over - b.left_over || a.title.localeCompare(b.title));
  return html`<h1>Stock to reorder</h1>
    ${error ? html`<${Failed} error=${error} />` : null}
    ${short.isThere && !rows.length ? html`<p>Enough of everything.</p>` : null}
    ${rows.length ? html`<div class="scroll" tabindex="0"><table><thead><tr><th scope="col">Product</th><th scope="col" class="num">Left</th><th scope="col" class="num">Mark</th><th scope="col"><span class="quiet">A delivery</span></th></tr></thead>
    <tbody>${rows.map((each) => html`<tr key=${each.sku} class=${short.changed.has(each.sku) ? "changed" : ""}><td>${each.title}</td><td class="num">${number(each.left_over)}</td><td class="num">${number(each.reorder_at)}</td>
      <td><button onClick=${() => restock(each.sku)} aria-label=${`${CRATE} more: ${each.title}`}>+${CRATE}</button></td></tr>`)}</tbody></table></div>` : null}`;
}

export function Revenue() {
  const [turn, setTurn] = useState(0);
  const [sold, setSold] = useState(null);
  const [error, setError] = useState(null);
  const products = useAsked("syncline/views/products?limit=1000");
  useEffect(() => {
    const stop = new AbortController();
    json("syncline/queries/best_sellers", { signal: stop.signal }).then((found) => { setSold(found); setError(null); }, (failure) => failure.name !== "AbortError" && setError(failure));
    const again = setTimeout(() => setTurn(turn + 1), AGAIN_MS);
    return () => { stop.abort(); clearTimeout(again); };
  }, [turn]);
  if (error) return html`<h1>Revenue</h1><${Failed} error=${error} />`;
  return html`<h1>Revenue</h1><${Asked} of=${products}>${(found) => {
    const titles = new Map(found.rows.map((each) => [each.sku, each.title]));
    const rows = (sold?.rows ?? []).map((each) => (Array.isArray(each) ? Object.fromEntries(sold.columns.map((column, place) => [column.name ?? column, each[place]])) : each));
    if (!rows.length) return html`<p class="quiet">${sold ? "Nothing was sold yet." : "Loading…"}</p>`;
    const most = rows[0].revenue_cents;
    return html`<p class="quiet">What sells best, of confirmed orders alone: the named query <a href="syncline/#/queries"><code>best_sellers</code></a> over the view <a href="syncline/#/view/revenue_per_day_and_product"><code>revenue_per_day_and_product</code></a>.</p>
      <ol class="bars">${rows.map((each) => html`<li key=${each.sku}><span>${titles.get(each.sku) ?? each.sku}</span><meter min="0" max=${most} value=${each.revenue_cents} aria-label=${titles.get(each.sku) ?? each.sku}></meter><span class="num">${euros(each.revenue_cents)}</span><small class="num">${number(each.items)} sold</small></li>`)}</ol>`;
  }}<//>`;
}
