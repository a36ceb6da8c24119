// Light and dark: as the system has it, until somebody turns it; then as that was left.

import { html, useEffect, useState } from "./parts.js";

export function Theme() {
  const [dark, setDark] = useState(() => (localStorage.getItem("syncline.theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark");
  useEffect(() => { document.documentElement.dataset.theme = dark ? "dark" : "light"; dispatchEvent(new Event("syncline:theme")); }, [dark]);
  const turn = () => { localStorage.setItem("syncline.theme", dark ? "light" : "dark"); setDark(!dark); };
  return html`<button class="plain" onClick=${turn} aria-label=${dark ? "Light" : "Dark"}>${dark ? "☀" : "☾"}</button>`;
}
