/** Numbers, durations and times as people read them, in the locale of the browser. */

/** Shown where a figure is missing. */
export const NONE = "–";

const integer = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const twoDigits = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const count = (value) => (isNumber(value) ? integer.format(value) : NONE);
export const decimal = (value) => (isNumber(value) ? oneDigit.format(value) : NONE);
export const load = (value) => (isNumber(value) ? twoDigits.format(value) : NONE);
export const percent = (value) => (isNumber(value) ? `${oneDigit.format(value)} %` : NONE);

/** 1536 -> "1.5 KiB". */
export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  // Below 1000, not 1024, so that a figure never has more than three digits before the point.
  while (Math.abs(value) >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? integer.format(value) : oneDigit.format(value)} ${units[unit]}`;
}

/** Seconds in at most two units: "12 s", "4 min 12 s", "3 h 12 min", "5 d 3 h". */
export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${integer.format(Math.floor(s / 86400))} d ${Math.floor(s / 3600) % 24} h`;
}

/** Time of day of a Date or an ISO string. */
export const time = (when) => part(clock, when);
/** Characters that a time of day takes at most, for columns that keep their width. */
export const TIME_WIDTH = clock.format(new Date(2000, 11, 28, 22, 58, 58)).length;
export const date = (when) => part(day, when);
export const dateTime = (when) => part(full, when);

function part(format, when) {
  const value = new Date(when);
  return Number.isNaN(value.getTime()) ? String(when) : format.format(value);
}

/** "rest_for_one" -> "rest for one". */
export const words = (name) => String(name).replaceAll("_", " ");

/** A key or state as the beginning of a sentence: "backing_off" -> "Backing off". */
export function title(name) {
  const text = words(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What stands beside the name of a figure in a node's statistics; anything but plain values as JSON. */
export function figure(value) {
  if (isNumber(value))
    return Number.isInteger(value) ? integer.format(value) : String(Number(value.toPrecision(6)));
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return NONE;
  return JSON.stringify(value);
}
