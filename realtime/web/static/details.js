/** What a node says about itself when it is opened: everything the row has no room for. */

import { el } from "./dom.js";
import * as format from "./format.js";

/** The content of the panel; `asOf` is the time of what it shows; `act`: `refresh()` and `operate(action)`. */
export function details(entry, asOf, act) {
  const { node } = entry;
  return [
    ...operations(entry, act.operate),
    facts(identity(entry)),
    ...section("Last exit", exit(node.last_exit)),
    ...section("Figures", Object.entries(node.stats ?? {}).map(statistic)),
    el(
      "p",
      { class: "details-foot" },
      `As of ${format.time(asOf)} `,
      el("button", {
        type: "button",
        class: "link",
        text: "Read again",
        dataset: { act: "read" },
        on: { click: act.refresh },
      }),
    ),
  ];
}

/** Shown to operators only; the root is stopped with its process. */
function operations({ node, path }, operate) {
  if (path === "") return [];
  const down = node.state === "stopped" || node.state === "failed";
  const offered = [
    ["restart", "Restart", down],
    ["stop", "Stop", down],
    ["start", "Start", !down],
  ];
  const button = ([action, text, disabled]) =>
    el("button", {
      type: "button",
      text,
      disabled,
      "aria-label": `${text} ${node.id}`,
      dataset: { act: action, testid: `${action}-button` },
      on: { click: () => operate(action) },
    });
  return [el("p", { class: "operations" }, ...offered.map(button))];
}

function identity({ node, path, dynamic, total }) {
  const { budget, mailbox, reasons = [] } = node;
  return [
    ["Path", path || "(root)"],
    ["Health", [format.title(node.health ?? "unknown"), ...reasons].join(": ")],
    ["Strategy", node.strategy && format.words(node.strategy)],
    ["Restart", node.restart],
    [
      "Budget",
      budget &&
        `${budget.left} of ${budget.max_restarts} restarts left in ${format.figure(budget.max_seconds)} s`,
    ],
    ["Generation", format.count(node.generation)],
    [
      "Mailbox",
      mailbox &&
        `${mailbox.depth} of ${format.figure(mailbox.capacity)} waiting, ${format.figure(mailbox.dropped)} dropped`,
    ],
    ["Children", dynamic ? format.count(total) : null],
  ];
}

/** The name of a figure carries its unit, as everywhere on the wire: "last_run_s", "file_bytes". */
function statistic([key, value]) {
  if (typeof value !== "number") return [format.title(key), format.figure(value)];
  if (key.endsWith("_bytes")) return [format.title(key.slice(0, -"_bytes".length)), format.bytes(value)];
  if (key.endsWith("_s")) return [format.title(key.slice(0, -"_s".length)), `${format.figure(value)} s`];
  return [format.title(key), format.figure(value)];
}

function exit(last) {
  if (!last) return [];
  return [
    ["Reason", last.reason],
    ["When", last.at && format.dateTime(last.at)],
    ["Error", last.error, "whole"],
    ["Traceback", last.traceback && traceback(last.traceback), "whole"],
  ];
}

function traceback(text) {
  const lines = Array.isArray(text) ? text.join("") : text;
  return el(
    "details",
    { class: "traceback" },
    el("summary", { text: "Show" }),
    el("pre", { text: lines, tabindex: "0" }),
  );
}

function section(heading, rows) {
  return rows.length === 0 ? [] : [el("h4", { text: heading }), facts(rows)];
}

/** Rows of `[term, value, class?]`; those without a value are left out. */
function facts(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const row = ([term, value, kind]) =>
    el("div", { class: kind }, el("dt", { text: term }), el("dd", {}, value));
  return el("dl", { class: "facts" }, ...shown.map(row));
}
