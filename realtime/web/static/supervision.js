/** The stream of the tree: the whole of it once per connection, then each change. */

import { Log } from "./log.js";
import { Model } from "./model.js";
import { Socket } from "./socket.js";
import { Tree } from "./tree.js";

/** Milliseconds within which the tree has to come; a server that is still starting may have none to show. */
const PATIENCE = 3_000;

export class Supervision {
  socket;
  model = new Model();
  #tree;
  #log = new Log();
  #due = 0;
  #onChange;
  #onEvent;

  /**
   * `debug`: whether workers may be crashed; `onEvent` is given each change of the tree, `onChange` is called after
   * each change of model or connection.
   */
  constructor({ debug, onState, onEvent, onChange }) {
    this.#onEvent = onEvent;
    this.#tree = new Tree(this.model, { debug });
    this.#onChange = onChange;
    this.socket = new Socket("ws/supervisors", {
      onMessage: (message) => this.#received(message),
      onState: (now) => {
        clearTimeout(this.#due);
        if (now.state === "open") this.#due = setTimeout(() => this.socket.restart(), PATIENCE);
        onState(now);
        onChange();
      },
    });
  }

  /** Once a second. Nobody knows whether what was running still is when the stream is cut. */
  tick() {
    if (this.socket.now.state === "open") this.#tree.tick();
  }

  /** Whether the model is what the server says now. */
  get known() {
    return this.socket.now.state === "open" && this.model.root !== undefined;
  }

  #received(message) {
    if (message.type === "snapshot") this.#read(message.data);
    else if (message.type === "supervisor_event") this.#apply(message.data);
    else if (message.type === "gap") return this.#gap(message.missed);
    return this.#onChange();
  }

  #read(root) {
    clearTimeout(this.#due);
    this.#tree.changed(this.model.read(root));
  }

  #apply(change) {
    const { path } = change;
    this.#onEvent(change);
    const above = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
    this.#log.add(change, path === "" ? undefined : this.model.get(above));
    this.#tree.changed(this.model.apply(change));
  }

  /** What was missed cannot be guessed: have it told from the beginning. */
  #gap(missed) {
    this.#log.note("tree", `${missed} changes missed, read anew`, "warning");
    this.socket.restart();
  }
}
