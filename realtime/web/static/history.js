/**
 * Events of the past, asked for once per connect and never while idle.
 *
 * The listing runs from the oldest event on, so the last ones of a long history are found by looking back in widening
 * windows of time, each read to its end, with a bound on the pages.
 */

import { request } from "./api.js";

const WINDOWS = [600, 6 * 3600, 7 * 86_400]; // seconds
const PAGE = 1000;
const MOST_PAGES = 5;

/** The last `wanted` events or a few less, oldest first. `now`: the server's time in milliseconds. */
export async function lastEvents(wanted, now) {
  const all = await list({ limit: wanted });
  if (all.next === null || all.next === undefined) return all.events;
  let found = [];
  for (const seconds of WINDOWS) {
    const since = new Date(now - seconds * 1000).toISOString();
    found = (await read({ since })).events;
    if (found.length >= wanted) break;
  }
  return found.slice(-wanted);
}

/** What came after an event: `{events, complete}`, oldest first. */
export async function eventsAfter(id) {
  return read({ after: id });
}

async function read(filter) {
  const events = [];
  let page = { next: null };
  for (let pages = 0; pages < MOST_PAGES; pages += 1) {
    const where = pages === 0 ? filter : { ...filter, after: page.next };
    page = await list({ ...where, limit: PAGE });
    events.push(...page.events);
    if (page.next === null || page.next === undefined) return { events, complete: true };
  }
  return { events, complete: false };
}

function list(filter) {
  return request("GET", `api/events?${new URLSearchParams(filter)}`);
}
