// What the server sends, as dom.js describes elements: in the reader's zone, and as this window is.

import { h } from "./dom.js";
import { fromUtc, inZone, shownTime } from "./format.js";

/// The window up to which filters are closed at first, in pixels.
const PHONE = 640;

/// The elements within `parent`, which the server wrote.
export const within = (parent) => [...parent.childNodes].map(described).filter((it) => it !== null);

function described(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data.trim() ? node.data : spaceOf(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  const props = Object.fromEntries([...node.attributes].map(({ name, value }) => [name, value]));
  const { "data-key": key, "data-at": at, "data-show": show } = props;
  if (key !== undefined) props.key = key;
  for (const name of ["aria-label", "title"]) if (props[name]) props[name] = inZone(props[name]);
  const time = at && shownTime(at, show);
  if (time) {
    if (time.title) props.title = time.title;
    return h(node.localName, props, time.text);
  }
  return h(node.localName, { ...props, ...ofControl(node) }, within(node));
}

/// Space between words counts, that between the lines of a template does not.
const spaceOf = (text) => (text.includes("\n") ? null : text);

/// What a control holds is a property, not an attribute.
function ofControl(node) {
  if (node.localName === "select") return { value: node.querySelector("option[selected]")?.value ?? node.options[0]?.value };
  if (node.localName === "option") return { selected: null };
  if (node.localName === "details" && node.matches(".narrow")) return { open: node.dataset.set === "true" || innerWidth > PHONE ? "" : null };
  if (node.type === "datetime-local") return { value: fromUtc(node.getAttribute("value")) };
  return {};
}

/// Times go on.
export function tick() {
  for (const node of document.querySelectorAll("[data-at]")) {
    const { text, title } = shownTime(node.dataset.at, node.dataset.show) ?? {};
    if (text && node.textContent !== text) node.firstChild.data = text;
    if (title && node.title !== title) {
      node.title = title;
      if (node.shown) node.shown.title = title;
    }
  }
}
