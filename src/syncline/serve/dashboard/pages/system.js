// The picture of the system: services, how they are followed, what is made of them. Live on every edge.

import * as dagre from "dagre";
import { Badge, Table, age, html, number, rate, tone, useWidth } from "../parts.js";

// Where there is no room beside an edge, what is said of it stands in the node that it leaves.
const WIDE = { w: 190, h: 62, ranksep: 150, nodesep: 18, letters: 18, isNarrow: false };
const NARROW = { w: 132, h: 82, ranksep: 32, nodesep: 12, letters: 14, isNarrow: true };
const NARROW_BELOW = 700;

export function System({ status }) {
  if (!status) return html`<h1>System</h1><p class="quiet">Waiting for the first look…</p>`;
  const failed = [...status.feeds, ...status.views].filter((each) => each.error);
  return html`<h1>System</h1>
    ${failed.length ? html`<div class="problem" role="alert"><strong>${failed.length === 1 ? "One thing needs a person" : `${failed.length} things need a person`}</strong>
      <ul>${failed.map((each) => html`<li>${each.service || each.view}: ${each.error}</li>`)}</ul></div>` : null}
    ${status.feeds.filter((each) => each.held_back).map((each) => html`<p class="note"><a href="#/held">${each.service}: ${number(each.held_back)} ${each.held_back === 1 ? "stream is" : "streams are"} held back</a> from ${each.read_model}, and wait for a person.</p>`)}
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
  const isNarrow = useWidth() < NARROW_BELOW;
  const graph = isNarrow ? narrowest(status) : laidOut(status, WIDE, "LR");
  const { width, height, rankdir } = graph.graph();
  const size = isNarrow ? NARROW : WIDE;
  const label = `${status.services.length} services, followed into ${status.views.length} views`;
  return html`<div class="scroll picture" tabindex="0"><svg role="group" aria-label=${label} width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}>
    ${graph.edges().map((id) => html`<${Edge} key=${id.v + id.w} ...${graph.edge(id)} from=${graph.node(id.v)} to=${graph.node(id.w)} size=${size} isDown=${rankdir === "TB"} />`)}
    ${size.isNarrow ? null : graph.nodes().filter((id) => graph.node(id).service).map((id) => html`<${Said} key=${`said ${id}`} node=${graph.node(id)} to=${graph.successors(id).map((other) => graph.node(other))} feeds=${status.feeds} size=${size} />`)}
    ${graph.nodes().map((id) => html`<${Node} key=${id} node=${graph.node(id)} feeds=${status.feeds} size=${size} />`)}
  </svg></div>`;
}

function laidOut(status, size, rankdir) {
  const graph = new dagre.Graph().setGraph({ rankdir, nodesep: size.nodesep, ranksep: size.ranksep, marginx: 4, marginy: 8 }).setDefaultEdgeLabel(() => ({}));
  const viewId = (model, view) => `v:${model}/${view}`;
  for (const service of status.services) graph.setNode(`s:${service.name}`, { width: size.w, height: size.h, service });
  for (const view of status.views) graph.setNode(viewId(view.read_model, view.view), { width: size.w, height: size.h, view });
  for (const edge of status.edges) {
    const from = edge.parent ? viewId(edge.read_model, edge.parent) : `s:${edge.service}`;
    const of = edge.parent
      ? status.views.find((each) => each.view === edge.parent && each.read_model === edge.read_model)
      : status.feeds.find((each) => each.service === edge.service && each.read_model === edge.read_model);
    if (graph.hasNode(from) && graph.hasNode(viewId(edge.read_model, edge.view))) graph.setEdge(from, viewId(edge.read_model, edge.view), { of });
  }
  dagre.layout(graph);
  return graph;
}

// Downwards or to the right, whichever needs less width: it depends on how many stand side by side, and how many in a row.
function narrowest(status) {
  const [down, right] = [laidOut(status, NARROW, "TB"), laidOut(status, NARROW, "LR")];
  return right.graph().width < down.graph().width ? right : down;
}

// From where it leaves, past the nodes that stand between, to where it arrives; level at each.
function Edge({ of, points, from, to, size, isDown }) {
  const [along, across, length] = isDown ? ["y", "x", size.h] : ["x", "y", size.w];
  const passed = points.slice(1, -1).filter((_, place) => place % 2 === 1);
  const stops = [from, ...passed, to].map((each) => ({ enters: each[along] - length / 2, leaves: each[along] + length / 2, at: each[across] }));
  const point = (a, b) => (isDown ? `${b},${a}` : `${a},${b}`);
  const parts = stops.slice(1).map((stop, place) => {
    const before = stops[place];
    const middle = (before.leaves + stop.enters) / 2;
    return `L${point(before.leaves, before.at)} C${point(middle, before.at)} ${point(middle, stop.at)} ${point(stop.enters, stop.at)}`;
  });
  const flow = of && of.rate > 0 ? "flow" : "";
  return html`<g class=${`edge ${of ? tone(of.state) : "calm"} ${flow}`}><path d=${`M${point(stops[0].leaves, stops[0].at)} ${parts.join(" ")}`} /></g>`;
}

// What is said of the edges that leave a service, for each read model that they lead into; on the side from which they bend away.
function Said({ node, to, feeds, size }) {
  const own = feeds.filter((each) => each.service === node.service.name);
  const isBelow = to.length > 0 && to.every((other) => other.y < node.y);
  const top = isBelow ? node.y + 17 : node.y - 8 - 15 * (own.length - 1);
  return own.map((feed, place) => html`<text class="said" x=${node.x + size.w / 2 + 8} y=${top + 15 * place}>${own.length > 1 ? `${feed.read_model}: ` : ""}${age(feed.staleness_s)}${feed.lag ? ` · ${number(feed.lag)} behind` : ""}</text>`);
}

function Node({ node, feeds, size }) {
  const { service, view, x, y } = node;
  const { w, h, letters, isNarrow } = size;
  const own = service ? feeds.filter((each) => each.service === service.name) : [];
  const state = service ? (own.find((each) => each.state === "failed") || own[0])?.state || (service.sagas.length ? "read by sagas" : "not followed") : view.state;
  const href = service ? (own[0] ? `#/feed/${own[0].read_model}/${service.name}` : service.sagas.length ? "#/sagas" : "#/system") : `#/view/${view.view}`;
  const name = service ? service.name : view.view;
  const behind = own.reduce((sum, each) => sum + (each.lag || 0), 0);
  const oldest = own.some((each) => each.staleness_s === null) ? null : Math.max(0, ...own.map((each) => each.staleness_s));
  const how = isNarrow ? [service?.capture, age(oldest)] : [service?.capture, service?.delivery, service?.database];
  const follows = own.length ? how : [service?.database];
  const facts = service ? follows : [age(view.staleness_s), rate(view.rate)];
  const about = facts.filter(Boolean).join(" · ");
  const shown = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
  return html`<a href=${href} aria-label=${`${service ? "service" : "view"} ${name}, ${state}`}><g class=${`node ${service ? "service" : "view"} ${tone(state)}`} transform=${`translate(${x - w / 2},${y - h / 2})`}>
    <rect width=${w} height=${h} rx="9" /><text class=${isNarrow ? "name small" : "name"} x="12" y=${isNarrow ? 24 : 25}>${shown}</text>
    <text x="12" y=${isNarrow ? 44 : 45}>${about}</text>
    ${isNarrow ? html`<text class="state" x="12" y="65">${state}${behind ? ` · ${number(behind)} behind` : ""}</text>` : html`<text class="state" x=${w - 12} y="45" text-anchor="end">${state}</text>`}</g></a>`;
}
