// One event: why it stands where it stands, its attempts, and its neighbours in its quote.

import { waterfall } from "../chart.js";
import { cancelEvent, retryEvent } from "../change.js";
import { h } from "../dom.js";
import { explanation, gaveUp, why } from "../explain.js";
import { duration, exactTime, money, number, time } from "../format.js";
import { badge, eventLink, facts, instead, link, quoteLink } from "../link.js";
import { table } from "../list.js";
import { tell } from "../notices.js";
import { t } from "../text.js";

export const event = {
  title: () => t("field.event"),
  sources: ({ params }) => ({ event: `/v1/outbox/${params[0]}`, explain: `/v1/outbox/${params[0]}/explain` }),
  /// What can be asked for only when the event is known.
  more: ({ data }) => (data.event?.value ? { neighbours: `/v1/outbox?quote_id=${data.event.value.quote_id}&limit=50` } : {}),
  view(page) {
    const found = page.data.event?.value;
    if (!found) return [h("h1", {}, t("field.event")), instead(page.data.event)];
    const explain = page.data.explain?.value;
    return [
      h("h1", {}, t("field.event"), " ", h("span", { class: "id" }, found.id)),
      h("p", { id: "explain", class: `headline ${found.status}` }, badge(found.status), " ", explain ? explanation(explain) : why(found.why)),
      h("div", { class: "bar" },
        page.mayOperate && ["dead", "pending"].includes(found.status) && h("button", { class: "main", onclick: () => retryEvent(found, page.reload) }, t("change.retry")),
        page.mayOperate && ["dead", "pending", "leased"].includes(found.status)
          && h("button", { class: "danger", onclick: () => cancelEvent(found, page.reload) }, t("change.cancel_event")),
        h("button", { onclick: () => copy(found) }, t("event.copy"))),
      attempts(found),
      facts([
        [t("field.quote"), quoteLink(found.quote_id)], [t("field.customer_id"), found.customer_id], [t("field.amount"), money(found.money)],
        [t("field.event_type"), found.event_type], [t("field.destination"), link("destinations", {}, found.destination)],
        [t("field.attempts"), number(found.attempts)], [t("field.created"), exactTime(found.created_at)], [t("field.due"), exactTime(found.due_at)],
        [t("field.settled"), exactTime(found.settled_at)], [t("field.worker"), found.leased_by], [t("field.cause"), found.cause
          && link("events", { cause: found.cause }, found.cause)], [t("field.trace"), traceLink(found)],
        [t("event.unknown"), found.outcome_unknown ? t("event.unknown.text") : null]]),
      neighbours(page, found),
      h("section", {}, h("h2", {}, t("event.payload")), h("pre", { tabindex: 0 }, JSON.stringify(found.payload, null, 2)),
        found.receipt && [h("h2", {}, t("event.receipt")), h("pre", { tabindex: 0 }, JSON.stringify(found.receipt, null, 2))]),
    ];
  },
};

/// The trace that it belongs to, and where it is seen.
function traceLink({ trace_context: trace, trace_url: url }) {
  return trace && (url ? h("a", { href: url, rel: "noreferrer" }, h("code", {}, trace)) : h("code", {}, trace));
}

/// The HTTP status that an error begins with.
const statusOf = (error) => /^(\d{3})\b/.exec(error)?.[1] ?? "–";

function attempts(found) {
  const rows = found.failures.map((it) => ({ ...it, status: statusOf(it.error) }));
  if (found.status === "delivered") {
    const ms = found.receipt?.duration_ms ?? 0;
    rows.push({ attempt: found.attempts, outcome: "delivered", status: found.receipt?.status ?? "–", error: "", at: found.settled_at, duration_ms: ms,
      by: found.leased_by ?? "" });
  }
  const bars = rows.map((it) => ({ to: Date.parse(it.at), from: Date.parse(it.at) - it.duration_ms, kind: it.outcome,
    label: `${it.attempt} · ${it.status} · ${duration(it.duration_ms)}` }));
  const columns = [
    { label: t("field.attempt"), kind: "number", cell: (it) => number(it.attempt) },
    { label: t("field.outcome"), cell: (it) => badge(it.outcome, "outcome") },
    { label: t("field.answer"), kind: "number", cell: (it) => String(it.status) },
    { label: t("field.took"), kind: "number", cell: (it) => duration(it.duration_ms) },
    { label: t("field.at"), cell: (it) => exactTime(it.at) },
    { label: t("field.worker"), cell: (it) => it.by },
    { label: t("field.error"), kind: "wide", cell: (it) => [it.error, it.gave_up && h("small", {}, gaveUp(it.gave_up))] },
  ];
  return h("section", { id: "attempts" }, h("h2", {}, t("event.attempts")),
    waterfall({ title: t("event.attempts"), bars }),
    table({ name: "attempts", columns, rows, key: (it) => `${it.at} ${it.attempt}`, nothing: t("event.no_attempts") }));
}

export function neighbours(page, self) {
  const rows = page.data.neighbours?.value?.events ?? [];
  const columns = [
    { label: t("field.event"), cell: (it) => (it.id === self?.id ? h("span", { class: "id" }, t("event.this")) : eventLink(it.id)) },
    { label: t("field.event_type"), cell: (it) => it.event_type },
    { label: t("field.destination"), cell: (it) => it.destination },
    { label: t("field.status"), cell: (it) => badge(it.status) },
    { label: t("field.why"), kind: "wide", cell: (it) => why(it.why) },
    { label: t("field.created"), cell: (it) => time(it.created_at) },
  ];
  return h("section", { id: "neighbours" }, h("h2", {}, t("event.neighbours")),
    table({ name: "neighbours", columns, rows: [...rows].reverse(), key: (it) => it.id, nothing: t("events.nothing") }));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/// The call that a worker makes, to be tried by hand: the key makes it harmless.
function copy(found) {
  const isFee = found.destination === "fee-server";
  const path = found.event_type === "quote.cancelled" ? "/v1/fees/void" : "/v1/fees";
  const command = isFee
    ? [`curl -i "$FEE_SERVER${path}"`, `-H ${quoted(`Idempotency-Key: ${found.id}`)}`, "-H 'Content-Type: application/json'",
      `-d ${quoted(JSON.stringify(found.payload))}`].join(" \\\n  ")
    : `curl -i ${quoted(`${location.origin}/v1/outbox/${found.id}`)} -H "Authorization: Bearer $TOKEN"`;
  const copied = navigator.clipboard?.writeText(command) ?? Promise.reject(new Error("no clipboard"));
  copied.then(() => tell("good", t("event.copied"), { code: command }), () => tell("good", t("event.copy_by_hand"), { code: command }));
}
