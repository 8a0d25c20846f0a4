/**
 * The token of whoever has signed in on this page: kept for this tab alone, and gone with it.
 * It leaves the page in a header, or as a subprotocol of a WebSocket, and never in a URL.
 */

const KEY = "realtime.token";
const SUBPROTOCOL = "realtime";

/** Where the browser keeps nothing for us (a blocked storage), this page alone remembers. */
let remembered = null;

/** The token, or null. */
export function token() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return remembered;
  }
}

export function remember(value) {
  remembered = value;
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // `remembered` has it.
  }
}

/** For fetch. */
export function headers() {
  const known = token();
  return known === null ? {} : { Authorization: `Bearer ${known}` };
}

/** For a WebSocket, on which a page can set no header. */
export function subprotocols() {
  const known = token();
  return known === null ? [] : [SUBPROTOCOL, `${SUBPROTOCOL}.bearer.${encode(known)}`];
}

/** A subprotocol holds what an HTTP token may: encodeURIComponent leaves two characters that may not stand there. */
const encode = (text) =>
  encodeURIComponent(text).replace(/[()]/g, (found) => `%${found.charCodeAt(0).toString(16)}`);
