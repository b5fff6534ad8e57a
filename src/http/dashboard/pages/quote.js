// One quote: its money, its fee, and everything that happened to it, drawn in time.

import { cancelQuote } from "../change.js";
import { h } from "../dom.js";
import { neighbours } from "./event.js";
import { duration, exact, exactTime, money, number } from "../format.js";
import { badge, eventLink, facts, instead, link } from "../link.js";
import { t } from "../text.js";

const WIDTH = 560;
/// What is drawn in which colour.
const KINDS = { attempt_failed: "retry", delivered: "delivered", dead: "dead", given_up: "cancelled", fee_recorded: "confirmed", rejected: "rejected",
  cancelled: "cancelled", circuit_opened: "dead", circuit_closed: "delivered", operator_action: "operator" };

export const quote = {
  title: () => t("field.quote"),
  sources: ({ params: [id] }) => ({ quote: `/v1/quotes/${id}`, timeline: `/v1/quotes/${id}/timeline`, neighbours: `/v1/outbox?quote_id=${id}&limit=50` }),
  view(page) {
    const found = page.data.quote?.value;
    if (!found) return [h("h1", {}, t("field.quote")), instead(page.data.quote)];
    const mayCancel = page.mayOperate && ["pending", "confirmed"].includes(found.status);
    return [
      h("h1", {}, t("field.quote"), " ", h("span", { class: "id" }, found.id)),
      h("p", { id: "state", class: `headline ${found.status}` }, badge(found.status, "quote_status"), " ", sentence(found, page.data.neighbours?.value?.events ?? [])),
      h("div", { class: "bar" }, mayCancel && h("button", { class: "danger", onclick: () => cancelQuote(found.id, page.reload) }, t("change.cancel_quote"))),
      facts([
        [t("field.amount"), money(found)], [t("field.fee"), money(found.fee)], [t("quotes.rate"), found.fee && `${number(found.fee.rate_bps / 100)} %`],
        [t("quotes.fee_id"), found.fee?.fee_id], [t("quotes.calculated"), exactTime(found.fee?.calculated_at)],
        [t("field.customer_id"), link("quotes", { customer_id: found.customer_id }, found.customer_id)], [t("field.partner"), found.submitted_by],
        [t("field.submitted"), exactTime(found.submitted_at)], [t("quotes.reason"), found.status_reason]]),
      timeline(page),
      neighbours(page),
      h("section", {}, h("h2", {}, t("quotes.lines")), h("ul", { class: "plain" }, found.lines.map((it) => h("li", {},
        `${number(it.quantity)} × ${it.description}, ${money({ ...found, amount_minor: it.unit_price_minor })}`)))),
    ];
  },
};

function sentence({ status, delivery, fee, status_reason: reason }, events) {
  const dead = events.find((it) => it.status === "dead");
  if (status === "pending" && dead) return t("quotes.text.dead", { error: dead.last_error ?? "–" });
  if (status === "confirmed") return fee ? t("quotes.text.confirmed", { fee: money(fee) }) : t("quotes.text.confirmed_by_kafka");
  if (status === "pending" && delivery?.last_error) return t("quotes.text.failing", { n: delivery.attempts, error: delivery.last_error });
  return reason ? `${t(`quotes.text.${status}`)} ${reason}` : t(`quotes.text.${status}`);
}

function timeline(page) {
  const entries = page.data.timeline?.value?.entries;
  if (!entries) return h("section", {}, h("h2", {}, t("quotes.timeline")), instead(page.data.timeline));
  const first = Date.parse(entries[0].at);
  return h("section", { id: "timeline" }, h("h2", {}, t("quotes.timeline")), drawn(entries),
    h("ol", { class: "timeline" }, entries.map((it, index) => h("li", { key: `${it.at} ${index}`, class: KINDS[it.what] ?? "stored" },
      h("span", { class: "offset" }, index ? `+${duration(Date.parse(it.at) - first)}` : ""), exactTime(it.at), h("span", {}, words(it))))));
}

/// A point for each entry, where it lies in time.
function drawn(entries) {
  const times = entries.map((it) => Date.parse(it.at));
  const [first, last] = [times[0], Math.max(times.at(-1), times[0] + 1)];
  const x = (at) => 10 + ((at - first) * (WIDTH - 20)) / (last - first);
  return h("svg", { class: "drawn", viewBox: `0 0 ${WIDTH} 44`, role: "img", "aria-label": t("quotes.drawn", { from: exact(first), to: exact(last), n: entries.length }) },
    h("line", { class: "grid", x1: 10, x2: WIDTH - 10, y1: 16, y2: 16 }),
    entries.map((it, index) => [
      it.duration_ms > 0 && h("line", { class: `took ${KINDS[it.what]}`, x1: Math.max(10, x(times[index] - it.duration_ms)).toFixed(1), x2: x(times[index]).toFixed(1), y1: 16, y2: 16 }),
      h("circle", { class: KINDS[it.what] ?? "stored", cx: x(times[index]).toFixed(1), cy: 16, r: 5 }, h("title", {}, words(it).flat().map((part) => part?.props ? "" : part).join("")))]),
    h("text", { class: "tick", x: 10, y: 40 }, exact(first)),
    h("text", { class: "tick", x: WIDTH - 10, y: 40, "text-anchor": "end" }, exact(last)));
}

function words(it) {
  const values = { ...it, by: it.by ?? "–", reason: it.reason ?? "–", error: it.error ?? "–", amount: it.currency ? money(it) : "",
    outcome: it.what === "attempt_failed" ? t(`outcome.${it.outcome}`) : "", took: it.duration_ms === undefined || it.duration_ms === null ? "–" : duration(it.duration_ms),
    answer: it.status ?? "–", receipt: it.receipt ? JSON.stringify(it.receipt) : "" };
  const text = t(`what.${it.what}`, Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value ?? "–")])));
  return it.event_id ? [text, " ", eventLink(it.event_id)] : [text];
}
