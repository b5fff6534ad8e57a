// Filters that live in the address: the back button undoes them, and a link keeps them.

import { h } from "./dom.js";
import { t } from "./text.js";

/// A form of filters: `fields` are `{name, label, options?, type?}`.
export function filters(page, fields) {
  const apply = (event) => {
    event.preventDefault();
    const form = new FormData(event.target.closest("form"));
    const values = fields.map(({ name, type }) => [name, type === "datetime-local" ? toUtc(form.get(name)) : form.get(name).trim()]);
    location.hash = page.with({ ...Object.fromEntries(values), cursor: undefined });
  };
  const isSet = fields.some(({ name }) => page.query[name]);
  const form = h("form", { class: "filters", role: "search", "aria-label": t("filter.name"), onsubmit: apply },
    fields.map((it) => h("label", {}, it.label, control(it, page.query[it.name] ?? "", apply))),
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "main" }, t("filter.apply")),
      isSet && h("a", { href: page.with(Object.fromEntries([...fields.map(({ name }) => [name, undefined]), ["cursor", undefined]])) }, t("filter.clear"))));
  // On a phone they would fill the screen.
  return h("details", { class: "narrow", open: isSet || innerWidth > 640 }, h("summary", {}, t("filter.name")), form);
}

function control(it, value, apply) {
  if (it.options) {
    return h("select", { name: it.name, value, onchange: apply },
      h("option", { value: "" }, t("filter.any")), it.options.map(([option, label]) => h("option", { value: option }, label)));
  }
  const shown = it.type === "datetime-local" ? fromUtc(value) : value;
  return h("input", { name: it.name, type: it.type ?? "text", value: shown, step: it.type ? 1 : null, autocomplete: "off" });
}

/// The form shows the browser's zone, the address keeps UTC.
function toUtc(text) {
  const date = new Date(text);
  return text && !Number.isNaN(date.getTime()) ? date.toISOString() : "";
}

function fromUtc(text) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
