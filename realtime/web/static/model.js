/**
 * The supervision tree as this page knows it, by path; the root's path is "". Only values: tree.js draws them.
 * Its size is bounded by the server's own bound, the first 50 children of a dynamic supervisor.
 */

const MOST_CHILDREN = 50;
const RANK = { ok: 0, degraded: 1, failing: 2 };

const parentOf = (path) => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "");

/** A dynamic supervisor tells how many children it has, since it does not show them all. */
export const isDynamic = (node) => node.kind === "supervisor" && typeof node.children_total === "number";

export class Model {
  /** path -> {path, parent, node, children: [path], at, health} */
  #entries = new Map();

  get(path) {
    return this.#entries.get(path);
  }

  get root() {
    return this.#entries.get("");
  }

  /** A whole tree in place of the one known; returns every path that was or is. */
  read(root, now = performance.now()) {
    const changed = new Set(this.#entries.keys());
    this.#entries.clear();
    this.#add("", null, root, now);
    this.#judge("");
    for (const path of this.#entries.keys()) changed.add(path);
    return changed;
  }

  /** One change; returns the paths to draw anew. `node` is null when the child is forgotten. */
  apply({ event, path, node }, now = performance.now()) {
    const known = this.#entries.get(path);
    if (node === null || node === undefined) return this.#forget(path, known);
    if (known === undefined) return this.#join(event, path, node, now);
    const changed = new Set([path]);
    if (node.children !== undefined) {
      for (const child of known.children) this.#remove(child, changed);
      known.children = [];
      this.#addChildren(known, node.children, now);
      for (const child of known.children) this.#paths(child, changed);
    }
    known.node = { ...node, children_total: node.children_total ?? known.node.children_total };
    known.at = now;
    return this.#judgeUp(path, changed);
  }

  /** Paths of what is wrong, without the supervisors that are only degraded because of it. */
  culprits() {
    const troubled = [...this.#entries.values()].filter((entry) => entry.health !== "ok");
    const blamed = new Set(troubled.map((entry) => entry.parent));
    return troubled.filter((entry) => !blamed.has(entry.path)).map((entry) => entry.path);
  }

  #join(event, path, node, now) {
    const parent = this.#entries.get(parentOf(path));
    if (path === "") return this.read(node, now);
    if (parent === undefined) return new Set(); // below something that is not shown
    const changed = new Set([parent.path]);
    if (isDynamic(parent.node)) {
      if (event === "started" && (node.generation ?? 1) <= 1) parent.node.children_total += 1;
      if (parent.children.length >= MOST_CHILDREN) return changed;
    }
    this.#add(path, parent.path, node, now);
    parent.children.push(path);
    this.#paths(path, changed);
    return this.#judgeUp(path, changed);
  }

  #forget(path, known) {
    const parent = this.#entries.get(parentOf(path));
    if (parent === undefined || path === "") return new Set();
    const changed = new Set([parent.path]);
    if (isDynamic(parent.node)) parent.node.children_total = Math.max(0, parent.node.children_total - 1);
    if (known === undefined) return changed;
    parent.children = parent.children.filter((child) => child !== path);
    this.#remove(path, changed);
    return this.#judgeUp(parent.path, changed);
  }

  #add(path, parent, node, now) {
    const entry = { path, parent, node: { ...node }, children: [], at: now, health: "ok" };
    this.#entries.set(path, entry);
    this.#addChildren(entry, node.children ?? [], now);
  }

  #addChildren(entry, nodes, now) {
    for (const child of nodes.slice(0, isDynamic(entry.node) ? MOST_CHILDREN : undefined)) {
      const path = entry.path === "" ? child.id : `${entry.path}/${child.id}`;
      this.#add(path, entry.path, child, now);
      entry.children.push(path);
    }
  }

  #remove(path, changed) {
    for (const child of this.#entries.get(path)?.children ?? []) this.#remove(child, changed);
    this.#entries.delete(path);
    changed.add(path);
  }

  #paths(path, into) {
    into.add(path);
    for (const child of this.#entries.get(path).children) this.#paths(child, into);
  }

  /** Health of an entry and all below it: what the server says, and degraded at least if a child is not ok. */
  #judge(path) {
    const entry = this.#entries.get(path);
    for (const child of entry.children) this.#judge(child);
    entry.health = this.#worst(entry);
  }

  #judgeUp(path, changed) {
    this.#judge(path);
    for (let up = this.#entries.get(path).parent; up !== null; up = this.#entries.get(up).parent) {
      const entry = this.#entries.get(up);
      const health = this.#worst(entry);
      if (health !== entry.health) changed.add(up);
      entry.health = health;
    }
    return changed;
  }

  #worst(entry) {
    const own = entry.node.health in RANK ? entry.node.health : "ok";
    const troubled = entry.children.some((child) => this.#entries.get(child).health !== "ok");
    return troubled && own === "ok" ? "degraded" : own;
  }
}
