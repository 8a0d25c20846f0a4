/** Requests, made only when the page is loaded or somebody asks for something. */

import { headers } from "./credentials.js";

/** Milliseconds until a request is given up. */
const DEADLINE = 10_000;

/** The server's own refusal, `{"error":{"code","message","details"}}`, or the lack of an answer. */
export class ApiError extends Error {
  constructor(code, message, details = {}, status = 0) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.details = details;
    this.status = status;
  }
}

/**
 * @param {string} path relative to the page
 * @returns {Promise<object>} the decoded answer
 * @throws {ApiError} on anything but a 2xx with JSON
 */
export async function request(method, path, body = undefined) {
  const { status, ok, text } = await exchange(method, path, body);
  const answer = decode(text);
  if (ok && answer !== undefined) return answer;
  const { code = "bad_answer", message = `The server answered ${status}.`, details } = answer?.error ?? {};
  throw new ApiError(code, message, details ?? {}, status);
}

async function exchange(method, path, body) {
  try {
    const response = await fetch(new URL(path, document.baseURI), {
      method,
      headers: { ...headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(DEADLINE),
    });
    return { status: response.status, ok: response.ok, text: await response.text() };
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new ApiError(
      "unreachable",
      late ? "The server did not answer in time." : "The server cannot be reached.",
    );
  }
}

/** A 202 may come without a body, and a proxy in between may answer in HTML. */
function decode(text) {
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** "broadcasters/clock" as a part of a URL, each name quoted by itself. */
export const quotePath = (path) => path.split("/").map(encodeURIComponent).join("/");
