// Everything over time.

import { Asked, Plot, html, useAsked, useState } from "../parts.js";

const SPANS = [[5, "5 min"], [15, "15 min"], [120, "2 h"], [1440, "a day"]];

export function Plots({ status }) {
  const [minutes, setMinutes] = useState(15);
  const samples = useAsked(`status/samples?minutes=${minutes}`, [Math.floor((status?.at || 0) / 5)]);
  return html`<h1>Over time</h1>
    <div class="actions left" role="group" aria-label="Span">${SPANS.map(([value, name]) => html`
      <button aria-pressed=${value === minutes} onClick=${() => setMinutes(value)}>${name}</button>`)}</div>
    <${Asked} of=${samples}>${(found) => html`
      <${Plot} title="Staleness of feeds" unit=" s" least=${0.1} at=${found.at} lines=${lines(found.feeds, "staleness_s")} />
      <${Plot} title="Changes of feeds a second" unit="" at=${found.at} lines=${lines(found.feeds, "rate")} />
      <${Plot} title="Lag of feeds" unit="" at=${found.at} lines=${lines(found.feeds, "lag")} />
      <${Plot} title="Changes of views a second" unit="" at=${found.at} lines=${lines(found.views, "rate")} />`}<//>`;
}

// Named with their read model only where there are several.
function lines(all, of) {
  const models = new Set(Object.keys(all).map((name) => name.split("/")[0]));
  return Object.entries(all).map(([name, values]) => ({ name: models.size > 1 ? name : name.split("/")[1], values: values[of] }));
}
