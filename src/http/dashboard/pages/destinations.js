// Where events go: what holds each destination back, and what an operator can do about it.

import { pause, resume, setLimits } from "../change.js";
import { h } from "../dom.js";
import { counted, duration, exactTime, number, time } from "../format.js";
import { facts, instead, link } from "../link.js";
import { t } from "../text.js";

export const destinations = {
  title: () => t("nav.destinations"),
  sources: () => ({ stats: "/v1/stats" }),
  view(page) {
    const stats = page.data.stats?.value;
    if (!stats) return [h("h1", {}, t("nav.destinations")), instead(page.data.stats)];
    return [h("h1", {}, t("nav.destinations")),
      stats.destinations.length ? h("div", { class: "cards" }, stats.destinations.map((it) => card(page, stats, it)))
        : h("p", { class: "empty" }, t("destinations.nothing"))];
  },
};

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
    // A topic's circuit is its own; pause and limits are those of the whole destination.
    page.mayOperate && !it.name.includes("/") && h("div", { class: "buttons" },
      it.paused ? h("button", { class: "main", onclick: () => resume(it.name, it.events.pending, after) }, t("change.resume.verb"))
        : h("button", { class: "danger", onclick: () => pause(it.name, it.events.pending, after) }, t("change.pause.verb")),
      it.limits !== undefined && h("button", { onclick: () => setLimits(it.name, it.limits, after) }, t("change.limits.verb"))));
}
