// What can be asked, from the service's own OpenAPI document: each operation with a form, the request as curl, and its answer.

import { ask } from "../api.js";
import { Asked, html, useAsked, useState } from "../parts.js";

export function Explorer() {
  const document_ = useAsked("openapi.json");
  const [wanted, setWanted] = useState("");
  return html`<h1>API</h1><p class="quiet">Everything that this service answers, as <a href="openapi.json">openapi.json</a> tells it.</p>
    <div class="filters"><label>Find <input type="search" value=${wanted} onInput=${(event) => setWanted(event.target.value.toLowerCase())} /></label></div>
    <${Asked} of=${document_}>${(found) => {
      const all = Object.entries(found.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
      const shown = all.filter((each) => `${each.method} ${each.path} ${each.operation.summary}`.toLowerCase().includes(wanted));
      const groups = Map.groupBy ? Map.groupBy(shown, tagOf) : grouped(shown);
      return [...groups].map(([tag, operations]) => html`<section><h2>${tag}</h2>${operations.map((each) => html`<${Operation} key=${each.method + each.path} ...${each} whole=${found} />`)}</section>`);
    }}<//>`;
}

const tagOf = (each) => each.operation.tags?.[0] || "other";

function grouped(all) {
  const groups = new Map();
  for (const each of all) groups.set(tagOf(each), [...(groups.get(tagOf(each)) || []), each]);
  return groups;
}

const resolved = (whole, part) => (part?.$ref ? part.$ref.slice(2).split("/").reduce((at, name) => at[name], whole) : part);

function Operation({ path, method, operation, whole }) {
  const [open, setOpen] = useState(false);
  return html`<details class="card" onToggle=${(event) => setOpen(event.target.open)}><summary><span class="badge calm">${method.toUpperCase()}</span> <code>${path}</code> <span class="quiet">${operation.summary}</span></summary>
    ${open ? html`<${Form} path=${path} method=${method} operation=${operation} whole=${whole} />` : null}</details>`;
}

function Form({ path, method, operation, whole }) {
  const [answer, setAnswer] = useState(null);
  const parameters = operation.parameters.map((each) => resolved(whole, each));
  const schema = resolved(whole, operation.requestBody?.content["application/json"].schema);
  const send = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(given.get(`path.${name}`)));
    const query = new URLSearchParams(parameters.filter((each) => each.in === "query" && given.get(`query.${each.name}`)).map((each) => [each.name, given.get(`query.${each.name}`)]));
    const headers = Object.fromEntries(parameters.filter((each) => each.in === "header" && given.get(`header.${each.name}`)).map((each) => [each.name, given.get(`header.${each.name}`)]));
    const url = `${filled.slice(1)}${query.size ? `?${query}` : ""}`;
    const options = { method: method.toUpperCase(), headers };
    const body = given.get("body");
    const curl = [`curl${method === "post" ? " -X POST -H 'Content-Type: application/json'" : ""}`, ...Object.entries(headers).map(([name, value]) => `-H '${name}: ${value}'`), body ? `-d '${body.replaceAll("'", "'\\''")}'` : "", `'${new URL(url, document.baseURI)}'`].filter(Boolean).join(" ");
    try {
      if (body !== null) options.body = JSON.parse(body || "null");
      const got = await ask(url, options);
      const type = got.headers.get("Content-Type") || "";
      const text = type.includes("json") ? JSON.stringify(await got.json(), null, 2) : await got.text();
      setAnswer({ curl, status: got.status, text, headers: [...got.headers].filter(([name]) => /^(consistency-token|staleness|etag|retry-after|exact)$/.test(name)) });
    } catch (error) { setAnswer({ curl, status: error.status ?? "", text: error.message, headers: [] }); }
  };
  return html`${operation.description ? html`<p>${operation.description}</p>` : null}
    <form class="ask" onSubmit=${send}>${parameters.map((each) => html`<label><span>${each.name} <small>${each.in}${each.required ? ", must be given" : ""}</small></span>
        <input name=${`${each.in}.${each.name}`} required=${each.required} title=${each.description || ""} /></label>`)}
      ${schema ? html`<label><span>body <small>JSON</small></span><textarea name="body" rows="5">${JSON.stringify(example(whole, schema), null, 2)}</textarea></label>` : null}
      <div class="actions left"><button class="primary">Send</button></div></form>
    ${answer ? html`<div role="status"><p><strong>${answer.status}</strong></p><pre>${answer.curl}</pre>
      ${answer.headers.length ? html`<dl class="facts small">${answer.headers.map(([name, value]) => html`<dt>${name}</dt><dd><code>${value}</code></dd>`)}</dl>` : null}<pre>${answer.text}</pre></div>` : null}`;
}

function example(whole, schema) {
  const one = resolved(whole, schema);
  if (one.enum) return one.enum[0];
  const kind = Array.isArray(one.type) ? one.type[0] : one.type;
  if (one.properties) return Object.fromEntries(Object.entries(one.properties).filter(([name]) => (one.required || []).includes(name)).map(([name, value]) => [name, example(whole, value)]));
  return { string: "", integer: 0, number: 0, boolean: false, array: [], object: {}, null: null }[kind] ?? null;
}
