// One feed: how far it is, what it waits for, how it was.

import { Badge, Plot, age, html, number, rate, useAsked } from "../parts.js";

export function Feed({ status, at }) {
  const [model, service] = at;
  const samples = useAsked("status/samples?minutes=15", [Math.floor((status?.at || 0) / 5)]);
  const feed = status?.feeds.find((each) => each.service === service && each.read_model === model);
  if (!status) return html`<h1>${service}</h1><p class="quiet">Waiting for the first look…</p>`;
  if (!feed) return html`<h1>${service}</h1><p class="quiet">No feed of '${service}' leads into '${model}'.</p>`;
  const was = samples.value?.feeds[`${model}/${service}`];
  const views = status.edges.filter((edge) => edge.service === service && edge.read_model === model);
  return html`<h1>${service} <${Badge} state=${feed.state} /></h1>
    ${feed.error ? html`<div class="problem" role="alert"><strong>Its last error</strong><p>${feed.error}</p></div>` : null}
    <dl class="facts">
      <dt>Captured by</dt><dd>${feed.capture}${feed.exact ? "" : " (inexact until the next full sweep)"}</dd>
      <dt>Position</dt><dd class="num">${number(feed.position)}</dd><dt>Lag</dt><dd class="num">${number(feed.lag)}</dd>
      <dt>Staleness</dt><dd class="num">${age(feed.staleness_s)}</dd><dt>Changes</dt><dd class="num">${rate(feed.rate)}</dd>
      <dt>History</dt><dd><code>${feed.incarnation || "–"}</code></dd>
      <dt>Now</dt><dd>${feed.activity || "–"}</dd>
      ${Object.entries(feed.loading).map(([relation, far]) => html`<dt>Copying</dt><dd>${relation}: ${far}</dd>`)}
      ${feed.held_back ? html`<dt>Held back</dt><dd><a href="#/held">${number(feed.held_back)} streams</a></dd>` : null}
      <dt>Read by</dt><dd>${views.map((edge, place) => html`${place ? ", " : ""}<a href=${`#/view/${edge.view}`}>${edge.view}</a>`)}</dd>
    </dl>
    ${was ? html`<${Plot} title="Staleness, the last 15 minutes" unit=" s" least=${0.1} at=${samples.value.at} lines=${[{ name: service, values: was.staleness_s }]} />
      <${Plot} title="Changes a second" unit="" at=${samples.value.at} lines=${[{ name: service, values: was.rate }]} />` : null}`;
}
