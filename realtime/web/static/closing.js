/**
 * What a page does after its socket was closed: come back or not, when, and how to say so.
 * Decided from values alone; socket.js carries it out. The codes are those of the protocol's table.
 */

/** Seconds: ceiling of the first delay, of every delay, and the least wait after having been told "later". */
export const FIRST = 0.5;
export const MAXIMUM = 10;
export const LATER = 10;

const FINAL = new Map([
  [1000, "The server has ended this stream."],
  [4401, "Sign-in is missing or has expired."],
  [4403, "This page is not allowed to read this stream."],
  [4404, "The server does not know this stream."],
]);

const PASSING = new Map([
  [1001, "The server went away."],
  [1002, "The server saw a protocol error."],
  [1006, "The connection was lost."],
  [1007, "The server saw text that is not UTF-8."],
  [1009, "The server refused a message that was too big."],
  [1011, "The server failed while serving this page."],
  [1012, "The server restarts."],
  [4000, "This page was too slow."],
  [4001, "The server had no sign of life from this page."],
  [4400, "The server received too many bad messages."],
  [4429, "The server received too many messages."],
]);

/**
 * `attempt` counts the failures in a row, from 0. Full jitter, so that the clients of a server that fell over
 * do not come back in step; a delay that the server asks for is the least, with jitter on top of it.
 *
 * @returns {{again: boolean, delay: number, words: string, eager: boolean}} `delay` in seconds; `eager`: may
 *   be cut short as soon as the server is known to be back.
 */
export function afterClose(code, reason, attempt, random = Math.random) {
  if (FINAL.has(code)) return { again: false, delay: 0, words: FINAL.get(code), eager: false };
  const least = code === 1012 ? retryAfter(reason) : code === 4400 || code === 4429 ? LATER : 0;
  return {
    again: true,
    delay: least + random() * Math.min(MAXIMUM, FIRST * 2 ** Math.min(attempt, 16)),
    words: PASSING.get(code) ?? `The connection was closed (${code}).`,
    eager: least === 0,
  };
}

/** "retry-after=2.5" -> 2.5; anything else -> 0. An hour at most, whatever the reason says. */
export function retryAfter(reason) {
  const seconds = Number(/^retry-after=(\d+(?:\.\d+)?)$/.exec(reason)?.[1] ?? 0);
  return Math.min(seconds, 3600);
}
