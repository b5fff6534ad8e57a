// Sentences that the API composes in English, composed here from its facts in other languages.

import { duration, exact, inZone, number } from "./format.js";
import { language, t } from "./text.js";

/// Why an event is not delivered yet.
export function explanation(it) {
  if (language() === "en") return inZone(it.sentence);
  const nobody = it.no_worker_alive ? [t("explain.no_worker")] : [];
  return [...sentences(it), ...nobody].join(" ");
}

function sentences(it) {
  const failure = it.last_failure;
  const failed = failure ? t("explain.failed", { attempt: failure.attempt, outcome: t(`outcome.${failure.outcome}`), error: failure.error }) : "";
  switch (it.status) {
    case "delivered": return [t("explain.delivered", { at: exact(it.settled_at) })];
    case "cancelled": return [t("explain.cancelled", { at: exact(it.settled_at) })];
    case "dead": return [t("explain.dead", { at: exact(it.settled_at ?? it.due_at) }), failed, gaveUp(failure?.gave_up), t("explain.revive")].filter(Boolean);
    case "leased": return leased(it);
    default: return pending(it, failed);
  }
}

function leased({ lease, attempts }) {
  if (!lease) return [];
  const key = lease.run_out ? "explain.lease_over" : "explain.leased";
  return [t(key, { by: lease.by, attempt: attempts, until: exact(lease.until) }), lease.withdrawn ? t("explain.withdrawn") : ""].filter(Boolean);
}

function pending(it, failed) {
  const said = [];
  const { destination: name } = it;
  if (it.waiting_for) said.push(t("explain.waits", { id: it.waiting_for.event_id, status: t(`status.${it.waiting_for.status}`) }));
  if (it.paused) said.push(t("explain.paused", { name, by: it.paused.by, since: exact(it.paused.since), reason: it.paused.reason ?? "–" }));
  if (it.not_before) said.push(t("explain.held", { name, until: exact(it.not_before) }));
  if (it.circuit) said.push(t("explain.circuit", { name, since: exact(it.circuit.since), reason: it.circuit.reason ?? "–" }));
  const later = new Date(it.due_at) > new Date();
  if (later && !it.waiting_for) said.push(t("explain.later", { at: exact(it.due_at) }), failed);
  if (!later && !said.length) said.push(t("explain.due", { since: exact(it.due_at) }));
  if (it.limits && !later) said.push(t("explain.limits", { name, per_second: it.limits.per_second ?? "–", in_flight: it.limits.in_flight ?? "–" }));
  if (it.queue) said.push(t("explain.queue", { before: it.queue.before, partners: it.queue.partners, rate: it.queue.delivered_last_minute }));
  return said.filter(Boolean);
}

const WHY = [
  [/^delivered$/, "status.delivered"],
  [/^given up$/, "status.cancelled"],
  [/^(.+) left no result; it is taken back$/, "why.left"],
  [/^(.+) delivers it$/, "why.leased"],
  [/^paused by (.+)$/, "why.paused"],
  [/^held until (\S+) \(Retry-After\)$/, "why.held"],
  [/^the circuit is open$/, "why.circuit"],
  [/^the circuit of (.+) is open$/, "why.lane"],
  [/^next attempt at (\S+); (.*)$/, "why.next"],
  [/^waits for an earlier event of its quote$/, "why.waits"],
  [/^due at (\S+)$/, "why.due_at"],
  [/^due again; (.*)$/, "why.again"],
  [/^due for (\d+) s$/, "why.due_for"],
  [/^attempt (\d+) was the last of retry\.max_attempts = \d+; (.*)$/, "why.last_attempt"],
  [/^failing for longer than retry\.give_up_after = ([^;]+); (.*)$/, "why.too_long"],
];

const GAVE_UP = [
  [/^attempt (\d+) was the last of retry\.max_attempts = (\d+)$/, "gave_up.attempts"],
  [/^failing for longer than retry\.give_up_after = (.+)$/, "gave_up.time"],
];

/// Why an event was given up.
export const gaveUp = (text) => (text ? composed(GAVE_UP, text) ?? text : "");

/// The message of the first pattern that fits, with times in the reader's zone.
function composed(patterns, text) {
  for (const [pattern, key] of patterns) {
    const found = pattern.exec(text);
    if (!found) continue;
    const a = inZone(found[1] ?? "");
    return language() === "en" ? text.replace(found[1] ?? "", () => a) : t(key, { a, b: found[2] ?? "" });
  }
  return language() === "en" ? text : undefined;
}

/// The few words in a row. What the fee server wrote stays as it is.
export function why(text) {
  const known = composed(WHY, text);
  if (known) return known;
  const [, outcome, error] = /^(retry|unknown|refused|broken|unauthorised): (.*)$/.exec(text) ?? [];
  return outcome ? `${t(`outcome.${outcome}`)}: ${error}` : text;
}

/// How an installation is, as `{level, sentence}`: bad, wait or good.
export function headline(stats) {
  const sum = (name) => stats.destinations.reduce((total, it) => total + it.events[name], 0);
  const waiting = sum("pending") + sum("leased");
  const say = (level, key, values) => ({ level, sentence: language() === "en" ? stats.headline : t(key, values) });
  if (stats.workers_alive === 0 && waiting) return say("bad", "headline.no_worker", { n: waiting });
  const held = stats.destinations.find((it) => it.paused || it.circuit);
  if (held?.paused) return say("wait", "headline.paused", { name: held.name, by: held.paused.by, n: held.events.pending });
  if (held) return say("bad", "headline.circuit", { name: held.name, n: held.events.pending });
  const late = stats.destinations.find((it) => it.oldest_due_seconds >= 60 && it.events.pending > 0);
  if (late) {
    const oldest = duration(late.oldest_due_seconds * 1000);
    return say("bad", "headline.late", { name: late.name, n: late.events.pending, oldest, rate: number(late.delivered_last_minute) });
  }
  const dead = stats.destinations.find((it) => it.events.dead > 0);
  return dead ? say("wait", "headline.dead", { n: dead.events.dead, name: dead.name }) : say("good", "headline.good", {});
}
