/** A WebSocket that comes back by itself, keeps itself alive, and says at any moment how it is. */

import { afterClose } from "./closing.js";
import { subprotocols } from "./credentials.js";

/** Milliseconds. A server pings every 30 s by default, so a longer silence is worth a question. */
const OPENING = 10_000;
const QUIET = 45_000;
const ANSWER = 10_000;
/** An open socket counts as healthy, and its failures are forgotten, after this long (as in the tree). */
const HEALTHY = 5_000;
/** Our own codes for what no close frame told us. */
const LOST = 1006;

export class Socket {
  #path;
  #query;
  #onMessage;
  #onState;
  #ws = null;
  #timer = 0; // the one thing it waits for: the next attempt, or the next look at the silence
  #attempt = 0;
  #openedAt = 0;
  #heardAt = 0;
  #asked = false;
  #now = { state: "connecting", words: "Connecting…", retryAt: null, eager: false };

  /**
   * @param {string} path relative to the page: "ws/events"
   * @param {{onMessage: (message: object, socket: Socket) => void, onState: (state: object) => void,
   *   query?: () => object}} hooks `query`: parameters of the next attempt
   */
  constructor(path, { onMessage, onState, query = () => ({}) }) {
    this.#path = path;
    this.#onMessage = onMessage;
    this.#onState = onState;
    this.#query = query;
  }

  /** `{state: connecting | open | waiting | closed, words, retryAt, eager}`; `retryAt` by performance.now(). */
  get now() {
    return this.#now;
  }

  /** Connect now; also the way back from "waiting" and "closed". Nothing happens when it is on its way already. */
  open() {
    if (this.#ws !== null) return;
    const url = new URL(this.#path, document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    for (const [key, value] of Object.entries(this.#query())) url.searchParams.set(key, value);
    const ws = new WebSocket(url, subprotocols());
    this.#ws = ws;
    // Events of a socket that was dropped meanwhile must not touch its successor.
    const mine = (handle) => (event) => ws === this.#ws && handle(event);
    ws.addEventListener(
      "open",
      mine(() => this.#opened()),
    );
    ws.addEventListener(
      "message",
      mine((event) => this.#received(event)),
    );
    ws.addEventListener(
      "close",
      mine((event) => this.#closed(event.code, event.reason)),
    );
    this.#wait(OPENING, () => this.#drop("The server did not answer."));
    this.#become({ state: "connecting", words: "Connecting…" });
  }

  /** Leave and come back at once, to be given the present state anew. */
  restart() {
    this.leave();
    this.open();
  }

  /** Close for good, until someone calls open(). */
  leave() {
    clearTimeout(this.#timer);
    const ws = this.#ws;
    this.#ws = null;
    ws?.close(1000);
    this.#become({ state: "closed", words: "Closed by this page." });
  }

  /** False when it is not open: what is said to a stream is said anew after each connect. */
  send(message) {
    if (this.#now.state !== "open") return false;
    this.#ws.send(JSON.stringify(message));
    return true;
  }

  #opened() {
    this.#openedAt = this.#heardAt = performance.now();
    this.#asked = false;
    this.#wait(QUIET, () => this.#listen());
    this.#become({ state: "open", words: "Connected" });
  }

  #received(event) {
    this.#heardAt = performance.now();
    this.#asked = false;
    const message = JSON.parse(event.data);
    if (message.type === "ping") this.send({ type: "pong", timestamp: message.timestamp });
    else if (message.type !== "pong") this.#onMessage(message, this);
  }

  /** A peer that vanished sends no close frame: ask after a long silence, then give the connection up. */
  #listen() {
    const silence = performance.now() - this.#heardAt;
    if (this.#asked) return this.#drop("The server no longer answers.");
    if (silence < QUIET) return this.#wait(QUIET - silence, () => this.#listen());
    this.#asked = true;
    this.send({ type: "ping" });
    return this.#wait(ANSWER, () => this.#listen());
  }

  #drop(words) {
    const ws = this.#ws;
    this.#closed(LOST, "", words);
    ws.close();
  }

  #closed(code, reason, words) {
    const healthy = this.#now.state === "open" && performance.now() - this.#openedAt >= HEALTHY;
    if (healthy) this.#attempt = 0;
    const verdict = afterClose(code, reason, this.#attempt);
    this.#attempt += 1;
    this.#ws = null;
    clearTimeout(this.#timer);
    const told = words ?? verdict.words;
    if (!verdict.again) return this.#become({ state: "closed", words: told });
    this.#wait(verdict.delay * 1000, () => this.open());
    return this.#become({
      state: "waiting",
      words: told,
      retryAt: performance.now() + verdict.delay * 1000,
      eager: verdict.eager,
    });
  }

  #wait(milliseconds, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, milliseconds);
  }

  #become({ state, words, retryAt = null, eager = false }) {
    this.#now = { state, words, retryAt, eager };
    this.#onState(this.#now);
  }
}
