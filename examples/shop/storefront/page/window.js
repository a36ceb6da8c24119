// The shop window: every product, what it costs and how many are left, as others buy them.

import { Failed, html, useState } from "dashboard/parts.js";
import { put } from "./chosen.js";
import { useRows } from "./live.js";
import { euros } from "./money.js";
import { CATEGORIES, Picture } from "./picture.js";

const FEW = 10;

export function Window({ chosen }) {
  const products = useRows("products");
  const [category, setCategory] = useState("");
  const [text, setText] = useState("");
  if (products.error) return html`<${Failed} error=${products.error} />`;
  const all = [...products.rows.values()].sort((a, b) => CATEGORIES.indexOf(a.category) - CATEGORIES.indexOf(b.category) || a.title.localeCompare(b.title));
  const categories = [...new Set(all.map((each) => each.category))];
  const shown = all.filter((each) => (!category || each.category === category) && each.title.toLowerCase().includes(text.trim().toLowerCase()));
  return html`<h1>Tea, coffee, and what goes with them</h1>
    <div class="filters" role="group" aria-label="Categories">
      ${["", ...categories].map((each) => html`<button type="button" aria-pressed=${category === each} onClick=${() => setCategory(each)}>${each || "All"}</button>`)}
      <input type="search" aria-label="Search" placeholder="Search" value=${text} onInput=${(event) => setText(event.target.value)} /></div>
    ${products.isThere ? null : html`<p class="quiet">Loading…</p>`}
    ${products.isThere && !shown.length ? html`<p class="quiet">Nothing like that.</p>` : null}
    <ul class="products">${shown.map((each) => html`<${Product} key=${each.sku} product=${each} quantity=${chosen.basket[each.sku] || 0} isChanged=${products.changed.has(each.sku)} />`)}</ul>`;
}

function Product({ product, quantity, isChanged }) {
  const left = product.available;
  return html`<li class="product">
    <${Picture} category=${product.category} sku=${product.sku} />
    <h2>${product.title}</h2>
    <p class="price num">${euros(product.price_cents)}</p>
    <p class=${`left num ${left > FEW ? "" : left > 0 ? "few" : "none"} ${isChanged ? "changed" : ""}`}>${left > 0 ? `${left} left` : "sold out"}</p>
    <${Quantity} sku=${product.sku} title=${product.title} quantity=${quantity} /></li>`;
}

// What is sold out can be ordered all the same: the shop finds out when the stock is to be reserved.
export function Quantity({ sku, title, quantity }) {
  if (!quantity) return html`<button type="button" class="add" onClick=${() => put(sku, 1)} aria-label=${`Add ${title}`}>Add to basket</button>`;
  return html`<div class="quantity" role="group" aria-label=${`How many: ${title}`}>
    <button type="button" onClick=${() => put(sku, quantity - 1)} aria-label=${`One less: ${title}`}>−</button><output class="num">${quantity}</output>
    <button type="button" onClick=${() => put(sku, quantity + 1)} aria-label=${`One more: ${title}`}>+</button></div>`;
}
