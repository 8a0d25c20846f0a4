/** The server's time as it arrives. It is never carried on by the page: a clock that stands still has stopped. */

import { byId, setText } from "./dom.js";
import * as format from "./format.js";

/** Milliseconds without an update after which the time on display is called old; updates come each second. */
const LATE = 2_500;

export class Clock {
  #time = byId("clock-time");
  #local = byId("clock-local");
  #box = byId("clock");
  #heardAt = null;
  #skew = 0;

  /** `date`: ISO 8601 in UTC. */
  update(date) {
    const now = new Date(date);
    if (Number.isNaN(now.getTime())) return;
    this.#heardAt = performance.now();
    this.#skew = now.getTime() - Date.now();
    this.#box.dataset.iso = date;
    this.#time.dateTime = date;
    setText(this.#time, now.toISOString().slice(11, 19));
    this.#show(now);
  }

  /** Once a second: says how old the time is, once it is. */
  tick() {
    if (this.#heardAt === null) return;
    const age = performance.now() - this.#heardAt;
    const late = age > LATE;
    this.#box.toggleAttribute("data-late", late);
    if (late) setText(this.#local, `no tick for ${format.duration(age / 1000)}`);
  }

  /** The server's time as far as it is known, for questions about "the last hour". */
  serverNow() {
    return Date.now() + this.#skew;
  }

  #show(now) {
    this.#box.removeAttribute("data-late");
    setText(this.#local, `${format.date(now)}, ${format.time(now)} local`);
  }
}
