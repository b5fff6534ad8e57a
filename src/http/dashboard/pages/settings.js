// The effective settings of the process that answers; secrets are masked by the API.

import { h } from "../dom.js";
import { instead } from "../link.js";
import { table } from "../list.js";
import { t } from "../text.js";

/// Which rows are shown, by the name in the address.
const CHOICES = { all: () => true, set: (it) => !it.is_default, differing: (it) => it.differs.length > 0 };

export const settings = {
  title: () => t("nav.settings"),
  sources: () => ({ settings: "/v1/settings" }),
  view(page) {
    const found = page.data.settings?.value;
    const head = h("h1", {}, t("nav.settings"));
    if (!found) return [head, instead(page.data.settings)];
    const chosen = page.query.show in CHOICES ? page.query.show : "all";
    const differing = found.settings.filter(CHOICES.differing);
    const columns = [
      { label: t("settings.key"), cell: (it) => h("code", {}, it.key) },
      { label: t("settings.value"), kind: "wide", cell: (it) => h("code", {}, it.value) },
      { label: t("settings.source"), cell: (it) => (it.is_default && it.source === "default" ? t("settings.default") : it.source) },
      { label: t("settings.differs"), kind: "wide", cell: (it) => it.differs.map(({ process, value }) =>
        h("div", { key: process, class: "wait" }, `${process}: `, h("code", {}, value))) },
    ];
    return [head,
      h("p", {}, t("settings.text", { process: found.process, version: found.version })),
      differing.length > 0 && h("p", { class: "headline wait" }, t("workers.differing", { names: differing.map(({ key }) => key).join(", ") })),
      h("p", { class: "tabs", role: "group", "aria-label": t("settings.shown") }, Object.keys(CHOICES).map((it) =>
        h("a", { href: page.with({ show: it }), "aria-current": it === chosen ? "true" : null }, t(`settings.show.${it}`)))),
      table({ name: "settings", columns, rows: found.settings.filter(CHOICES[chosen]), key: (it) => it.key, nothing: t("settings.nothing") })];
  },
};
