/** Signing in with a token, and what an operator sees that others do not. */

import { ApiError, request } from "./api.js";
import { remember, token } from "./credentials.js";
import { byId, setText } from "./dom.js";

const ADMIN = "admin";
/** A header can carry no others. */
const SENDABLE = /^[\x20-\x7e\u00a0-\u00ff]+$/;

export class SignIn {
  #box = byId("signin");
  #words = byId("signin-words");
  #form = byId("signin-form");
  #input = byId("signin-token");
  #error = byId("signin-error");
  #out = byId("signin-out");
  #onChange;

  /** `onChange` is called when somebody has signed in or out: what is open speaks for who was there before. */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter(this.#input.value.trim());
    });
    byId("signin-leave").addEventListener("click", () => this.#leave());
    this.#box.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && this.#box.removeAttribute("open"),
    );
    document.addEventListener(
      "click",
      (event) => this.#box.contains(event.target) || this.#box.removeAttribute("open"),
    );
    this.#show(null);
    if (token() !== null) this.#resume();
  }

  /** The page was loaded anew. A token that counts no more is not kept: without one there may be more to see. */
  async #resume() {
    if (await this.#look()) return;
    remember(null);
    this.#onChange();
  }

  async #enter(value) {
    if (value === "") return this.#complain("Enter a token.");
    if (!SENDABLE.test(value)) return this.#complain("A token has no such characters.");
    const before = token();
    remember(value);
    if (!(await this.#look())) return remember(before);
    this.#box.removeAttribute("open");
    return this.#onChange();
  }

  #leave() {
    remember(null);
    this.#show(null);
    this.#onChange();
  }

  /** Ask the server whose the token is; false if it does not count. */
  async #look() {
    try {
      this.#show(await request("GET", "api/me"));
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#show(null);
      this.#complain(error.message);
      return false;
    }
  }

  #show(who) {
    const name = who?.name ?? null;
    const operator = who?.scopes?.includes(ADMIN) ?? false;
    document.documentElement.dataset.operator = String(operator);
    setText(this.#words, name === null ? "Sign in" : name);
    this.#form.hidden = name !== null;
    this.#out.hidden = name === null;
    this.#input.value = "";
    this.#complain("");
  }

  #complain(text) {
    setText(this.#error, text);
    if (text) this.#input.setAttribute("aria-invalid", "true");
    else this.#input.removeAttribute("aria-invalid");
  }
}
