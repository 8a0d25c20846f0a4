/** The form that posts an event; the server's refusal is shown beside the field it names. */

import { ApiError, request } from "./api.js";
import { byId, setText } from "./dom.js";

const FIELDS = ["type", "severity", "source", "tags", "data"];

export class EventForm {
  #form = byId("event-form");
  #status = byId("event-form-status");
  #button = byId("event-form-submit");
  #onPosted;

  /** `onPosted` receives the stored event. */
  constructor(onPosted) {
    this.#onPosted = onPosted;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener("input", (event) => this.#complain(event.target.name, ""));
  }

  async #submit() {
    for (const field of FIELDS) this.#complain(field, "");
    const body = this.#read();
    if (body === null) return;
    this.#say("Posting…");
    this.#button.disabled = true;
    try {
      const event = await request("POST", "api/events", body);
      this.#say("Posted.");
      this.#onPosted(event);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#refused(error);
    } finally {
      this.#button.disabled = false;
    }
  }

  /** The body to post, or null when a field is wrong; empty fields are left out. */
  #read() {
    const value = (name) => this.#form.elements[name].value.trim();
    const body = { type: value("type"), severity: value("severity") };
    if (value("source")) body.source = value("source");
    const tags = value("tags")
      .split(",")
      .map((tag) => tag.trim())
      .filter(Boolean);
    if (tags.length > 0) body.tags = tags;
    if (body.type === "") return this.#wrong("type", "An event needs a type.");
    try {
      if (value("data")) body.data = JSON.parse(value("data"));
    } catch (error) {
      return this.#wrong("data", `Not valid JSON: ${error.message}`);
    }
    return body;
  }

  #wrong(field, message) {
    this.#say("");
    this.#complain(field, message);
    this.#form.elements[field].focus();
    return null;
  }

  /** `details.field` may reach into a field ("tags[0]", "data.x"): its first name is the one on this form. */
  #refused({ message, details }) {
    const field = String(details.field ?? "").split(/[.[]/)[0];
    if (FIELDS.includes(field)) this.#wrong(field, message);
    else this.#say(message, true);
  }

  #complain(field, message) {
    if (!FIELDS.includes(field)) return;
    setText(byId(`event-${field}-error`), message);
    const input = this.#form.elements[field];
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }

  #say(text, failed = false) {
    setText(this.#status, text);
    this.#status.classList.toggle("failed", failed);
  }
}
