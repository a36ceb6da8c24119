// The shell: where one is, light and dark, keys, who asks. Each page is a module of its own, listed here once.

import { follow, json, token } from "./api.js";
import { Failed, age, decoded, html, render, useEffect, useRef, useState } from "./parts.js";
import { Theme } from "./theme.js";
import { System } from "./pages/system.js";
import { Views } from "./pages/views.js";
import { Feed } from "./pages/feed.js";
import { Row, View } from "./pages/view.js";
import { Story } from "./pages/story.js";
import { Held } from "./pages/held.js";
import { OneSaga, Sagas } from "./pages/sagas.js";
import { Operations } from "./pages/operations.js";
import { Plots } from "./pages/plots.js";
import { Queries } from "./pages/queries.js";
import { Explorer } from "./pages/explorer.js";

const PAGES = [
  { name: "system", title: "System", key: "s", role: "operate", page: System },
  { name: "views", title: "Views", key: "v", role: "read", page: Views },
  { name: "plots", title: "Over time", key: "t", role: "operate", page: Plots },
  { name: "queries", title: "Queries", key: "q", role: "read", page: Queries },
  { name: "story", title: "Story", key: "y", role: "operate", page: Story },
  { name: "held", title: "Held back", key: "h", role: "operate", page: Held },
  { name: "sagas", title: "Sagas", key: "g", role: "operate", page: Sagas },
  { name: "operations", title: "Operations", key: "o", role: "operate", page: Operations },
  { name: "api", title: "API", key: "a", role: "read", page: Explorer },
  { name: "saga", role: "operate", page: OneSaga },
  { name: "feed", role: "operate", page: Feed },
  { name: "view", role: "read", page: View },
  { name: "row", role: "read", page: Row },
];

const place = () => location.hash.replace(/^#\/?/, "").split("/").map(decoded);

function App() {
  const [at, setAt] = useState(place());
  const [who, setWho] = useState(null);
  const [status, setStatus] = useState(null);
  const [seenAt, setSeenAt] = useState(0);
  const [error, setError] = useState(null);
  const [isUnknown, setUnknown] = useState(false);
  const [turn, setTurn] = useState(0);
  const [help, setHelp] = useState(false);
  const [now, setNow] = useState(Date.now());
  const may = (role) => who !== null && who.roles.includes(role);
  const titled = PAGES.filter((each) => each.title && may(each.role));
  useEffect(() => {
    const moved = () => { setAt(place()); document.getElementById("main")?.focus(); };
    const unknown = () => setUnknown(true);
    addEventListener("hashchange", moved);
    addEventListener("syncline:unknown-caller", unknown);
    const clock = setInterval(() => setNow(Date.now()), 1000);
    return () => { removeEventListener("hashchange", moved); removeEventListener("syncline:unknown-caller", unknown); clearInterval(clock); };
  }, []);
  useEffect(() => {
    const stop = new AbortController();
    setError(null);
    setStatus(null);
    json("whoami", { signal: stop.signal }).then((found) => {
      setWho(found);
      if (found.roles.includes("operate")) return follow("status/stream", (_, data) => { setStatus(data); setSeenAt(Date.now()); }, stop.signal);
    }).catch((failure) => failure.name !== "AbortError" && setError(failure));
    return () => stop.abort();
  }, [turn]);
  useEffect(() => {
    let isGoing = false;
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      if (event.key === "?") setHelp((was) => !was);
      else if (isGoing) {
        const found = titled.find((each) => each.key === event.key);
        if (found) location.hash = `#/${found.name}`;
      }
      isGoing = event.key === "g";
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [who]);
  const known = (text) => { token.set(text); setUnknown(false); setWho(null); setSeenAt(0); setTurn(turn + 1); };
  if (isUnknown) return html`<${Unknown} onToken=${known} />`;
  const here = PAGES.find((each) => each.name === at[0]) || titled[0];
  const silent = seenAt && now - seenAt > 6000 ? Math.round((now - seenAt) / 1000) : 0;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>To the page</a>
    <header>
      <a class="brand" href="#/"><img src="dashboard/mark.svg" alt="" width="26" height="26" />Syncline</a>
      <nav aria-label="Pages">${titled.map((each) => html`
        <a href=${`#/${each.name}`} aria-current=${each === here ? "page" : undefined}>${each.title}</a>`)}</nav>
      <span class="spacer"></span>
      <button class="plain" onClick=${() => setHelp(true)} aria-label="Keys">?</button>
      <${Theme} />
    </header>
    ${silent ? html`<p class="silence" role="status">No news for ${silent} s: the service does not answer. What is shown is as it was.</p>` : null}
    <main id="main" tabindex="-1">
      ${error ? html`<${Failed} error=${error} again=${() => setTurn(turn + 1)} />` : null}
      ${who === null ? (error ? null : html`<p class="quiet">Loading…</p>`)
        : here && may(here.role) ? html`<${here.page} status=${status} at=${at.slice(1)} may=${may} />`
        : html`<${NotForThem} who=${who} page=${here} start=${titled[0]} />`}
    </main>
    <footer>${status ? html`<span>relay: ${status.relay}</span><span>seen ${age(Math.max(0, (now - seenAt) / 1000))} ago</span>` : null}
      ${who ? html`<span>${who.name} (${who.roles.join(", ")}) ${token.get() ? html`<button class="plain" onClick=${() => known("")}>forget token</button>` : null}</span>` : null}</footer>
    ${help ? html`<${Help} pages=${titled} onClose=${() => setHelp(false)} />` : null}`;
}

function NotForThem({ who, page, start }) {
  if (!start) return html`<h1>Nothing to look at</h1><p>${who.name} has the roles: ${who.roles.join(", ") || "none"}. What is shown here takes the role <code>read</code> or <code>operate</code>.</p>`;
  return html`<h1>${page.title || "Another page"}</h1><p>This page takes the role <code>${page.role}</code>, and ${who.name} has: ${who.roles.join(", ")}.</p>
    <p><a href=${`#/${start.name}`}>${start.title}</a></p>`;
}

function Unknown({ onToken }) {
  const text = useRef(null);
  return html`<main class="door"><form onSubmit=${(event) => { event.preventDefault(); onToken(text.current.value.trim()); }}>
    <h1>Who is asking?</h1>
    <p>This service answers callers that show a token. It is kept in this tab, and forgotten with it.</p>
    <label>Token <input ref=${text} type="password" autocomplete="off" autofocus required /></label>
    <button class="primary">Go on</button></form></main>`;
}

function Help({ pages, onClose }) {
  const box = useRef(null);
  useEffect(() => { box.current.showModal(); }, []);
  return html`<dialog ref=${box} onClose=${onClose} aria-labelledby="help-title"><h2 id="help-title">Keys</h2>
    <dl class="keys">${pages.map((each) => html`<dt><kbd>g</kbd> <kbd>${each.key}</kbd></dt><dd>${each.title}</dd>`)}
      <dt><kbd>?</kbd></dt><dd>These keys</dd><dt><kbd>Esc</kbd></dt><dd>Close</dd></dl>
    <div class="actions"><button onClick=${onClose} autofocus>Close</button></div></dialog>`;
}

const root = document.getElementById("app");
root.textContent = "";
render(html`<${App} />`, root);
