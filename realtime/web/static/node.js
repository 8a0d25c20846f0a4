/** One node of the tree on the page: its row, its last error, its panel and the place of its children. */

import { ApiError } from "./api.js";
import { details } from "./details.js";
import { el, icon, setIcon, setText } from "./dom.js";
import * as format from "./format.js";

/** Milliseconds for which a refused action is on display. */
const REFUSAL = 8_000;
const WORD = { ok: "", degraded: "degraded", failing: "failing" };

export class NodeView {
  element;
  children = el("ul", { class: "children", hidden: true });
  /** Whether the children have been asked for; until then they are not built. */
  open;
  #entry;
  #asOf = new Date();
  #last = null;
  #refusedAt = 0;
  #parts;
  #panel = el("div", { class: "details", hidden: true });
  #actions;

  /**
   * `actions`: `toggle(view)` when the children are opened or closed, `crash(path)`, `operate(path, action)` and
   * `read(path)`, which return promises; `crash` is null when the server does not allow it.
   */
  constructor(entry, actions) {
    this.#entry = entry;
    this.#actions = actions;
    this.open = entry.node.kind === "supervisor" && !entry.dynamic;
    this.#parts = this.#build(entry.node);
    this.element = el("li", { class: "node", dataset: { testid: "node", path: entry.path } });
    this.element.append(
      this.#parts.row,
      this.#parts.problem,
      this.#parts.refusal,
      this.#panel,
      this.children,
    );
    this.children.hidden = !this.open;
    this.update(entry);
  }

  update(entry) {
    this.#entry = entry;
    this.#asOf = new Date();
    const { node, health } = entry;
    const { state, restarts = 0, generation = 0 } = node;
    Object.assign(this.element.dataset, { state, health, restarts, generation });
    setText(this.#parts.meta, meta(entry));
    setText(this.#parts.restarts, format.count(restarts));
    setText(this.#parts.generation, format.count(generation));
    setText(this.#parts.mailbox, node.mailbox ? format.count(node.mailbox.depth) : "");
    setIcon(this.#parts.icon, symbol(state, health));
    this.#parts.status.title = (node.reasons ?? []).join("\n");
    this.#problem(node.last_exit);
    this.#toggles(entry);
    if (this.#parts.crash) this.#parts.crash.disabled = state !== "running";
    if (!this.#panel.hidden) this.#fill();
    this.#flash([state, health, restarts, generation].join());
    this.tick();
  }

  /** What time alone changes. */
  tick(now = performance.now()) {
    const { node, at, health } = this.#entry;
    const passed = (now - at) / 1000;
    const alive = node.state === "running" && typeof node.uptime_s === "number";
    setText(this.#parts.uptime, alive ? format.duration(node.uptime_s + passed) : format.NONE);
    const waits = node.state === "backing_off" && typeof node.next_retry_s === "number";
    setText(
      this.#parts.state,
      waits
        ? `Retry in ${format.decimal(Math.max(0, node.next_retry_s - passed))} s`
        : format.title(node.state),
    );
    setText(this.#parts.health, WORD[health] ?? health);
    if (now - this.#refusedAt > REFUSAL) setText(this.#parts.refusal, "");
  }

  #build(node) {
    const parts = {
      toggle: this.#toggle(node),
      meta: el("span", { class: "node-meta" }),
      icon: icon("ok"),
      state: el("span", { class: "state-word" }),
      health: el("span", { class: "health-word" }),
      restarts: el("span"),
      generation: el("span"),
      mailbox: el("span", { class: "mailbox" }),
      uptime: el("span"),
      crash: this.#crashButton(node),
      more: this.#moreButton(),
      problem: el("p", { class: "problem", hidden: true }),
      refusal: el("p", { class: "refusal", role: "alert" }),
    };
    parts.status = el(
      "span",
      { class: "status" },
      parts.icon,
      el("span", { class: "status-words" }, parts.state, parts.health),
    );
    parts.row = el(
      "div",
      { class: "row" },
      parts.toggle ?? el("span", { class: "leaf" }),
      el("span", { class: "name" }, el("span", { class: "node-id", text: this.#entry.node.id }), parts.meta),
      parts.status,
      el(
        "span",
        { class: "values" },
        value("restarts", parts.restarts),
        value("generation", parts.generation),
        value("mailbox", parts.mailbox),
        value("up", parts.uptime),
      ),
      el("span", { class: "actions" }, parts.crash, parts.more),
    );
    return parts;
  }

  #toggle(node) {
    if (node.kind !== "supervisor") return null;
    const flip = () => {
      this.open = !this.open;
      this.children.hidden = !this.open;
      this.#actions.toggle(this);
      this.#toggles(this.#entry);
    };
    return el("button", { type: "button", class: "toggle", on: { click: flip } }, icon("chevron"));
  }

  #toggles({ node, children, dynamic, total }) {
    const { toggle } = this.#parts;
    if (toggle === null) return;
    toggle.setAttribute("aria-expanded", String(this.open));
    toggle.setAttribute("aria-label", `Children of ${node.id}`);
    toggle.disabled = children.length === 0;
    if (!dynamic) return;
    const hidden = total - children.length;
    this.children.dataset.more = hidden > 0 ? `and ${format.count(hidden)} more` : "";
  }

  #moreButton() {
    const flip = () => {
      this.#panel.hidden = !this.#panel.hidden;
      more.setAttribute("aria-expanded", String(!this.#panel.hidden));
      if (this.#panel.hidden) return;
      this.#fill();
      this.#read();
    };
    const more = el(
      "button",
      {
        type: "button",
        class: "more",
        "aria-expanded": "false",
        "aria-label": `Details of ${this.#entry.node.id}`,
        on: { click: flip },
      },
      icon("more"),
    );
    return more;
  }

  #crashButton(node) {
    if (this.#actions.crash === null || node.kind !== "worker") return null;
    const crash = () => this.#try(this.#actions.crash(this.#entry.path));
    return el("button", {
      type: "button",
      class: "crash",
      text: "Crash",
      "aria-label": `Crash ${node.id}`,
      dataset: { testid: "crash-button" },
      on: { click: crash },
    });
  }

  #fill() {
    // What somebody reads must not close under their eyes when a figure changes, nor lose the focus.
    const reading = this.#panel.querySelector(".traceback")?.open ?? false;
    const focused = this.#panel.contains(document.activeElement) ? document.activeElement.dataset.act : undefined;
    this.#panel.replaceChildren(
      ...details(this.#entry, this.#asOf, {
        refresh: () => this.#read(),
        operate: (action) => this.#operate(action),
      }),
    );
    const shown = this.#panel.querySelector(".traceback");
    if (shown) shown.open = reading;
    if (focused) this.#panel.querySelector(`[data-act="${focused}"]:not(:disabled)`)?.focus();
  }

  /** Who stops something by mistake may not be able to start it from here: the server is part of the tree. */
  #operate(action) {
    const { path } = this.#entry;
    if (action === "stop" && !confirm(`Stop ${path}? It stays stopped until it is started again.`)) return;
    this.#try(this.#actions.operate(path, action));
  }

  /** Figures arrive with changes only; who opens the panel wants those of now. */
  #read() {
    this.#try(this.#actions.read(this.#entry.path));
  }

  async #try(promise) {
    setText(this.#parts.refusal, "");
    try {
      await promise;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#refusedAt = performance.now();
      setText(this.#parts.refusal, error.message);
    }
  }

  #problem(exit) {
    const shown = exit?.error || ["crashed", "killed"].includes(exit?.reason);
    this.#parts.problem.hidden = !shown;
    if (!shown) return;
    const when = exit.at ? ` ${format.time(exit.at)}` : "";
    setText(this.#parts.problem, `Last error${when}: ${exit.error ?? exit.reason}`);
    this.#parts.problem.title = exit.error ?? "";
  }

  /** Two names for one animation: changing between them starts it anew without a timer. */
  #flash(print) {
    const first = this.#last === null;
    if (print === this.#last) return;
    this.#last = print;
    if (!first) this.#parts.row.dataset.flash = this.#parts.row.dataset.flash === "a" ? "b" : "a";
  }
}

/** The label is read aloud everywhere, and seen where there is no room for a heading above the column. */
function value(label, shown) {
  return el("span", { class: "value" }, el("span", { class: "value-label", text: `${label} ` }), shown);
}

function meta({ node, dynamic, total }) {
  if (dynamic) return `dynamic · ${format.count(total)} ${total === 1 ? "child" : "children"}`;
  const policy = node.kind === "supervisor" ? node.strategy : node.restart;
  return policy ? `${node.kind} · ${format.words(policy)}` : node.kind;
}

function symbol(state, health) {
  if (health !== "ok") return health;
  return { running: "ok", stopped: "stopped", failed: "failing", backing_off: "degraded" }[state] ?? "wait";
}
