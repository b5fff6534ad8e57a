// Lists: rows are walked by keys, selected, and stay where they are while somebody points at them.

import { h } from "./dom.js";
import { within } from "./server.js";
import { t } from "./text.js";

/// Lists that may change at each look. The others are short, and have no place to say what came.
const STEADY = ["events", "quotes", "actions"];

/// The rows that are selected, by their keys, and the address of their list.
const selection = { keys: new Set(), address: "" };
/// What came and went while the list was held.
let held = { added: 0, gone: new Set() };

export const selected = () => [...selection.keys];

export function selectNone() {
  selection.keys.clear();
  decorate();
}

/// A page is shown: another list has a selection of its own.
export function begin(address) {
  if (selection.address !== address) Object.assign(selection, { keys: new Set(), address });
  held = { added: 0, gone: new Set() };
}

/// While somebody points at the list or has focus in it, the rows that are shown stay in their places; `children` describe the page anew.
export function steady(main, children) {
  const name = STEADY.find((it) => main.querySelector(`[data-list=${it}]`));
  const list = name && main.querySelector(`[data-list=${name}] tbody`);
  held = { added: 0, gone: new Set() };
  if (!list || !(list.matches(":hover") || list.contains(document.activeElement))) return children;
  const table = find(children, (it) => it.props["data-list"] === name);
  const fresh = table && find(table.children, (it) => it.tag === "tbody");
  if (!fresh) return children;
  const rows = new Map(fresh.children.map((row) => [row.props?.key, row]));
  const before = [...list.children].filter((row) => row.dataset.row !== undefined);
  const known = new Set(before.map((row) => row.dataset.row));
  held.added = fresh.children.filter((row) => row.props?.["data-row"] !== undefined && !known.has(row.props.key)).length;
  held.gone = new Set([...known].filter((key) => !rows.has(key)));
  if (before.length) fresh.children = before.map((row) => rows.get(row.dataset.row) ?? asItIs(row));
  return children;
}

const asItIs = (row) => h("tr", { ...row.shown, key: row.key, class: "gone" }, within(row));

function find(children, fits) {
  for (const child of children) {
    const found = child.tag && (fits(child) ? child : find(child.children, fits));
    if (found) return found;
  }
  return undefined;
}

/// Shows what only this window knows: what is selected, and what came meanwhile.
export function decorate() {
  const boxes = [...document.querySelectorAll("[data-pick]")];
  for (const box of boxes) box.checked = selection.keys.has(box.dataset.pick);
  const some = boxes.filter((box) => box.checked).length;
  for (const all of document.querySelectorAll("[data-pick-all]")) {
    Object.assign(all, { checked: some > 0 && some === boxes.length, indeterminate: some > 0 && some < boxes.length });
  }
  const n = selection.keys.size;
  for (const part of document.querySelectorAll("[data-selected]")) part.hidden = n === 0;
  for (const part of document.querySelectorAll("[data-unselected]")) part.hidden = n > 0;
  for (const part of document.querySelectorAll("[data-selected-count]")) say(part, t("events.selected", { n }));
  for (const part of document.querySelectorAll("[data-added]")) {
    if (!held.added) { part.replaceChildren(); continue; }
    const button = part.querySelector("button") ?? part.appendChild(Object.assign(document.createElement("button"), { className: "quiet" }));
    button.dataset.do = "show-added";
    say(button, t("list.added", { n: held.added }));
  }
}

const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };

/// A box was ticked.
export function pick(box) {
  const boxes = box.matches("[data-pick-all]") ? document.querySelectorAll("[data-pick]") : [box];
  for (const { dataset } of boxes) if (box.checked) selection.keys.add(dataset.pick); else selection.keys.delete(dataset.pick);
  decorate();
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
