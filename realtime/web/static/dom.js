/** Building and changing elements; nothing here knows what is shown. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * One element with its children. `props`: `class`, `text`, `dataset`, `on` (listeners by event name), anything
 * else becomes an attribute; `true` sets it empty, `false`, `null` and `undefined` leave it out.
 */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same in the SVG namespace. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, { class: names, text, dataset, on, ...attributes }, children) {
  if (names) element.setAttribute("class", names);
  if (text !== undefined) element.textContent = text;
  Object.assign(element.dataset, dataset);
  for (const [name, listener] of Object.entries(on ?? {})) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A decorative icon out of the sprite in index.html; the word beside it carries the meaning. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/** Show another icon of the sprite in an element made by {@link icon}. */
export function setIcon(element, name) {
  const use = element.firstElementChild;
  if (use.getAttribute("href") !== `#icon-${name}`) use.setAttribute("href", `#icon-${name}`);
}

/** Write only what differs, so that a tick costs no layout and a screen reader hears no echo. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element of index.html that has to be there. */
export function byId(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`index.html has no element with the id ${id}`);
  return element;
}
