// What failed, by cause.

import { bulk } from "../change.js";
import { sparkline } from "../chart.js";
import { h } from "../dom.js";
import { filters } from "../filters.js";
import { money, number, time } from "../format.js";
import { instead, link } from "../link.js";
import { table } from "../list.js";
import { t } from "../text.js";

export const causes = {
  title: () => t("nav.causes"),
  sources: (page) => ({ causes: page.api("/v1/causes", ["status", "destination"]), stats: "/v1/stats" }),
  view(page) {
    const found = page.data.causes?.value;
    const names = (page.data.stats?.value?.destinations ?? []).map(({ name }) => [name, name]);
    return [
      h("h1", {}, t("nav.causes")),
      h("p", {}, t("causes.text")),
      filters(page, [
        { name: "status", label: t("field.status"), options: ["pending", "leased", "dead"].map((it) => [it, t(`status.${it}`)]) },
        { name: "destination", label: t("field.destination"), options: names }]),
      found ? causesTable(page, found, found.causes) : instead(page.data.causes),
      found && !found.is_complete && h("p", { class: "empty" }, t("causes.incomplete")),
    ];
  },
};

/// The filters of the events that a row is about.
function which(page, cause, status) {
  return { cause: cause.cause, ...(status ? { status } : {}), ...(page.query.destination ? { destination: page.query.destination } : {}) };
}

/// With which statuses an operator can change its events.
function statuses(cause) {
  const pending = cause.events - cause.dead;
  return [["dead", cause.dead], ["pending", pending]].filter(([, events]) => events > 0);
}

/// The causes `rows` of the answer `found`.
export function causesTable(page, found, rows) {
  const act = (kind, cause) => bulk(kind, which(page, cause), { statuses: statuses(cause), after: page.reload });
  const columns = [
    { label: t("field.cause"), kind: "wide", cell: (it) => [h("span", { class: `badge ${it.outcome}` }, t(`outcome.${it.outcome}`)), " ",
      link("events", which(page, it, page.query.status), it.sample ?? it.cause), h("small", {}, it.cause)] },
    { label: t("field.events"), kind: "number", cell: (it) => number(it.events) },
    { label: t("status.dead"), kind: "number", cell: (it) => number(it.dead) },
    { label: t("field.quotes"), kind: "number", cell: (it) => number(it.quotes) },
    { label: t("causes.customers"), kind: "number", cell: (it) => number(it.customers) },
    { label: t("causes.money"), kind: "number", cell: (it) => it.money.map((sum) => h("div", { key: sum.currency }, money(sum))) },
    { label: t("causes.trend"), cell: (it) => it.trend && sparkline({ name: "refused", label: t("causes.failed"), from: found.trend_from,
      step: found.trend_step_seconds * 1000, values: it.trend }) },
    { label: t("causes.last"), cell: (it) => [time(it.last_seen), h("small", {}, t("causes.first"), ": ", time(it.first_seen))] },
    { label: t("field.actions"), cell: (it) => h("div", { class: "buttons" },
      link("events", which(page, it, page.query.status ?? (it.dead === it.events ? "dead" : undefined)), t("causes.show")),
      page.mayOperate && statuses(it).length > 0 && [
        h("button", { onclick: () => act("retry", it) }, t("causes.retry")),
        h("button", { class: "danger", onclick: () => act("cancel", it) }, t("causes.cancel"))]) },
  ];
  return table({ name: "causes", columns, rows, key: (it) => it.cause, nothing: t("causes.nothing") });
}
