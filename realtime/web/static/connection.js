/** How the page is connected: one word for all its sockets in the header, each of them on demand. */

import { byId, el, setIcon, setText } from "./dom.js";

const ORDER = ["open", "connecting", "waiting", "closed"];
const ICON = { open: "ok", connecting: "wait", waiting: "degraded", closed: "failing" };
/** Milliseconds between two looks at a countdown. */
const STEP = 250;

export class Connection {
  #box = byId("connection");
  #icon = byId("connection-icon");
  #words = byId("connection-words");
  #retry = byId("connection-retry");
  #list = byId("connection-list");
  #sockets = new Map(); // name -> {socket, row}
  #announce;
  #said = null;
  #timer = 0;

  /** `announce`: tells a sentence to screen readers. */
  constructor(announce) {
    this.#announce = announce;
    this.#retry.addEventListener("click", () => this.#all((socket) => socket.open()));
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    document.addEventListener(
      "click",
      (event) => this.#box.contains(event.target) || this.#box.removeAttribute("open"),
    );
    this.#box.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && this.#box.removeAttribute("open"),
    );
  }

  /** A socket to report on; its state changes come through changed(). */
  add(name, socket) {
    const words = el("span", { class: "connection-state" });
    this.#list.append(el("li", {}, el("span", { class: "connection-name", text: name }), words));
    this.#sockets.set(name, { socket, words });
  }

  changed() {
    this.#show();
    const counting = this.#state() === "waiting";
    clearInterval(this.#timer);
    if (counting) this.#timer = setInterval(() => this.#show(), STEP);
  }

  /** The server is likely to be back: those that wait on their own account need not wait any longer. */
  hurry() {
    this.#all((socket) => socket.now.state === "waiting" && socket.now.eager && socket.open());
  }

  #all(act) {
    for (const { socket } of this.#sockets.values()) act(socket);
  }

  #state() {
    const states = [...this.#sockets.values()].map(({ socket }) => ORDER.indexOf(socket.now.state));
    return ORDER[Math.max(...states)];
  }

  #show() {
    const state = this.#state();
    this.#box.dataset.state = state;
    setIcon(this.#icon, ICON[state]);
    setText(this.#words, this.#sentence(state));
    this.#retry.hidden = state !== "waiting" && state !== "closed";
    for (const { socket, words } of this.#sockets.values()) setText(words, detail(socket.now));
    this.#tell(state);
  }

  #sentence(state) {
    if (state === "open") return "Connected";
    if (state === "connecting") return "Connecting…";
    if (state === "closed") return "Closed";
    const soonest = [...this.#sockets.values()]
      .map(({ socket }) => socket.now.retryAt)
      .filter((at) => at !== null);
    return `Reconnecting in ${remaining(Math.min(...soonest))} s`;
  }

  /** Changes are spoken, countdowns are not; "connecting" is too short to be worth a word. */
  #tell(state) {
    if (state === "connecting" || state === this.#said) return;
    const first = this.#said === null && state === "open";
    this.#said = state;
    if (!first)
      this.#announce(
        { open: "Connected again.", waiting: "Connection lost, reconnecting.", closed: "Connection closed." }[
          state
        ],
      );
  }
}

const remaining = (at) => Math.max(0, Math.ceil((at - performance.now()) / 1000));

function detail({ state, words, retryAt }) {
  if (state === "waiting") return `${words} Again in ${remaining(retryAt)} s.`;
  return words;
}
