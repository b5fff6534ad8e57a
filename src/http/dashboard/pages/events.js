// Events by all filters of the API; some or all that match are retried or cancelled.

import { bulk } from "../change.js";
import { h } from "../dom.js";
import { why } from "../explain.js";
import { filters } from "../filters.js";
import { money, number, time } from "../format.js";
import { badge, eventLink, instead, quoteLink } from "../link.js";
import { pager, steady, table } from "../list.js";
import { t } from "../text.js";

const STATUSES = ["pending", "leased", "delivered", "dead", "cancelled"];
const TYPES = ["quote.submitted", "quote.cancelled", "quote.rejected", "fee.created"];
const NAMES = ["status", "destination", "event_type", "quote_id", "customer_id", "cause", "error_contains", "created_after",
  "created_before", "settled_after", "settled_before"];

export const events = {
  title: () => t("nav.events"),
  sources: (page) => ({ events: page.api("/v1/outbox", [...NAMES, "cursor"], { limit: 50 }) }),
  view(page) {
    const source = page.data.events;
    const text = (name) => ({ name, label: t(`field.${name}`) });
    const when = (name) => ({ name, label: t(`field.${name}`), type: "datetime-local" });
    const form = filters(page, [
      { ...text("status"), options: STATUSES.map((it) => [it, t(`status.${it}`)]) },
      { ...text("destination") }, { ...text("event_type"), options: TYPES.map((it) => [it, it]) },
      text("customer_id"), text("cause"), text("error_contains"), text("quote_id"),
      when("created_after"), when("created_before"), when("settled_after"), when("settled_before")]);
    const found = source?.value;
    return [h("h1", {}, t("nav.events")), form, ...(found ? list(page, found) : [instead(source)])];
  },
};

function list(page, found) {
  const { ui } = page;
  ui.selection ??= new Set();
  const rows = steady(ui, found.events, (it) => it.id, page.address);
  return [
    h("p", { class: "total", role: "status" }, total(found),
      ui.added > 0 && [" ", h("button", { class: "quiet", onclick: () => { ui.rows = null; page.render(); } }, t("list.added", { n: ui.added }))]),
    page.mayOperate && actions(page, found),
    table({ name: "events", rows, columns: columns(), key: (it) => it.id, nothing: t("events.nothing"), kind: (it) => (ui.gone.has(it.id) ? "gone" : null),
      selection: page.mayOperate ? ui.selection : undefined, onselect: page.render }),
    found.unreadable?.length > 0 && h("p", { class: "empty bad" }, t("events.unreadable", { n: found.unreadable.length })),
    pager(page, found.next),
  ];
}

const total = (found) => (found.total_is_complete ? t("events.total", { n: found.total }) : t("events.total_more", { n: found.total }));

const columns = () => [
  { label: t("field.event"), cell: (it) => eventLink(it.id) },
  { label: t("field.status"), cell: (it) => badge(it.status) },
  { label: t("field.why"), kind: "wide", cell: (it) => why(it.why) },
  { label: t("field.event_type"), cell: (it) => it.event_type },
  { label: t("field.quote"), cell: (it) => quoteLink(it.quote_id) },
  { label: t("field.customer_id"), cell: (it) => it.customer_id ?? "" },
  { label: t("field.amount"), kind: "number", cell: (it) => money(it.money) },
  { label: t("field.attempts"), kind: "number", cell: (it) => number(it.attempts) },
  { label: t("field.created"), cell: (it) => time(it.created_at) },
];

/// Some that are selected, or all that match, by the status that the filter names.
function actions(page, found) {
  const { selection } = page.ui;
  const filter = Object.fromEntries(NAMES.filter((name) => page.query[name]).map((name) => [name, page.query[name]]));
  const after = () => { selection.clear(); page.reload(); };
  const button = (kind, which, label) => h("button", { key: label, class: kind === "cancel" ? "danger" : null,
    onclick: () => bulk(kind, which, { after }) }, label);
  const ids = { ids: [...selection] };
  const mayRetry = ["dead", "pending"].includes(filter.status);
  const mayCancel = mayRetry || filter.status === "leased";
  const shown = found.total_is_complete ? number(found.total) : `${number(found.total)}+`;
  return h("div", { class: "bar", role: "group", "aria-label": t("events.actions") },
    selection.size > 0 && [
      h("span", {}, t("events.selected", { n: selection.size })),
      button("retry", ids, t("events.retry_selected")), button("cancel", ids, t("events.cancel_selected")),
      h("button", { class: "quiet", onclick: () => { selection.clear(); page.render(); } }, t("events.select_none"))],
    !selection.size && found.total > 0 && [
      mayRetry && button("retry", filter, t("events.retry_all", { total: shown })),
      mayCancel && button("cancel", filter, t("events.cancel_all", { total: shown })),
      !mayCancel && h("span", { class: "empty" }, t("events.choose_status"))]);
}
