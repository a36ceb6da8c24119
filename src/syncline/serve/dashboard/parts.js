// Small parts that several pages use. Whatever the service says is shown as text, never as markup.

import { h, render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import htm from "htm";
import { json } from "./api.js";

export const html = htm.bind(h);
export { render, useEffect, useRef, useState };

export function useAsked(path, deps = []) {
  const [state, set] = useState({ value: null, error: null, loading: true });
  const [turn, again] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    set((was) => ({ ...was, loading: true }));
    json(path, { signal: stop.signal }).then(
      (value) => set({ value, error: null, loading: false }),
      (error) => error.name !== "AbortError" && set({ value: null, error, loading: false }),
    );
    return () => stop.abort();
  }, [path, turn, ...deps]);
  return { ...state, again: () => again((was) => was + 1) };
}

export function useWidth() {
  const [width, set] = useState(innerWidth);
  useEffect(() => {
    const resized = () => set(innerWidth);
    addEventListener("resize", resized);
    return () => removeEventListener("resize", resized);
  }, []);
  return width;
}

export function Asked({ of, children }) {
  if (of.error) return html`<${Failed} error=${of.error} again=${of.again} />`;
  if (of.value === null) return html`<p class="quiet">Loading…</p>`;
  return children(of.value);
}

export function Failed({ error, again }) {
  return html`<div class="problem" role="alert"><strong>${error.title || "That did not work"}</strong><p>${error.message}</p>
    ${again && html`<button onClick=${again}>Try again</button>`}</div>`;
}

const TONES = { live: "good", running: "good", done: "good", ended: "good", handled: "good", rejected: "busy", stuck: "bad", parked: "bad", open: "busy", loading: "busy", building: "busy", waiting: "busy", "catching up": "busy", failed: "bad", stopped: "bad", "not started": "bad" };
export const tone = (state) => TONES[state] || "calm";
export const Badge = ({ state }) => html`<span class=${`badge ${tone(state)}`}>${state}</span>`;

export function age(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// A part of an address as it was meant; one that was mistyped, as it stands.
export function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

export const number = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en"));
export const rate = (value) => (value === null || value === undefined ? "–" : `${Number(value).toLocaleString("en", { maximumFractionDigits: 1 })}/s`);

export function When({ at }) {
  if (!at) return html`<span class="quiet">–</span>`;
  const date = new Date(at * 1000);
  return html`<time dateTime=${date.toISOString()} title=${date.toISOString()}>${date.toLocaleString()}</time>`;
}

const SHORT = 24; // letters that stay in one line

export function Value({ value }) {
  if (value === null) return html`<span class="null">NULL</span>`;
  if (typeof value === "object") return html`<code>${JSON.stringify(value)}</code>`;
  const text = String(value);
  return html`<span class=${typeof value === "number" ? "num" : text.length <= SHORT ? "short" : "long"}>${text}</span>`;
}

export function Table({ columns, rows, empty }) {
  if (!rows.length) return html`<p class="quiet">${empty}</p>`;
  return html`<div class="scroll" tabindex="0"><table>
    <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.num ? "num" : ""}>${column.title}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${columns.map((column) => html`<td class=${column.num ? "num" : ""}>${column.of(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

// Asks before it destroys: says what is lost, and does nothing unless that is confirmed.
export function Sure({ title, children, confirm, danger, onYes, onNo }) {
  const box = useRef(null);
  useEffect(() => { box.current.showModal(); }, []);
  return html`<dialog ref=${box} onClose=${onNo} onCancel=${onNo} aria-labelledby="sure-title">
    <h2 id="sure-title">${title}</h2><div>${children}</div>
    <div class="actions"><button onClick=${onNo} autofocus>Leave it</button>
      <button class=${danger ? "danger" : "primary"} onClick=${onYes}>${confirm}</button></div>
  </dialog>`;
}

// Positions of services, as a token holds them: what rows were read at. A token of another make is shown as it is.
export function Vector({ token }) {
  if (!token) return html`<span class="quiet">–</span>`;
  return html`<code class="token" title=${token}>${positions(token) || `${token.slice(0, 18)}…`}</code>`;
}

function positions(token) {
  try {
    const [mark, body] = token.split(".");
    const vector = JSON.parse(atob(body.replaceAll("-", "+").replaceAll("_", "/")).slice(4)); // after its checksum
    return mark === "sl1" ? Object.entries(vector).map(([service, [, at]]) => `${service} ${number(at)}`).join(", ") : null;
  } catch { return null; }
}

const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

// Drawn once, then given what is new: so what one points at stays. Drawn anew for other lines, and other colours.
export function Plot({ title, at, lines, unit, least = 1 }) {
  const place = useRef(null);
  const plot = useRef(null);
  const [theme, setTheme] = useState(0);
  const isThere = at.length > 1;
  const data = [at, ...lines.map((line) => line.values)];
  useEffect(() => {
    const turned = () => setTheme((was) => was + 1);
    addEventListener("syncline:theme", turned);
    return () => removeEventListener("syncline:theme", turned);
  }, []);
  useEffect(() => {
    if (!isThere || !window.uPlot) return undefined;
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--quiet").trim();
    const grid = style.getPropertyValue("--line").trim();
    const hues = ["--a", "--b", "--c", "--d"].map((name) => style.getPropertyValue(name).trim());
    const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid } };
    const shown = (value) => (value === null || value === undefined ? "–" : `${+value.toFixed(3)}${unit}`);
    plot.current = new window.uPlot({
      width: place.current.clientWidth, height: 180, legend: { show: lines.length > 1 }, cursor: { y: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, least)] } },
      axes: [{ ...axis, space: 90, incrs: SECONDS, values: (_, values) => values.map(clock) }, { ...axis, size: 56, values: (_, values) => values.map(shown) }],
      series: [{ value: (_, at_) => (at_ === null ? "–" : clock(at_)) }, ...lines.map((line, place_) => ({
        label: line.name, stroke: hues[place_ % hues.length], dash: place_ < hues.length ? undefined : [8, 4], width: 1.5, points: { fill: hues[place_ % hues.length] }, spanGaps: false, value: (_, value) => shown(value) }))],
    }, data, place.current);
    const resized = () => plot.current.setSize({ width: place.current.clientWidth, height: 180 });
    addEventListener("resize", resized);
    return () => { removeEventListener("resize", resized); plot.current.destroy(); plot.current = null; };
  }, [isThere, lines.map((line) => line.name).join("\n"), theme]);
  useEffect(() => { plot.current?.setData(data); }, [at[0], at[at.length - 1]]);
  return html`<figure class="plot"><figcaption>${title}</figcaption>
    ${isThere ? html`<div ref=${place}></div>` : html`<p class="quiet">Nothing seen yet: looks are kept from the first time that this page is open.</p>`}</figure>`;
}
