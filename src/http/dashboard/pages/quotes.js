// Quotes by status, customer, id and time.

import { h } from "../dom.js";
import { filters } from "../filters.js";
import { money, time } from "../format.js";
import { badge, instead, quoteLink } from "../link.js";
import { pager, steady, table } from "../list.js";
import { t } from "../text.js";

const STATUSES = ["pending", "confirmed", "rejected", "cancelled"];
const NAMES = ["status", "customer_id", "id_prefix", "submitted_after", "submitted_before"];

export const quotes = {
  title: () => t("nav.quotes"),
  sources: (page) => ({ quotes: page.api("/v1/quotes", [...NAMES, "cursor"], { limit: 50 }) }),
  view(page) {
    const found = page.data.quotes?.value;
    const label = (name) => ({ name, label: t(`field.${name}`) });
    const form = filters(page, [
      { ...label("status"), options: STATUSES.map((it) => [it, t(`quote_status.${it}`)]) }, label("customer_id"), label("id_prefix"),
      { ...label("submitted_after"), type: "datetime-local" }, { ...label("submitted_before"), type: "datetime-local" }]);
    const columns = [
      { label: t("field.quote"), cell: (it) => quoteLink(it.id) },
      { label: t("field.status"), cell: (it) => badge(it.status, "quote_status") },
      { label: t("field.customer_id"), cell: (it) => it.customer_id },
      { label: t("field.amount"), kind: "number", cell: (it) => money(it) },
      { label: t("field.fee"), kind: "number", cell: (it) => money(it.fee) },
      { label: t("field.partner"), cell: (it) => it.submitted_by ?? "" },
      { label: t("field.submitted"), cell: (it) => time(it.submitted_at) },
      { label: t("field.error"), kind: "wide", cell: (it) => it.delivery?.last_error ?? it.status_reason ?? "" },
    ];
    const list = () => [
      table({ name: "quotes", columns, rows: steady(page.ui, found.quotes, (it) => it.id, page.address), key: (it) => it.id, nothing: t("quotes.nothing") }),
      pager(page, found.next)];
    return [h("h1", {}, t("nav.quotes")), form, ...(found ? list() : [instead(page.data.quotes)])];
  },
};
