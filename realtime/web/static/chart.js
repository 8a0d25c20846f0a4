/** Percentages over the last minutes as lines in an SVG; pointer or arrow keys read a moment. */

import { el, setText, svg } from "./dom.js";
import * as format from "./format.js";

/** Seconds shown; seconds between samples beyond which the first held: figures come only when they change. */
const WINDOW = 180;
const HOLD = 12;
/** Samples kept, whatever the rate. */
const MOST = 720;
const MARGIN = { top: 8, right: 10, bottom: 20, left: 42 };

export class Chart {
  #root;
  #series;
  #samples = []; // {at: performance.now() in seconds, wall: Date.now(), values: object | null}; null: unknown since
  #cursor = null; // seconds before now, or null
  #size = { width: 0, height: 0 };
  #svg;
  #grid = svg("g", { class: "chart-grid" });
  #lines = new Map();
  #hair = svg("line", { class: "chart-hair" });
  #dots = new Map();
  #tip = el("output", { class: "chart-tip", hidden: true });
  #readings = new Map();

  /** `series`: `{key, label}`, drawn with the classes `series-<key>`. */
  constructor(root, series) {
    this.#root = root;
    this.#series = series;
    const labels = series.map(({ label }) => label).join(" and ");
    this.#svg = svg("svg", {
      class: "chart-plot",
      tabindex: "0",
      role: "img",
      "aria-label": `${labels} in percent over the last ${WINDOW / 60} minutes. Arrow keys read a moment.`,
    });
    for (const { key } of series) {
      this.#lines.set(key, svg("path", { class: `chart-line series-${key}` }));
      this.#dots.set(key, svg("circle", { class: `chart-dot series-${key}`, r: "3.5" }));
    }
    this.#svg.append(this.#grid, ...this.#lines.values(), this.#hair, ...this.#dots.values());
    root.append(this.#legend(), el("div", { class: "chart-frame" }, this.#svg, this.#tip));
    this.#listen();
  }

  /** One sample, taken now. */
  push(values) {
    this.#samples.push({ at: performance.now() / 1000, wall: Date.now(), values });
    this.#trim();
    for (const { key } of this.#series) setText(this.#readings.get(key), format.percent(values[key]));
    this.draw();
  }

  /** The lines end here and begin anew with the next sample. */
  lost() {
    if (this.#samples.at(-1)?.values)
      this.#samples.push({ at: performance.now() / 1000, wall: Date.now(), values: null });
  }

  draw() {
    if (this.#size.width === 0 || document.hidden) return;
    const now = performance.now() / 1000;
    for (const { key } of this.#series) this.#lines.get(key).setAttribute("d", this.#path(key, now));
    this.#read(now);
  }

  #legend() {
    const entry = ({ key, label }) => {
      const reading = el("span", { class: "legend-value", text: format.NONE });
      this.#readings.set(key, reading);
      return el(
        "span",
        { class: `legend-entry series-${key}` },
        el("span", { class: "legend-key" }),
        label,
        reading,
      );
    };
    return el("div", { class: "chart-legend" }, ...this.#series.map(entry));
  }

  #trim() {
    const since = performance.now() / 1000 - WINDOW;
    // One sample older than the window stays: its line runs into it.
    const first = this.#samples.findIndex((sample) => sample.at >= since);
    this.#samples.splice(0, Math.max(first - 1, this.#samples.length - MOST, 0));
  }

  /** A path through the samples; held where nothing came for a while, since what did not change is not sent. */
  #path(key, now) {
    let path = "";
    let last = null;
    for (const { at, values } of [
      ...this.#samples,
      { at: now, values: this.#samples.at(-1)?.values ?? null },
    ]) {
      const value = values?.[key];
      if (last !== null && (at - last.at > HOLD || typeof value !== "number"))
        path += `L${this.#x(now - at)} ${this.#y(last.value)}`;
      if (typeof value === "number")
        path += `${last === null ? "M" : "L"}${this.#x(now - at)} ${this.#y(value)}`;
      last = typeof value === "number" ? { at, value } : null;
    }
    return path;
  }

  #x(age) {
    const span = this.#size.width - MARGIN.left - MARGIN.right;
    return (MARGIN.left + span * (1 - Math.min(age, WINDOW) / WINDOW)).toFixed(1);
  }

  #y(value) {
    const span = this.#size.height - MARGIN.top - MARGIN.bottom;
    return (MARGIN.top + span * (1 - Math.min(Math.max(value, 0), 100) / 100)).toFixed(1);
  }

  #layout(width, height) {
    this.#size = { width, height };
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const rows = [0, 50, 100].flatMap((value) => [
      svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: this.#y(value), y2: this.#y(value) }),
      svg(
        "text",
        { x: MARGIN.left - 8, y: this.#y(value), dy: "0.32em", "text-anchor": "end" },
        `${value} %`,
      ),
    ]);
    const columns = [3, 2, 1, 0].map((minutes) =>
      svg(
        "text",
        {
          x: this.#x(minutes * 60),
          y: height - 4,
          "text-anchor": minutes === 0 ? "end" : minutes === 3 ? "start" : "middle",
        },
        minutes === 0 ? "now" : `−${minutes} min`,
      ),
    );
    this.#grid.replaceChildren(...rows, ...columns);
    this.draw();
  }

  /** The moment under the cursor: the sample that held then. */
  #read(now) {
    const sample =
      this.#cursor === null ? undefined : this.#samples.findLast((s) => s.at <= now - this.#cursor);
    const shown = Boolean(sample?.values);
    this.#tip.hidden = !shown;
    this.#hair.classList.toggle("shown", shown);
    for (const { key } of this.#series) {
      const value = shown ? sample.values[key] : undefined;
      const dot = this.#dots.get(key);
      dot.classList.toggle("shown", typeof value === "number");
      if (typeof value !== "number") continue;
      dot.setAttribute("cx", this.#x(this.#cursor));
      dot.setAttribute("cy", this.#y(value));
    }
    if (shown) this.#point(sample);
  }

  #point(sample) {
    const x = Number(this.#x(this.#cursor));
    for (const [name, value] of Object.entries({
      x1: x,
      x2: x,
      y1: MARGIN.top,
      y2: this.#size.height - MARGIN.bottom,
    })) {
      this.#hair.setAttribute(name, value);
    }
    const readings = this.#series.map(({ key, label }) => `${label} ${format.percent(sample.values[key])}`);
    setText(this.#tip, [format.time(sample.wall), ...readings].join("\n"));
    const left = x + 12 + this.#tip.offsetWidth > this.#size.width ? x - 12 - this.#tip.offsetWidth : x + 12;
    this.#tip.style.transform = `translateX(${Math.max(0, left)}px)`;
  }

  #move(age) {
    this.#cursor = age === null ? null : Math.min(Math.max(age, 0), WINDOW);
    this.draw();
  }

  #listen() {
    new ResizeObserver(([{ contentRect }]) => this.#layout(contentRect.width, contentRect.height)).observe(
      this.#svg,
    );
    this.#svg.addEventListener("pointermove", (event) => {
      const span = this.#size.width - MARGIN.left - MARGIN.right;
      this.#move(WINDOW * (1 - (event.offsetX - MARGIN.left) / span));
    });
    for (const name of ["pointerleave", "blur"]) this.#svg.addEventListener(name, () => this.#move(null));
    this.#svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 2, ArrowRight: -2 }[event.key];
      if (step === undefined && event.key !== "Escape") return;
      event.preventDefault();
      this.#move(step === undefined ? null : (this.#cursor ?? 0) + step);
    });
  }
}
