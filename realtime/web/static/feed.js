/** The event feed: newest on top, bounded, one row per event, drawn at most once per frame. */

import { byId, el, icon, setText } from "./dom.js";
import * as format from "./format.js";

/** Rows kept, gaps included. */
export const MOST = 200;
/** Those with a look of their own; any other is shown as it is called. */
const SEVERITIES = new Set(["debug", "info", "warning", "error", "critical"]);

export class Feed {
  #list = byId("event-list");
  #count = byId("event-count");
  #empty = byId("event-empty");
  #rows = new Map(); // event id -> row
  #pending = [];
  #frame = 0;

  /** One event as it happens. */
  add(event) {
    this.#queue(() => this.#event(event));
  }

  /** Events that were lost on their way to this page. */
  gap(missed) {
    this.#queue(() => gapRow(`${format.count(missed)} missed`, "This page was too slow to be told of them."));
  }

  /** Events that this page did not ask for; where they belong is known, how many they are is not. */
  unknown(text) {
    this.#queue(() => gapRow(text, ""));
  }

  /** The newest event, or undefined. */
  get newest() {
    this.#flush();
    return this.#list.querySelector("[data-event-id]")?.dataset.eventId;
  }

  /** The present top, to be given to fill() later. */
  mark() {
    this.#flush();
    return this.#list.firstElementChild;
  }

  /** Past events, oldest first, right above `mark`; below everything if there is none. Known ones are left out. */
  fill(events, mark) {
    this.#flush();
    let below = mark?.isConnected ? mark : null;
    for (const event of events.slice(-MOST)) {
      const row = this.#event(event);
      if (row === null) continue;
      this.#list.insertBefore(row, below);
      below = row;
    }
    this.#settle();
  }

  #queue(make) {
    this.#pending.push(make);
    // A page in the background draws nothing: what would be cut off at once need not wait either.
    if (this.#pending.length > MOST) this.#pending.shift();
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#pending.length === 0) return;
    const rows = this.#pending
      .splice(0)
      .map((make) => make())
      .filter((row) => row !== null);
    this.#list.prepend(...rows.reverse());
    this.#settle();
  }

  #settle() {
    while (this.#list.childElementCount > MOST) {
      const last = this.#list.lastElementChild;
      this.#rows.delete(last.dataset.eventId);
      last.remove();
    }
    this.#empty.hidden = this.#list.childElementCount > 0;
    setText(this.#count, this.#rows.size === 0 ? "" : `${format.count(this.#rows.size)} shown`);
  }

  /** The row of an event, or null if it has one already. */
  #event(event) {
    if (this.#rows.has(event.event_id)) return null;
    const row = eventRow(event);
    this.#rows.set(event.event_id, row);
    return row;
  }
}

function eventRow(event) {
  const { event_id: id, type, timestamp, severity = "info", source, tags = [], data = {} } = event;
  const details = el(
    "details",
    { class: "event" },
    el(
      "summary",
      { class: "event-line" },
      el("time", {
        class: "event-time",
        datetime: timestamp,
        title: format.dateTime(timestamp),
        text: format.time(timestamp),
      }),
      el("span", {
        class: `severity severity-${SEVERITIES.has(severity) ? severity : "info"}`,
        text: severity,
      }),
      el("span", { class: "event-type", text: type }),
      el("span", { class: "event-source", text: source ?? "" }),
      el(
        "span",
        { class: "event-more" },
        ...tags.map((tag) => el("span", { class: "tag", text: tag })),
        el("code", { class: "event-data", text: compact(data) }),
      ),
    ),
  );
  // Most rows are never opened: their long form is made when they are.
  details.addEventListener("toggle", () => details.append(longForm(event)), { once: true });
  return el("li", { class: "event-row", dataset: { testid: "event-row", eventId: id } }, details);
}

function longForm(event) {
  return el(
    "div",
    { class: "event-long" },
    el("pre", { text: JSON.stringify(event, null, 2), tabindex: "0" }),
  );
}

/** Characters of JSON put into a row; what is wider than the row is cut off by the browser. */
const COMPACT = 400;

function compact(data) {
  const text = JSON.stringify(data);
  return text === "{}" || text === "null" ? "" : text.slice(0, COMPACT);
}

function gapRow(text, explanation) {
  return el(
    "li",
    { class: "gap-row", dataset: { testid: "gap-row" }, title: explanation || false },
    icon("degraded"),
    text,
  );
}
