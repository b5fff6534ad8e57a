// Tables whose rows are walked by keys and stay where they are while somebody points at them.

import { h } from "./dom.js";
import { t } from "./text.js";

/// A table: `columns` are `{label, cell(row), kind?}`, `key(row)` names a row, `selection` is a set of keys (or none).
export function table({ name, columns, rows, key, nothing, selection, onselect, kind }) {
  const heads = columns.map((it) => h("th", { scope: "col", class: it.kind }, it.label));
  const keys = rows.map(key);
  const some = selection && keys.filter((it) => selection.has(it)).length;
  const all = selection && h("th", { scope: "col", class: "pick" }, h("input", { type: "checkbox", "aria-label": t("list.select_page"),
    checked: keys.length > 0 && some === keys.length, indeterminate: some > 0 && some < keys.length,
    onchange: (event) => { keys.forEach((it) => (event.target.checked ? selection.add(it) : selection.delete(it))); onselect(); } }));
  const span = columns.length + (selection ? 1 : 0);
  return h("div", { class: "scroll", tabindex: 0 }, h("table", { "data-list": name, "aria-label": t(`list.${name}`), class: "list" },
    h("thead", {}, h("tr", {}, all, heads)),
    h("tbody", {},
      rows.map((row) => h("tr", { key: key(row), tabindex: -1, "data-row": key(row), class: kind?.(row) },
        selection && h("td", { class: "pick" }, h("input", { type: "checkbox", "aria-label": t("list.select_row"), checked: selection.has(key(row)),
          onchange: (event) => { if (event.target.checked) selection.add(key(row)); else selection.delete(key(row)); onselect(); } })),
        columns.map((it) => h("td", { class: it.kind, "data-label": it.label }, it.cell(row))))),
      !rows.length && h("tr", { key: "nothing" }, h("td", { colspan: span, class: "empty" }, nothing)))));
}

/// The rows to show: while somebody points at the list or has focus in it, the rows that were shown stay in their places.
export function steady(ui, rows, key, address) {
  const list = document.querySelector("[data-list] tbody");
  const isHeld = list && (list.matches(":hover") || list.contains(document.activeElement));
  if (isHeld && ui.rows && ui.address === address) {
    const fresh = new Map(rows.map((row) => [key(row), row]));
    const known = new Set(ui.rows.map(key));
    ui.added = rows.filter((row) => !known.has(key(row))).length;
    ui.gone = new Set(ui.rows.map(key).filter((it) => !fresh.has(it)));
    ui.rows = ui.rows.map((row) => fresh.get(key(row)) ?? row);
    return ui.rows;
  }
  Object.assign(ui, { rows, address, added: 0, gone: new Set() });
  return rows;
}

/// Walks the rows of the page's list: j and k, x to select.
export function walk(key) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return false;
  const at = rows.indexOf(document.activeElement?.closest("[data-row]"));
  if (key === "x") {
    rows[at]?.querySelector("input[type=checkbox]")?.click();
    return true;
  }
  const next = at < 0 ? 0 : Math.min(Math.max(at + (key === "j" ? 1 : -1), 0), rows.length - 1);
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
  return true;
}

/// Enter on a row opens it.
export function openRow() {
  const row = document.activeElement?.matches("[data-row]") && document.activeElement;
  row?.querySelector("a")?.click();
  return Boolean(row);
}

/// The links to the first and to the next page; back is the browser's own.
export const pager = (page, next) => h("nav", { class: "pager", "aria-label": t("list.pages") },
  page.query.cursor && h("a", { href: page.with({ cursor: undefined }) }, t("list.first")),
  next && h("a", { href: page.with({ cursor: next }), rel: "next" }, t("list.next")));
