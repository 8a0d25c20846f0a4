/** The supervision tree drawn as nested lists; a change redraws the nodes it concerns, once per frame. */

import { quotePath, request } from "./api.js";
import { byId } from "./dom.js";
import { NodeView } from "./node.js";

/** Milliseconds between two steps of a countdown. */
const STEP = 100;

export class Tree {
  #root = byId("tree");
  #model;
  #views = new Map(); // path -> NodeView
  #dirty = new Set();
  #frame = 0;
  #timer = 0;
  #actions;

  /** `debug`: whether the server allows workers to be crashed. */
  constructor(model, { debug }) {
    this.#model = model;
    this.#actions = {
      toggle: (view) => this.#children(view),
      crash: debug ? (path) => request("POST", `api/supervisors/${quotePath(path)}/crash`, {}) : null,
      operate: (path, action) => request("POST", `api/supervisors/${quotePath(path)}/${action}`),
      read: (path) => this.#read(path),
    };
  }

  /** These paths were changed in the model. */
  changed(paths) {
    for (const path of paths) this.#dirty.add(path);
    if (this.#dirty.size > 0) this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  /** Once a second, for what time alone changes. */
  tick() {
    if (document.hidden) return;
    const now = performance.now();
    for (const view of this.#views.values()) view.tick(now);
  }

  #flush() {
    this.#frame = 0;
    const paths = [...this.#dirty];
    this.#dirty.clear();
    for (const path of paths.filter((known) => this.#model.get(known) === undefined)) this.#remove(path);
    for (const path of paths) {
      const entry = this.#model.get(path);
      if (entry === undefined) continue;
      if (this.#views.has(path)) this.#views.get(path).update(entry);
      else this.#place(entry);
    }
    for (const path of paths) if (this.#views.has(path)) this.#order(this.#views.get(path), path);
    this.#count();
  }

  /** A new node, if the place it belongs to is drawn. */
  #place(entry) {
    const parent = entry.parent === null ? null : this.#views.get(entry.parent);
    if (entry.parent !== null && !parent?.open) return;
    const view = new NodeView(entry, this.#actions);
    this.#views.set(entry.path, view);
    if (parent === null) this.#root.replaceChildren(view.element);
    else parent.children.append(view.element);
    if (view.open) this.#children(view);
  }

  /** Draw the children of a node that was opened; closed ones that nobody sees are taken away again. */
  #children(view) {
    const entry = this.#model.get(view.element.dataset.path);
    for (const path of entry?.children ?? []) {
      if (!view.open) this.#remove(path);
      else if (!this.#views.has(path)) this.#place(this.#model.get(path));
    }
  }

  #remove(path) {
    const view = this.#views.get(path);
    if (view === undefined) return;
    for (const child of view.children.children) this.#remove(child.dataset.path);
    view.element.remove();
    this.#views.delete(path);
  }

  /** Children in the order in which they are started; moved only where it differs, as moving loses the focus. */
  #order(view, path) {
    const wanted = this.#model
      .get(path)
      .children.map((child) => this.#views.get(child)?.element)
      .filter(Boolean);
    if (wanted.some((element, place) => view.children.children[place] !== element))
      view.children.append(...wanted);
  }

  async #read(path) {
    const node = await request("GET", path === "" ? "api/supervisors" : `api/supervisors/${quotePath(path)}`);
    this.changed(this.#model.apply({ event: "read", path, node }));
  }

  /** Tenths of a second matter only while something counts down. */
  #count() {
    const counting = this.#root.querySelector('[data-state="backing_off"]') !== null;
    if (counting && this.#timer === 0) this.#timer = setInterval(() => this.tick(), STEP);
    if (counting || this.#timer === 0) return;
    clearInterval(this.#timer);
    this.#timer = 0;
  }
}
