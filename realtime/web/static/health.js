/** The health of the whole in the header and in the title of the page, as long as somebody tells it. */

import { byId, setIcon, setText } from "./dom.js";

const WORDS = { ok: "Healthy", degraded: "Degraded", failing: "Failing", unknown: "Unknown" };

export class Health {
  #box = byId("health");
  #announce;
  #last = "unknown"; // that was known

  /** `announce`: tells a sentence to screen readers. */
  constructor(announce) {
    this.#announce = announce;
  }

  /** `model` of the tree, and whether it is up to date. */
  update(model, known) {
    const health = known ? model.root.health : "unknown";
    const where =
      health === "ok" || !known
        ? ""
        : model
            .culprits()
            .map((path) => path || "root")
            .join(", ");
    this.#box.dataset.health = health;
    setIcon(byId("health-icon"), health === "unknown" ? "wait" : health);
    setText(byId("health-words"), WORDS[health]);
    setText(byId("health-where"), where);
    if (known) this.#tell(health, where);
    // Until something is known, there is nothing that was lost.
    const word = known ? WORDS[health] : "Disconnected";
    document.title = this.#last === "unknown" || health === "ok" ? "realtime" : `${word} – realtime`;
  }

  #tell(health, where) {
    const before = this.#last;
    this.#last = health;
    if (health === before || (before === "unknown" && health === "ok")) return;
    this.#announce(health === "ok" ? "Everything is healthy again." : `${WORDS[health]}: ${where}`);
  }
}
