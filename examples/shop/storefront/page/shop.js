// The shell of the shop: where one is, the basket's size, light and dark, and what happens behind the shop beside every page.

import { Failed, decoded, html, render, useEffect, useState } from "dashboard/parts.js";
import { Theme } from "dashboard/theme.js";
import { Basket } from "./basket.js";
import { useChosen } from "./chosen.js";
import { Order } from "./order.js";
import { Orders } from "./orders.js";
import { Panel, useShop } from "./panel.js";
import { Revenue, Stock } from "./reports.js";
import { Window } from "./window.js";

const PAGES = [
  { name: "window", title: "Shop", page: Window },
  { name: "orders", title: "Orders", page: Orders },
  { name: "stock", title: "Stock", page: Stock },
  { name: "revenue", title: "Revenue", page: Revenue },
  { name: "basket", page: Basket },
  { name: "order", page: Order },
];

const place = () => location.hash.replace(/^#\/?/, "").split("/").map(decoded);

function Shell() {
  const [at, setAt] = useState(place());
  const shop = useShop();
  const chosen = useChosen();
  useEffect(() => {
    const moved = () => { setAt(place()); scrollTo(0, 0); document.getElementById("main").focus({ preventScroll: true }); };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const here = PAGES.find((each) => each.name === at[0]) || PAGES[0];
  const count = Object.values(chosen.basket).reduce((sum, each) => sum + each, 0);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>To the page</a>
    <header>
      <a class="brand" href="#/"><img src="syncline/dashboard/mark.svg" alt="" width="26" height="26" />Fold & Leaf</a>
      <nav aria-label="Pages">${PAGES.filter((each) => each.title).map((each) => html`
        <a href=${`#/${each.name}`} aria-current=${each === here ? "page" : undefined}>${each.title}</a>`)}
        <a href="syncline/" target="_blank" rel="noopener">Dashboard ↗</a></nav>
      <span class="spacer"></span>
      <a class="button basket-link" href="#/basket" aria-current=${here.name === "basket" ? "page" : undefined}>Basket <span class="count">${count}</span></a>
      <${Theme} />
    </header>
    <div class="floor">
      <main id="main" tabindex="-1">
        ${shop.error ? html`<${Failed} error=${shop.error} />` : null}
        <${here.page} key=${at.join("/")} shop=${shop.state} chosen=${chosen} at=${at.slice(1)} />
      </main>
      <${Panel} shop=${shop} />
    </div>`;
}

const root = document.getElementById("app");
root.textContent = "";
render(html`<${Shell} />`, root);
