/**
 * The supervision tree as this page knows it, by path; the root's path is "". Only values: tree.js draws them.
 * Its size is bounded by the server's own bound, the first 50 children of a dynamic supervisor.
 */

const MOST_CHILDREN = 50;
const RANK = { ok: 0, degraded: 1, failing: 2 };

const parentOf = (path) => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "");

export class Model {
  /**
   * path -> {path, parent, node, children: [path], at, own, health, dynamic, total}
   *
   * `at`: when the node was heard of; `own`: health apart from the children's; `dynamic`: children come and go.
   */
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
    known.node = node;
    known.at = now;
    known.total = node.children_total ?? known.total;
    this.#learn(known);
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
    if (event === "started") parent.total += 1;
    if (parent.dynamic && parent.children.length >= MOST_CHILDREN) return changed;
    this.#add(path, parent.path, node, now);
    parent.children.push(path);
    this.#classify(parent);
    this.#paths(path, changed);
    return this.#judgeUp(path, changed);
  }

  #forget(path, known) {
    const parent = this.#entries.get(parentOf(path));
    if (parent === undefined || path === "") return new Set();
    const changed = new Set([parent.path]);
    parent.total = Math.max(0, parent.total - 1);
    if (known === undefined) return changed;
    parent.children = parent.children.filter((child) => child !== path);
    this.#classify(parent);
    this.#remove(path, changed);
    return this.#judgeUp(parent.path, changed);
  }

  #add(path, parent, node, now) {
    const entry = { path, parent, node, children: [], at: now, own: "ok", health: "ok", dynamic: false };
    entry.total = node.children_total ?? node.children?.length ?? 0;
    this.#entries.set(path, entry);
    this.#addChildren(entry, node.children ?? [], now);
    this.#learn(entry);
  }

  #addChildren(entry, nodes, now) {
    for (const child of nodes) {
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

  /**
   * What an entry is apart from its children. A supervisor is told of when something befalls it, not each time a
   * child recovers; so what it owes to its children is left to what is known of them.
   */
  #learn(entry) {
    const { health, children = [] } = entry.node;
    const owed = health === "degraded" && children.some((child) => child.health !== "ok");
    entry.own = health in RANK && !owed ? health : "ok";
    this.#classify(entry);
  }

  /** Children that are never restarted, or more than are shown: they were added at run time. */
  #classify(entry) {
    const temporary = (path) => this.#entries.get(path).node.restart === "temporary";
    const crowd = entry.total > entry.children.length || entry.children.every(temporary);
    entry.dynamic = entry.node.kind === "supervisor" && entry.node.children_total !== undefined && crowd;
    if (!entry.dynamic) entry.total = entry.children.length;
  }

  /** Health of an entry and all below it: its own, and degraded at least if a child is not ok. */
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
    const troubled = entry.children.some((child) => this.#entries.get(child).health !== "ok");
    return troubled && entry.own === "ok" ? "degraded" : entry.own;
  }
}
