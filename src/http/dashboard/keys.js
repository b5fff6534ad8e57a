// What can be done by keys alone.

import { h, patch } from "./dom.js";
import { openRow, walk } from "./list.js";
import { t } from "./text.js";

const HELP = ["/", "j", "k", "x", "Enter", "?", "Esc"];

export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=checkbox]), textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (act(event)) event.preventDefault();
  });
}

function act({ key, target }) {
  if (key === "/") {
    const search = document.getElementById("search");
    search?.focus();
    search?.select();
    return Boolean(search);
  }
  if (key === "?") {
    help();
    return true;
  }
  if (key === "Enter") return target.matches("[data-row]") && openRow();
  return ["j", "k", "x"].includes(key) && walk(key);
}

export function help() {
  const dialog = document.createElement("dialog");
  patch(dialog, [h("h2", { id: "keys-title" }, t("keys.title")),
    h("dl", { class: "keys" }, HELP.map((key) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, t(`keys.${key}`))))),
    h("p", { class: "buttons" }, h("button", { class: "main", onclick: () => dialog.close() }, t("keys.close")))]);
  dialog.setAttribute("aria-labelledby", "keys-title");
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
