/** The live figures of the machine and of the server's own process. Each of them may be missing. */

import { byId, setText } from "./dom.js";
import { Chart } from "./chart.js";
import * as format from "./format.js";

export class Figures {
  #chart = new Chart(byId("chart"), [
    { key: "cpu", label: "CPU" },
    { key: "memory", label: "Memory" },
  ]);
  #values = new Map([...document.querySelectorAll("[data-figure]")].map((at) => [at.dataset.figure, at]));
  #startedAt = null; // by the server's clock, in milliseconds
  #serverNow;
  #notice = byId("figures-notice");

  /** `serverNow`: the server's time in milliseconds. */
  constructor(serverNow) {
    this.#serverNow = serverNow;
  }

  /** One `snapshot` of the topic `system`. */
  update(data) {
    const {
      cpu_percent: cpu,
      load = [],
      memory = {},
      network = {},
      process = {},
      connections,
      cpu_count: cores,
    } = data;
    this.#set("cpu", format.percent(cpu));
    this.#set(
      "load",
      join([load.length ? `load ${load.map(format.load).join(" ")}` : "", amount(cores, "core")]),
    );
    this.#set("memory", format.percent(memory.percent));
    this.#set("memory-used", used(memory));
    this.#set("received", rate(network.received_bytes_per_s));
    this.#set("sent", rate(network.sent_bytes_per_s));
    this.#set("connections", format.count(connections));
    this.#set("rss", format.bytes(process.rss_bytes));
    this.#set("process-cpu", format.percent(process.cpu_percent));
    this.#set("threads", amount(process.threads, "thread"));
    this.#set("files", amount(process.open_files, "open file"));
    this.#startedAt = startOf(process, this.#serverNow());
    this.#chart.push({ cpu, memory: memory.percent });
    this.notice("");
    this.tick();
  }

  /** Once a second: figures come only when they change, time passes all the same. */
  tick() {
    this.#chart.draw();
    if (this.#startedAt === null) return;
    this.#set("uptime", `up ${format.duration((this.#serverNow() - this.#startedAt) / 1000)}`);
  }

  /** Nothing is known from here until the next snapshot; the lines end. */
  lost() {
    this.#chart.lost();
    this.#startedAt = null;
  }

  /** Why there are no figures; empty when there are. */
  notice(text) {
    this.#notice.hidden = text === "";
    setText(this.#notice, text);
  }

  #set(name, text) {
    setText(this.#values.get(name), text);
  }
}

const join = (parts) => parts.filter(Boolean).join(" · ");
const amount = (n, thing) =>
  typeof n === "number" ? `${format.count(n)} ${thing}${n === 1 ? "" : "s"}` : "";
const rate = (n) => (typeof n === "number" ? `${format.bytes(n)}/s` : format.NONE);

/** A process says since when it runs, or for how long. */
function startOf({ started_at: at, uptime_s: seconds }, now) {
  if (typeof at === "string") return Date.parse(at);
  return typeof seconds === "number" ? now - seconds * 1000 : null;
}

function used({ total_bytes: total, available_bytes: available }) {
  if (typeof total !== "number" || typeof available !== "number") return "";
  return `${format.bytes(total - available)} of ${format.bytes(total)}`;
}
