// What Feebox promises, and when each promise was last checked.

import { checkNow } from "../change.js";
import { h } from "../dom.js";
import { duration, exactTime, number, time } from "../format.js";
import { eventLink, instead, quoteLink } from "../link.js";
import { table } from "../list.js";
import { t } from "../text.js";

export const promises = {
  title: () => t("nav.promises"),
  sources: () => ({ audit: "/v1/audit", stats: "/v1/stats" }),
  view(page) {
    const found = page.data.audit?.value;
    const head = h("h1", {}, t("nav.promises"));
    if (page.data.audit?.error?.status === 404) return [head, withoutCall(page.data.stats?.value)];
    if (!found) return [head, instead(page.data.audit)];
    const columns = [
      { label: t("promises.number"), kind: "number", cell: (it) => number(it.number) },
      { label: t("promises.promise"), kind: "wide", cell: (it) => t(`promises.text.${it.number}`) },
      { label: t("promises.checked"), cell: (it) => (it.checked_at ? time(it.checked_at) : t("promises.unchecked")) },
      { label: t("promises.violations"), kind: "number", cell: (it) => h("span", { class: it.violations ? "bad" : "good" }, number(it.violations)) },
    ];
    const broken = [
      { label: t("promises.number"), kind: "number", cell: (it) => number(it.promise) },
      { label: t("field.quote"), cell: (it) => (it.quote_id ? quoteLink(it.quote_id) : "") },
      { label: t("promises.detail"), kind: "wide", cell: (it) => [wrong(it), h("small", {}, it.check, " ", it.event_id && eventLink(it.event_id))] },
      { label: t("promises.found"), cell: (it) => exactTime(it.found_at) },
    ];
    return [head,
      h("p", { class: `headline ${level(found)}` }, sentence(found)),
      found.note && h("p", { class: "headline wait" }, t("promises.nobody")),
      page.mayOperate && h("div", { class: "bar" }, h("button", { class: "main", disabled: found.running, onclick: () => checkNow(page.reload) }, t("change.check"))),
      table({ name: "promises", columns, rows: found.promises, key: (it) => it.number, nothing: t("promises.nothing") }),
      h("h2", {}, t("promises.violations")),
      table({ name: "violations", columns: broken, rows: found.violations, key: (it) => `${it.promise} ${it.check} ${it.quote_id}`, nothing: t("promises.none_broken") }),
      found.total > found.violations.length && h("p", { class: "empty" }, t("promises.more", { n: found.total - found.violations.length }))];
  },
};

// In the reader's language if this version knows the check, else in the words of the API.
function wrong({ check, detail }) {
  const key = `promises.check.${check}`;
  const text = t(key);
  return text === key ? detail : text;
}

function level({ last_audit: last }) {
  if (!last) return "wait";
  return last.violations ? "bad" : "good";
}

function sentence({ running, last_audit: last }) {
  if (running) return t("promises.running");
  return last ? [t("promises.last", { n: last.violations, changed: last.changed, quotes: last.quotes, took: duration(last.took_ms) }), " ", time(last.at)] : t("promises.never");
}

/// A version without the call still tells of its last audit in its statistics.
function withoutCall(stats) {
  const last = stats?.last_audit;
  const text = last ? t("promises.known", { n: last.violations ?? 0 }) : t("promises.never");
  return h("p", { class: "headline wait" }, text, " ", last && time(last.at), " ", t("promises.by_hand"));
}
