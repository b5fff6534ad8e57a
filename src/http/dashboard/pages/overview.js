// How Feebox is, what to do next, and how it has been.

import { h } from "../dom.js";
import { lines } from "../chart.js";
import { causesTable } from "./causes.js";
import { headline } from "../explain.js";
import { counted, duration, number, time } from "../format.js";
import { address, instead, link, quoteLink } from "../link.js";
import { t } from "../text.js";

const MINUTE = 60_000;
/// By name: how many minutes, and the API's step.
const RANGES = { "1h": [60, "1m"], "6h": [360, "1m"], "48h": [2880, "1h"], "90d": [129_600, "1h"] };
/// More would be a blur.
const POINTS_MAX = 120;
const DAY_MS = 86_400_000;

export const overview = {
  title: () => t("nav.overview"),
  sources(page) {
    const [minutes, step] = RANGES[page.query.range] ?? RANGES["1h"];
    // Whole steps, so that the address of the call changes once a step.
    const length = step === "1m" ? MINUTE : 60 * MINUTE;
    const to = Math.ceil(Date.now() / length) * length;
    const series = `/v1/stats/series?from=${new Date(to - minutes * MINUTE).toISOString()}&to=${new Date(to).toISOString()}&step=${step}`;
    return { stats: "/v1/stats", causes: "/v1/causes", series: { path: series, keeps: true } };
  },
  view(page) {
    const stats = page.data.stats?.value;
    if (!stats) return [h("h1", {}, t("nav.overview")), instead(page.data.stats)];
    const { level, sentence } = headline(stats);
    const found = page.data.causes?.value ?? { causes: [] };
    const { causes } = found;
    return [
      h("h1", { class: "hidden" }, t("nav.overview")),
      h("p", { id: "headline", class: `headline ${level}` }, sentence),
      next(stats),
      numbers(stats),
      charts(page),
      h("section", { id: "causes" }, h("h2", {}, t("overview.causes")), causesTable(page, found, causes.slice(0, 5)),
        causes.length > 5 && h("p", {}, link("causes", {}, t("overview.all_causes", { n: causes.length })))),
      stale(stats),
    ];
  },
};

function next(stats) {
  const steps = [];
  const waiting = stats.destinations.reduce((sum, it) => sum + it.events.pending + it.events.leased, 0);
  if (stats.workers_alive === 0) steps.push(link("workers", {}, t("next.no_worker", { n: waiting })));
  for (const it of stats.destinations) {
    if (it.paused) steps.push(link("destinations", {}, t("next.paused", { name: it.name, by: it.paused.by })));
    if (it.circuit) steps.push(link("destinations", {}, t("next.circuit", { name: it.name, reason: it.circuit.reason ?? "–" })));
    if (it.events.dead) steps.push(link("causes", { status: "dead", destination: it.name }, t("next.dead", { n: it.events.dead, name: it.name })));
    if (it.oldest_due_seconds >= 60 && !it.paused && !it.circuit && stats.workers_alive) {
      steps.push(link("workers", {}, t("next.late", { name: it.name, oldest: duration(it.oldest_due_seconds * 1000) })));
    }
  }
  if (stats.stale_quotes.count) steps.push(h("a", { href: staleAddress(stats) }, t("next.stale", { n: stats.stale_quotes.count })));
  if (stats.last_audit?.violations) steps.push(link("promises", {}, t("next.violations", { n: stats.last_audit.violations })));
  else if (!stats.last_audit || Date.now() - new Date(stats.last_audit.at) > 2 * DAY_MS) steps.push(link("promises", {}, t("next.audit")));
  return h("section", { id: "next" }, h("h2", {}, t("overview.next")),
    steps.length ? h("ol", { class: "steps" }, steps.map((it) => h("li", {}, it))) : h("p", { class: "empty" }, t("next.nothing")));
}

const staleAddress = (stats) => address("quotes", { status: "pending",
  submitted_before: new Date(Math.floor(new Date(stats.at) / MINUTE) * MINUTE - stats.stale_quotes.after_seconds * 1000).toISOString() });

function numbers(stats) {
  const sum = (name) => stats.destinations.reduce((total, it) => total + it.events[name], 0);
  const max = stats.unsettled_counted_max;
  const oldest = Math.max(0, ...stats.destinations.map((it) => it.oldest_due_seconds));
  const rate = stats.destinations.reduce((total, it) => total + it.delivered_last_minute, 0);
  const tile = (href, value, label, kind) => h("li", { key: label }, h("a", { href, class: kind }, h("strong", {}, value), h("span", {}, label)));
  return h("ul", { class: "tiles", "aria-label": t("overview.numbers") },
    tile(address("events", { status: "pending" }), counted(sum("pending"), max), t("overview.waiting")),
    tile(address("events", { status: "leased" }), counted(sum("leased"), max), t("overview.in_flight")),
    tile(address("events", { status: "dead" }), counted(sum("dead"), max), t("overview.dead"), sum("dead") ? "bad" : null),
    tile(staleAddress(stats), counted(stats.stale_quotes.count, 10_000), t("overview.stale"), stats.stale_quotes.count ? "bad" : null),
    tile(address("destinations"), number(rate), t("overview.rate")),
    tile(address("events", { status: "pending" }), duration(oldest * 1000), t("overview.oldest"), oldest >= 60 ? "bad" : null),
    tile(address("workers"), number(stats.workers_alive), t("overview.workers"), stats.workers_alive ? null : "bad"),
    tile(address("promises"), stats.last_audit ? time(stats.last_audit.at) : t("overview.never"), audited(stats.last_audit?.violations),
      stats.last_audit?.violations ? "bad" : null));
}

function audited(violations) {
  if (violations === undefined || violations === null) return t("overview.audit_unknown");
  return violations ? t("overview.violations", { n: violations }) : t("overview.audit");
}

function charts(page) {
  const points = thinned(page.data.series?.value?.points ?? []);
  const choice = h("p", { class: "tabs", role: "group", "aria-label": t("overview.range") }, Object.keys(RANGES).map((it) =>
    h("a", { href: page.with({ range: it }), "aria-current": it === (page.query.range ?? "1h") ? "true" : null }, t(`range.${it}`))));
  const section = (content) => h("section", { id: "charts" }, h("h2", {}, t("overview.charts")), choice, content);
  if (page.data.series?.error?.status === 404) return section(h("p", { class: "empty" }, t("overview.no_series")));
  if (!points.length) return section(h("p", { class: "empty" }, page.data.series?.value ? t("overview.no_points") : t("page.loading")));
  const times = points.map((it) => it.at);
  const line = (name, label, value) => ({ name, label, values: points.map((it) => value(it) ?? null) });
  return section(h("div", { class: "charts" },
    lines({ title: t("chart.deliveries"), times, series: [
      line("submitted", t("chart.submitted"), (it) => it.submitted), line("delivered", t("chart.delivered"), (it) => it.delivered)] }),
    lines({ title: t("chart.failures"), times, series: [
      line("retry", t("outcome.retry"), (it) => it.failed.retry), line("unknown", t("outcome.unknown"), (it) => it.failed.unknown),
      line("refused", t("outcome.refused"), (it) => it.failed.refused), line("dead", t("status.dead"), (it) => it.died)] }),
    lines({ title: t("chart.lag"), times, show: duration, series: [
      line("p50", "p50", (it) => it.fee_lag_ms?.p50), line("p99", "p99", (it) => it.fee_lag_ms?.p99)] }),
    lines({ title: t("chart.waiting"), times, series: [line("waiting", t("overview.waiting"), (it) => it.waiting)] })));
}

/// Several points as one: counts are added, of the backlog and the slowest it is the most.
function thinned(points) {
  const size = Math.ceil(points.length / POINTS_MAX);
  const chunks = Array.from({ length: Math.ceil(points.length / (size || 1)) }, (_, index) => points.slice(index * size, (index + 1) * size));
  return chunks.map((chunk) => {
    const sum = (of) => chunk.reduce((total, it) => total + of(it), 0);
    const known = (of) => chunk.map(of).filter((it) => it !== null && it !== undefined);
    const [p50, p99, waiting] = [known((it) => it.fee_lag_ms?.p50), known((it) => it.fee_lag_ms?.p99), known((it) => it.waiting)];
    return { at: chunk[0].at, submitted: sum((it) => it.submitted), delivered: sum((it) => it.delivered), died: sum((it) => it.died),
      failed: { retry: sum((it) => it.failed.retry), refused: sum((it) => it.failed.refused), unknown: sum((it) => it.failed.unknown) },
      fee_lag_ms: p50.length ? { p50: p50.reduce((total, it) => total + it, 0) / p50.length, p99: Math.max(...p99) } : null,
      waiting: waiting.length ? Math.max(...waiting) : null };
  });
}

function stale(stats) {
  const { count, oldest } = stats.stale_quotes;
  if (!count) return null;
  return h("section", { id: "stale" }, h("h2", {}, t("overview.stale")),
    h("p", {}, t("overview.stale.text", { age: duration(stats.stale_quotes.after_seconds * 1000) })),
    h("ul", { class: "plain" }, oldest.map((it) => h("li", { key: it.quote_id }, quoteLink(it.quote_id), " ", time(it.submitted_at)))),
    count > oldest.length && h("p", {}, h("a", { href: staleAddress(stats) }, t("overview.all_stale", { n: count }))));
}
