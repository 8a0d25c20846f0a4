/** A short written record of what happened in the tree, newest on top. */

import { byId, el, setText } from "./dom.js";
import * as format from "./format.js";

const MOST = 100;
const LEVEL = { restart_delayed: "warning", start_failed: "error", gave_up: "error", stuck: "error" };
/** A total that changed, and an attempt of which the outcome has a line of its own. */
const SILENT = new Set(["changed", "restarting"]);
const EXIT = { normal: "ended", shutdown: "stopped", crashed: "crashed", killed: "was killed" };

export class Log {
  #list = byId("log");
  #empty = byId("log-empty");
  /** {path, text, started, ended}: the top row, while only children of one dynamic supervisor come and go. */
  #gathered = null;

  /** One supervisor event; `parent` is the entry above it, if it is known. */
  add({ event, path, node }, parent) {
    // A supervisor is as well as its children, of whom there is a line already; the header names the culprit.
    if (event === "recovered" && node?.kind === "supervisor") return;
    if (SILENT.has(event)) return;
    if (parent?.dynamic && isRoutine(event, node)) this.#gather(parent.path, event);
    else this.note(path || "root", phrase(event, node), level(event, node));
  }

  /** Any line; returns the part that can be rewritten while it stays on top. */
  note(path, words, severity = "info") {
    const now = new Date();
    const text = el("span", { class: "log-text", text: words });
    const time = el("time", { datetime: now.toISOString(), text: format.time(now) });
    const row = { class: `log-row log-${severity}`, title: words || false, dataset: { testid: "log-row" } };
    this.#list.prepend(el("li", row, time, el("span", { class: "log-path", text: path }), text));
    while (this.#list.childElementCount > MOST) this.#list.lastElementChild.remove();
    this.#empty.hidden = true;
    this.#gathered = null;
    return text;
  }

  /** Ten thousand connections that come and go are one line, not ten thousand. */
  #gather(path, event) {
    if (event === "removed") return; // its end was counted
    if (this.#gathered?.path !== path) {
      const text = this.note(path, "");
      this.#gathered = { path, text, started: 0, ended: 0 };
    }
    const run = this.#gathered;
    run[event === "started" ? "started" : "ended"] += 1;
    const parts = [
      run.started && `${format.count(run.started)} started`,
      run.ended && `${format.count(run.ended)} ended`,
    ];
    setText(run.text, parts.filter(Boolean).join(", "));
  }
}

function isRoutine(event, node) {
  return event === "started" || event === "removed" || (event === "exited" && !failed(node));
}

const failed = (node) =>
  ["crashed", "killed"].includes(node?.last_exit?.reason) || Boolean(node?.last_exit?.error);

function level(event, node) {
  if (event === "exited") return failed(node) ? "error" : "info";
  return LEVEL[event] ?? "info";
}

/** "restarted (RuntimeError: ...)": what happened, and why where there is a why. */
function phrase(event, node) {
  const cause = node?.last_exit?.error;
  const because = cause ? ` (${cause})` : "";
  switch (event) {
    case "started":
      return node?.generation > 1 ? "started again" : "started";
    case "exited":
      return `${EXIT[node?.last_exit?.reason] ?? "ended"}${because}`;
    case "restart_delayed":
      return typeof node?.next_retry_s === "number"
        ? `starts again in ${format.decimal(node.next_retry_s)} s${because}`
        : `waits to be started again${because}`;
    case "stuck":
      return "does not end, although it was cancelled";
    case "recovered":
      return "is healthy again";
    case "removed":
      return "removed";
    default:
      return `${format.words(event)}${because}`;
  }
}
