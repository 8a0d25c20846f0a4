/** The page of routes and sockets, made of the two documents that programs read. */

import { el } from "./dom.js";

const main = document.getElementById("main");

/** The document at `path`, or an error that says what came instead. */
async function read(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

/** The schema behind a reference; and the schema itself, if it is none. */
function resolve(schema, root) {
  const name = schema?.$ref?.split("/").pop();
  return name === undefined ? schema : { ...root.components.schemas[name], named: name };
}

/** Text with `code` in it, as nodes. */
function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", { text: part }) : part));
}

/** A schema in a few words. */
function words(schema, root) {
  if (schema === undefined) return "";
  const found = resolve(schema, root);
  if (found.named) return found.named;
  if (found.anyOf) return found.anyOf.map((choice) => words(choice, root)).join(" or ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(", ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.type === "array") return [`list of ${words(found.items ?? {}, root) || "anything"}`, ...bounds(found)].join("; ");
  return [found.type ?? "anything", ...bounds(found)].join(", ");
}

function bounds(schema) {
  const said = [];
  if (schema.minimum !== undefined) said.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) said.push(`to ${schema.maximum}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) said.push(`at most ${schema.maxItems} of them`);
  if (schema.pattern !== undefined) said.push(`like \`${schema.pattern}\``);
  if (schema.format !== undefined) said.push(schema.format);
  if (schema.default !== undefined && schema.default !== null) said.push(`default ${JSON.stringify(schema.default)}`);
  return said;
}

/** Rows of name, kind and text; nothing without any. */
function table(title, rows) {
  if (rows.length === 0) return [];
  const cells = rows.map(([name, kind, text]) =>
    el("tr", {}, el("td", {}, el("code", { text: name })), el("td", {}, ...marked(kind ?? ""), text ? el("div", { class: "muted" }, ...marked(text)) : null)),
  );
  return [el("h3", { text: title }), el("table", {}, el("tbody", {}, ...cells))];
}

function fields(schema, root) {
  const found = resolve(schema, root) ?? {};
  const required = new Set(found.required ?? []);
  return Object.entries(found.properties ?? {}).map(([name, field]) => [
    required.has(name) ? name : `${name}?`,
    words(field, root),
    field.description,
  ]);
}

function example(value) {
  return value === undefined ? [] : [el("pre", { tabindex: "0", text: JSON.stringify(value, null, 2) })];
}

function entry(method, path, summary, ...inside) {
  return el(
    "details",
    { class: "entry", dataset: { find: `${method} ${path} ${summary}`.toLowerCase() } },
    el(
      "summary",
      {},
      el("span", { class: `method ${method}`, text: method === "socket" ? "SOCKET" : method.toUpperCase() }),
      el("code", { class: "path", text: path }),
      el("span", { class: "muted" }, ...marked(summary)),
    ),
    el("div", { class: "inside" }, ...inside.flat()),
  );
}

function route(method, path, operation, root) {
  const body = operation.requestBody?.content["application/json"];
  const answers = Object.entries(operation.responses);
  const shown = answers.filter(([status]) => Number(status) < 400);
  return entry(
    method,
    path,
    operation.summary,
    operation.description ? el("p", {}, ...marked(operation.description)) : [],
    operation.security.some((scheme) => Object.keys(scheme).length === 0) ? [] : el("p", { text: "Needs the admin scope." }),
    table("Parameters", operation.parameters.map((one) => [
      one.required ? one.name : `${one.name}?`,
      words(one.schema, root),
      one.description,
    ])),
    body ? [...table("Body", fields(body.schema, root)), ...example(body.example)] : [],
    shown.flatMap(([status, answer]) => {
      const content = Object.values(answer.content ?? {})[0];
      return [
        ...table(`${status}: ${answer.description}`, content?.schema ? fields(content.schema, root) : []),
        ...(content?.schema ? [] : [el("h3", { text: `${status}: ${answer.description}` })]),
        ...example(content?.example),
      ];
    }),
    table("Errors", answers.filter(([status]) => Number(status) >= 400).map(([status, answer]) => [status, answer.description])),
  );
}

function socket(name, channel, root) {
  const messages = (action) =>
    (root.operations[`${action}_${name}`].messages ?? []).map((reference) => {
      const message = root.components.messages[reference.$ref.split("/").pop()];
      return [
        message.name,
        message.summary,
        message.examples === undefined ? undefined : `\`${JSON.stringify(message.examples[0].payload)}\``,
      ];
    });
  const query = channel.bindings?.ws?.query?.properties ?? {};
  return entry(
    "socket",
    channel.address,
    channel.title,
    channel.description !== channel.title ? el("p", {}, ...marked(channel.description)) : [],
    table("Parameters", [
      ...Object.entries(channel.parameters ?? {}).map(([key, value]) => [key, value.description]),
      ...Object.entries(query).map(([key, value]) => [`${key}?`, words(value, root), value.description]),
    ]),
    table("The server sends", messages("send")),
    table("The server understands", messages("receive")),
  );
}

function show(openapi, asyncapi) {
  const groups = new Map();
  for (const [path, operations] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(method, path, operation, openapi));
    }
  }
  const sections = [...groups].sort(([one], [other]) => one.localeCompare(other));
  const sockets = Object.entries(asyncapi.channels).map(([name, channel]) => socket(name, channel, asyncapi));
  main.replaceChildren(
    el("section", {}, el("h2", { text: "sockets" }), ...sockets),
    ...sections.map(([tag, entries]) => el("section", {}, el("h2", { text: tag }), ...entries)),
    el("p", { class: "muted", id: "state", role: "status" }),
  );
}

/** Hide what does not hold the word, and the headings above nothing. */
function find(word) {
  let left = 0;
  for (const section of main.querySelectorAll("section")) {
    let shown = 0;
    for (const one of section.querySelectorAll(".entry")) {
      one.hidden = !one.dataset.find.includes(word);
      shown += one.hidden ? 0 : 1;
    }
    section.hidden = shown === 0;
    left += shown;
  }
  document.getElementById("state").textContent = left === 0 ? "Nothing holds this word." : "";
}

try {
  show(...(await Promise.all([read("openapi.json"), read("asyncapi.json")])));
  const field = document.getElementById("find");
  field.addEventListener("input", () => find(field.value.trim().toLowerCase()));
} catch (error) {
  document.getElementById("state").textContent = `The documents cannot be shown: ${error.message}`;
} finally {
  main.setAttribute("aria-busy", "false");
}
