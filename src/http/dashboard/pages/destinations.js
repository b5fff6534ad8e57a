// Where events go: what holds each destination back, and what an operator can do about it.

import { strip } from "../chart.js";
import { pause, resume, setLimits } from "../change.js";
import { h } from "../dom.js";
import { counted, duration, exact, exactTime, number, time } from "../format.js";
import { facts, instead, link } from "../link.js";
import { table } from "../list.js";
import { t } from "../text.js";

export const destinations = {
  title: () => t("nav.destinations"),
  sources: () => ({ stats: "/v1/stats", openings: "/v1/circuit-openings?limit=200" }),
  view(page) {
    const stats = page.data.stats?.value;
    if (!stats) return [h("h1", {}, t("nav.destinations")), instead(page.data.stats)];
    return [h("h1", {}, t("nav.destinations")),
      stats.destinations.length ? h("div", { class: "cards" }, stats.destinations.map((it) => card(page, stats, it)))
        : h("p", { class: "empty" }, t("destinations.nothing")),
      openings(page.data.openings)];
  },
};

/// When circuits were open, as a list.
function openings(source) {
  const found = source?.value;
  const head = h("h2", {}, t("destinations.openings"));
  if (!found) return h("section", { id: "openings" }, head, instead(source));
  const columns = [
    { label: t("field.destination"), cell: (it) => it.destination },
    { label: t("destinations.opened"), cell: (it) => exactTime(it.opened_at) },
    { label: t("destinations.closed"), cell: (it) => (it.closed_at ? exactTime(it.closed_at) : t("destinations.still_open")) },
    { label: t("destinations.lasted"), kind: "number", cell: (it) => duration(Date.parse(it.closed_at ?? found.to) - Date.parse(it.opened_at)) },
    { label: t("ask.reason"), kind: "wide", cell: (it) => it.reason ?? "" },
  ];
  return h("section", { id: "openings" }, head,
    table({ name: "openings", columns, rows: found.openings, key: (it) => `${it.destination} ${it.opened_at}`, nothing: t("destinations.never_open") }),
    !found.is_complete && h("p", { class: "empty" }, t("destinations.openings_more")));
}

/// The same of one destination, drawn in time.
function openingsStrip(found, name) {
  if (!found) return null;
  const own = found.openings.filter((it) => it.destination === name);
  const spans = own.map((it) => [Date.parse(it.opened_at), Date.parse(it.closed_at ?? found.to)]);
  const title = t("destinations.strip", { name, n: own.length, from: exact(found.from), to: exact(found.to) });
  return strip({ title, from: found.from, to: found.to, spans });
}

/// What holds it back: `[level, text, kind]`.
function states(stats, it) {
  const found = [];
  if (it.paused) found.push(["wait", t("destinations.paused", { by: it.paused.by, reason: it.paused.reason ?? "–" }), it.paused.since]);
  if (it.circuit) found.push(["bad", t("destinations.circuit", { reason: it.circuit.reason ?? "–" }), it.circuit.since]);
  if (it.not_before && new Date(it.not_before) > new Date()) found.push(["wait", t("destinations.held"), it.not_before]);
  if (!stats.workers_alive) found.push(["bad", t("destinations.no_worker")]);
  return found.length ? found : [["good", t("destinations.delivering")]];
}

function card(page, stats, it) {
  const max = stats.unsettled_counted_max;
  const count = (status) => link("events", { status, destination: it.name }, counted(it.events[status], max));
  const after = page.reload;
  const limit = (value) => (value === null || value === undefined ? t("limits.none") : number(value));
  return h("section", { key: it.name, class: "card", "data-destination": it.name },
    h("h2", {}, it.name),
    h("ul", { class: "states" }, states(stats, it).map(([level, text, at]) => h("li", { class: level }, text, " ", at && time(at)))),
    facts([
      [t("status.pending"), count("pending")], [t("status.leased"), count("leased")], [t("status.dead"), count("dead")],
      [t("overview.rate"), number(it.delivered_last_minute)], [t("overview.oldest"), duration(it.oldest_due_seconds * 1000)],
      [t("destinations.failures"), number(it.consecutive_failures)], [t("destinations.probe"), exactTime(it.circuit?.next_probe_at)],
      [t("limits.per_second"), it.limits && limit(it.limits.per_second)], [t("limits.in_flight"), it.limits && limit(it.limits.in_flight)]]),
    openingsStrip(page.data.openings?.value, it.name),
    // A topic's circuit is its own; pause and limits are those of the whole destination.
    page.mayOperate && !it.name.includes("/") && h("div", { class: "buttons" },
      it.paused ? h("button", { class: "main", onclick: () => resume(it.name, it.events.pending, after) }, t("change.resume.verb"))
        : h("button", { class: "danger", onclick: () => pause(it.name, it.events.pending, after) }, t("change.pause.verb")),
      it.limits !== undefined && h("button", { onclick: () => setLimits(it.name, it.limits, after) }, t("change.limits.verb"))));
}
