// What operators did.

import { h } from "../dom.js";
import { exactTime } from "../format.js";
import { instead, quoteLink } from "../link.js";
import { pager, steady, table } from "../list.js";
import { t } from "../text.js";

export const actions = {
  title: () => t("nav.actions"),
  sources: (page) => ({ actions: page.api("/v1/actions", ["quote_id", "cursor"], { limit: 50 }) }),
  view(page) {
    const found = page.data.actions?.value;
    if (!found) return [h("h1", {}, t("nav.actions")), instead(page.data.actions)];
    const details = (it) => (it.details && Object.keys(it.details).length ? h("small", {}, JSON.stringify(it.details)) : null);
    const columns = [
      { label: t("field.at"), cell: (it) => exactTime(it.created_at) },
      { label: t("actions.actor"), cell: (it) => it.actor },
      { label: t("actions.action"), cell: (it) => h("code", {}, it.action) },
      { label: t("actions.target"), kind: "wide", cell: (it) => [h("span", { class: "id" }, it.target), details(it)] },
      { label: t("field.quote"), cell: (it) => (it.quote_id ? quoteLink(it.quote_id) : "") },
      { label: t("ask.reason"), kind: "wide", cell: (it) => it.reason ?? "" },
    ];
    return [h("h1", {}, t("nav.actions")),
      table({ name: "actions", columns, rows: steady(page.ui, found.actions, (it) => it.id, page.address), key: (it) => it.id, nothing: t("actions.nothing") }),
      pager(page, found.next)];
  },
};
