// The picture of the system: services, how they are followed, what is made of them. Live on every edge.

import * as dagre from "dagre";
import { Badge, Table, age, html, number, rate, tone } from "../parts.js";

const W = 190;
const H = 62;

export function System({ status }) {
  if (!status) return html`<h1>System</h1><p class="quiet">Waiting for the first look…</p>`;
  const failed = [...status.feeds, ...status.views].filter((each) => each.error);
  return html`<h1>System</h1>
    ${failed.length ? html`<div class="problem" role="alert"><strong>${failed.length === 1 ? "One thing needs a person" : `${failed.length} things need a person`}</strong>
      <ul>${failed.map((each) => html`<li>${each.service || each.view}: ${each.error}</li>`)}</ul></div>` : null}
    <${Picture} status=${status} />
    <h2>Feeds</h2>
    <${Table} rows=${status.feeds} empty="Nothing is followed yet." columns=${[
      { title: "Service", of: (f) => html`<a href=${`#/feed/${f.read_model}/${f.service}`}>${f.service}</a>` },
      { title: "Read model", of: (f) => f.read_model },
      { title: "Capture", of: (f) => f.capture },
      { title: "State", of: (f) => html`<${Badge} state=${f.state} />` },
      { title: "Position", num: true, of: (f) => number(f.position) },
      { title: "Lag", num: true, of: (f) => number(f.lag) },
      { title: "Staleness", num: true, of: (f) => age(f.staleness_s) },
      { title: "Changes", num: true, of: (f) => rate(f.rate) },
    ]} />
    <h2>Views</h2>
    <${Table} rows=${status.views} empty="There is no view." columns=${[
      { title: "View", of: (v) => html`<a href=${`#/view/${v.view}`}>${v.view}</a>` },
      { title: "Read model", of: (v) => v.read_model },
      { title: "State", of: (v) => html`<${Badge} state=${v.state} />` },
      { title: "Staleness", num: true, of: (v) => age(v.staleness_s) },
      { title: "Changes", num: true, of: (v) => rate(v.rate) },
      { title: "", of: (v) => v.error || v.activity },
    ]} />
    ${status.writing.length ? html`<h2>Commands</h2><${Table} rows=${status.writing} empty="" columns=${[
      { title: "Service", of: (w) => w.service }, { title: "Kind", of: (w) => w.kind },
      { title: "Commands", num: true, of: (w) => number(w.commands) }, { title: "Events", num: true, of: (w) => number(w.events) },
      { title: "", of: (w) => w.error || "" },
    ]} />` : null}`;
}

function Picture({ status }) {
  const graph = new dagre.Graph().setGraph({ rankdir: "LR", nodesep: 18, ranksep: 150, marginx: 8, marginy: 8 }).setDefaultEdgeLabel(() => ({}));
  for (const service of status.services) graph.setNode(`s:${service.name}`, { width: W, height: H, service });
  for (const view of status.views) graph.setNode(`v:${view.read_model}/${view.view}`, { width: W, height: H, view });
  for (const edge of status.edges) {
    const feed = status.feeds.find((each) => each.service === edge.service && each.read_model === edge.read_model);
    graph.setEdge(`s:${edge.service}`, `v:${edge.read_model}/${edge.view}`, { feed });
  }
  dagre.layout(graph);
  const { width, height } = graph.graph();
  const label = `${status.services.length} services, followed into ${status.views.length} views`;
  return html`<div class="scroll picture" tabindex="0"><svg role="group" aria-label=${label} width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}>
    ${graph.edges().map((id) => html`<${Edge} key=${id.v + id.w} feed=${graph.edge(id).feed} from=${graph.node(id.v)} to=${graph.node(id.w)} />`)}
    ${graph.nodes().map((id) => html`<${Node} key=${id} node=${graph.node(id)} feeds=${status.feeds} />`)}
  </svg></div>`;
}

// Leaves and arrives level; what is said of it stands where it leaves, on the side from which it bends away.
function Edge({ feed, from, to }) {
  const [left, right] = [from.x + W / 2, to.x - W / 2];
  const middle = (left + right) / 2;
  const path = `M${left},${from.y} C${middle},${from.y} ${middle},${to.y} ${right},${to.y}`;
  const below = to.y < from.y;
  const flow = feed && feed.rate > 0 ? "flow" : "";
  return html`<g class=${`edge ${feed ? tone(feed.state) : "calm"} ${flow}`}><path d=${path} />
    ${feed ? html`<text x=${left + 8} y=${from.y + (below ? 17 : -8)}>${feed.capture} · ${age(feed.staleness_s)}${feed.lag ? ` · ${number(feed.lag)} behind` : ""}</text>` : null}</g>`;
}

function Node({ node, feeds }) {
  const { service, view, x, y } = node;
  const own = service ? feeds.filter((each) => each.service === service.name) : [];
  const state = service ? (own.find((each) => each.state === "failed") || own[0])?.state || "not followed" : view.state;
  const href = service ? (own[0] ? `#/feed/${own[0].read_model}/${service.name}` : "#/system") : `#/view/${view.view}`;
  const name = service ? service.name : view.view;
  const about = service ? `${service.database}, ${service.capture}` : `${view.read_model} · ${age(view.staleness_s)} · ${rate(view.rate)}`;
  return html`<a href=${href} aria-label=${`${service ? "service" : "view"} ${name}, ${state}`}><g class=${`node ${service ? "service" : "view"} ${tone(state)}`} transform=${`translate(${x - W / 2},${y - H / 2})`}>
    <rect width=${W} height=${H} rx="9" /><text class="name" x="14" y="25">${name.length > 21 ? `${name.slice(0, 20)}…` : name}</text>
    <text x="14" y="45">${about}</text><text class="state" x=${W - 12} y="25" text-anchor="end">${state}</text></g></a>`;
}
