/** The stream of events: what happens now from the socket, what was missed from the history. */

import { ApiError } from "./api.js";
import { eventsAfter, lastEvents } from "./history.js";
import { MOST } from "./feed.js";
import { Socket } from "./socket.js";

export class Events {
  socket;
  #feed;
  #serverNow;
  #seen = null; // {epoch, offset} of the last message, so that a reconnect can ask for what came after it

  constructor(feed, { onState, serverNow }) {
    this.#feed = feed;
    this.#serverNow = serverNow;
    this.socket = new Socket("ws/events", {
      onState,
      onMessage: (message) => this.#received(message),
      query: () => this.#seen ?? {},
    });
  }

  #received(message) {
    if (message.type === "subscribed") return void this.#subscribed(message);
    if (typeof message.offset === "number" && this.#seen !== null) this.#seen.offset = message.offset;
    if (message.type === "event") this.#feed.add(message.data);
    else if (message.type === "gap") this.#feed.gap(message.missed);
    return undefined;
  }

  /** The stream runs from here on. What came before is read beside it, and put where it belongs. */
  async #subscribed({ epoch, offset, recovered }) {
    const before = this.#seen;
    // Recovered messages are still to come: until they are here, the last offset seen is the old one.
    this.#seen = { epoch, offset: recovered ? before.offset : offset };
    const missedNothing =
      before !== null && (recovered || (before.epoch === epoch && before.offset === offset));
    if (missedNothing) return;
    const mark = this.#feed.mark();
    try {
      const { events, complete } = await this.#missed();
      this.#feed.fill(events, mark);
      if (!complete) this.#feed.unknown("More happened meanwhile than is shown");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#feed.unknown(`Earlier events could not be read: ${error.message}`);
    }
  }

  async #missed() {
    const newest = this.#feed.newest;
    if (newest !== undefined) {
      try {
        return await eventsAfter(newest);
      } catch (error) {
        // The event is gone, by retention or with the whole store: begin anew.
        if (!(error instanceof ApiError) || ![400, 404].includes(error.status)) throw error;
      }
    }
    return { events: await lastEvents(MOST, this.#serverNow()), complete: true };
  }
}
