/** The tasks: which run, how far they are, and how they ended; hidden where there is nothing to run. */

import { ApiError, request } from "./api.js";
import { byId, el, icon, setIcon, setText } from "./dom.js";
import * as format from "./format.js";

/** Rows kept. */
const MOST = 20;
const ICON = { running: "wait", completed: "ok", failed: "failing", cancelled: "stopped", interrupted: "degraded" };
const PATH = /^jobs\/([^/]+)$/;

export class Tasks {
  #panel = byId("tasks");
  #list = byId("task-list");
  #empty = byId("task-empty");
  #form = byId("task-form");
  #status = byId("task-form-status");
  #submit = byId("task-form-submit");
  #rows = new Map(); // task id -> Row
  #session;
  #loading = null;

  /** `session`: the socket over which tasks are followed. */
  constructor(session) {
    this.#session = session;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    this.#form.elements.job.addEventListener("change", () => this.#suggest());
  }

  /** The session's socket is open: what runs is followed anew, and what ended meanwhile is looked up. */
  async opened() {
    this.#loading ??= this.#load().finally(() => (this.#loading = null));
    await this.#loading;
  }

  /** A change in the tree: a task is a child of `jobs`. */
  changed({ event, path }) {
    const id = PATH.exec(path)?.[1];
    if (id !== undefined && event === "started") this.#follow(id);
  }

  /** A message of one of the topics that are followed. */
  received({ type, topic, data }) {
    if (data === undefined) return;
    const id = topic.slice("tasks/".length);
    const state = type === "progress" ? "running" : type;
    this.#show({ ...data, task_id: id, state });
    if (state !== "running") this.#session.send({ type: "unsubscribe", topic });
  }

  async #load() {
    try {
      const { jobs } = await request("GET", "api/jobs");
      const { tasks } = await request("GET", `api/tasks?limit=${MOST}`);
      this.#jobs(jobs);
      for (const task of tasks.reverse()) this.#show(task);
      for (const task of tasks) if (task.state === "running") this.#follow(task.task_id);
      this.#panel.hidden = jobs.length === 0 && tasks.length === 0;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#say(`The tasks could not be read: ${error.message}`, true);
    }
  }

  #follow(id) {
    this.#session.send({ type: "subscribe", topic: `tasks/${id}` });
    if (!this.#rows.has(id)) this.#lookUp(id);
  }

  /** What the messages of its topic do not say: which job it is, and since when. */
  async #lookUp(id) {
    try {
      this.#show(await request("GET", `api/tasks/${encodeURIComponent(id)}`));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  #show(task) {
    let row = this.#rows.get(task.task_id);
    if (row === undefined) {
      row = new Row((id) => this.#cancel(id));
      this.#rows.set(task.task_id, row);
      this.#list.prepend(row.element);
    }
    row.show(task);
    while (this.#rows.size > MOST) this.#forgetOldest();
    this.#panel.hidden = false;
    this.#empty.hidden = true;
  }

  #forgetOldest() {
    const [id, row] = this.#rows.entries().next().value;
    row.element.remove();
    this.#rows.delete(id);
  }

  #jobs(jobs) {
    const select = this.#form.elements.job;
    select.replaceChildren(
      ...jobs.map(({ job, params }) =>
        el("option", { value: job, text: job, dataset: { params: JSON.stringify(params) } }),
      ),
    );
    this.#form.hidden = jobs.length === 0;
    if (jobs.length > 0) this.#suggest();
  }

  /** The parameters of the chosen job, with their defaults, ready to be changed. */
  #suggest() {
    const params = JSON.parse(this.#form.elements.job.selectedOptions[0].dataset.params);
    const suggested = params.map(({ name, default: value }) => [name, value ?? ""]);
    this.#form.elements.params.value = params.length === 0 ? "" : JSON.stringify(Object.fromEntries(suggested));
    byId("task-params-field").hidden = params.length === 0;
  }

  async #start() {
    this.#complain("");
    let params = {};
    try {
      const text = this.#form.elements.params.value.trim();
      if (text) params = JSON.parse(text);
    } catch (error) {
      return this.#complain(`Not valid JSON: ${error.message}`);
    }
    this.#submit.disabled = true;
    try {
      this.#show(await request("POST", "api/tasks", { job: this.#form.elements.job.value, params }));
      this.#say("Started.");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (String(error.details.field ?? "").startsWith("params")) this.#complain(error.message);
      else this.#say(error.message, true);
    } finally {
      this.#submit.disabled = false;
    }
    return undefined;
  }

  async #cancel(id) {
    try {
      await request("DELETE", `api/tasks/${encodeURIComponent(id)}`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#say(error.message, true);
    }
  }

  #complain(text) {
    setText(byId("task-params-error"), text);
    if (text) this.#say("");
  }

  #say(text, failed = false) {
    setText(this.#status, text);
    this.#status.classList.toggle("failed", failed);
  }
}

/** One task: its job and state, a bar while that is known, its last word, and a way to end it. */
class Row {
  element;
  #icon = icon("wait");
  #job = el("span", { class: "task-job" });
  #state = el("span", { class: "task-state" });
  #bar = el("progress", { class: "task-bar", max: 100 });
  #message = el("span", { class: "task-message" });
  #at = el("time", { class: "task-at" });
  #button;
  #known = {};

  constructor(onCancel) {
    this.#button = el("button", {
      class: "danger",
      type: "button",
      text: "Cancel",
      on: { click: () => onCancel(this.#known.task_id) },
    });
    this.element = el(
      "li",
      { class: "task-row" },
      el("div", { class: "task-line" }, this.#icon, this.#job, this.#state, this.#at, this.#button),
      this.#bar,
      this.#message,
    );
  }

  /** Put what is new over what is known; a late answer does not bring an ended task back to life. */
  show(task) {
    const ended = this.#known.state !== undefined && this.#known.state !== "running";
    this.#known = { ...this.#known, ...task, ...(ended ? { state: this.#known.state } : {}) };
    const { state, job, percent, message, error, created_at: at, task_id: id } = this.#known;
    this.element.dataset.state = state;
    this.element.dataset.taskId = id;
    setIcon(this.#icon, ICON[state] ?? "wait");
    setText(this.#job, job ?? "");
    setText(this.#state, typeof percent === "number" && state === "running" ? format.percent(percent) : format.title(state));
    setText(this.#message, error?.message ?? message ?? "");
    setText(this.#at, at === undefined ? "" : format.time(at));
    this.#bar.hidden = state !== "running";
    if (typeof percent === "number") this.#bar.value = percent;
    else this.#bar.removeAttribute("value");
    this.#button.hidden = state !== "running";
    this.#button.setAttribute("aria-label", `Cancel ${job ?? "task"} ${id}`);
  }
}
