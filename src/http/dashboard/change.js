// What an operator can change, each with its question.

import { call } from "./api.js";
import { ask } from "./ask.js";
import { tell, tellBulk } from "./notices.js";
import { shortId } from "./format.js";
import { t } from "./text.js";

const reasonOf = (values) => values.reason.trim();

export const retryEvent = (id, after) => ask({
  title: t("change.retry_event"), text: t("change.retry_event.text", { id: shortId(id) }), verb: t("change.retry"),
  done: t("change.retry_event.done", { id: shortId(id) }), after,
  act: async (values) => { await call(`/v1/outbox/${id}/retry`, { reason: reasonOf(values) }); },
});

export const cancelEvent = (id, after) => ask({
  title: t("change.cancel_event"), text: t("change.cancel_event.text", { id: shortId(id) }), verb: t("change.cancel_event"), danger: true,
  done: t("change.cancel_event.done", { id: shortId(id) }), after,
  act: async (values) => { await call(`/v1/outbox/${id}/cancel`, { reason: reasonOf(values) }); },
});

export const cancelQuote = (id, after) => ask({
  title: t("change.cancel_quote"), text: t("change.cancel_quote.text", { id: shortId(id) }), verb: t("change.cancel_quote"), danger: true,
  done: t("change.cancel_quote.done", { id: shortId(id) }), after,
  act: async (values) => { await call(`/v1/quotes/${id}/cancel`, { reason: reasonOf(values) }); },
});

/// Retries or cancels many: `which` are filters of the list, or `{ids}`. With `statuses` the operator chooses one of them.
export function bulk(kind, which, { statuses, after } = {}) {
  const isRetry = kind === "retry";
  const fields = [];
  if (statuses) {
    const options = statuses.map((status) => [status, t(`status.${status}`)]);
    fields.push({ name: "status", label: t("change.bulk.status"), options, value: statuses[0], counts: true });
  }
  fields.push({ name: "per_second", label: t("change.pace"), type: "number", min: 1, max: 1_000_000, step: 1, hint: t("change.pace.hint") });
  const body = (values) => ({ ...which, ...(values.status ? { status: values.status } : {}),
    ...(values.per_second ? { per_second: Number(values.per_second) } : {}) });
  ask({
    title: t(isRetry ? "change.retry_many" : "change.cancel_many"), danger: !isRetry, fields, after,
    text: t(isRetry ? "change.retry_many.text" : "change.cancel_many.text"),
    verb: t(isRetry ? "change.retry_many.verb" : "change.cancel_many.verb"),
    count: async (values) => {
      const counted = await call(`/v1/outbox:${kind}`, { ...body(values), dry_run: true });
      return { n: counted.matched, text: t("change.bulk.count", { n: counted.matched }) };
    },
    act: async (values) => {
      tellBulk(await call(`/v1/outbox:${kind}`, { ...body(values), reason: reasonOf(values) }));
      return null;
    },
  });
}

export const pause = (name, waiting, after) => ask({
  title: t("change.pause", { name }), text: t("change.pause.text", { n: waiting }), verb: t("change.pause.verb"), danger: true,
  done: t("change.pause.done", { name }), after,
  act: async (values) => { await call(`/v1/destinations/${encodeURIComponent(name)}/pause`, { reason: reasonOf(values) }); },
});

export const resume = (name, waiting, after) => ask({
  title: t("change.resume", { name }), text: t("change.resume.text", { n: waiting }), verb: t("change.resume.verb"),
  done: t("change.resume.done", { name }), after,
  act: async (values) => { await call(`/v1/destinations/${encodeURIComponent(name)}/resume`, { reason: reasonOf(values) }); },
});

export const setLimits = (name, limits, after) => ask({
  title: t("change.limits", { name }), text: t("change.limits.text"), verb: t("change.limits.verb"), done: t("change.limits.done", { name }), after,
  fields: [
    { name: "per_second", label: t("limits.per_second"), type: "number", min: 1, step: 1, value: limits?.per_second ?? "", hint: t("change.limits.hint") },
    { name: "in_flight", label: t("limits.in_flight"), type: "number", min: 1, step: 1, value: limits?.in_flight ?? "" },
  ],
  act: async (values) => {
    const limit = (text) => (text === "" || text === undefined ? null : Number(text));
    await call(`/v1/destinations/${encodeURIComponent(name)}/limits`,
      { per_second: limit(values.per_second), in_flight: limit(values.in_flight), reason: reasonOf(values) });
  },
});

export const checkNow = (after) => ask({
  title: t("change.check"), text: t("change.check.text"), verb: t("change.check"), done: t("change.check.done"), after,
  act: async (values) => (await call("/v1/audit", { reason: reasonOf(values) })).note ?? undefined,
});

/// The call that a worker makes, to be tried by hand.
export function copy(written) {
  const command = written.replace("$ORIGIN", () => location.origin);
  const copied = navigator.clipboard?.writeText(command) ?? Promise.reject(new Error("no clipboard"));
  copied.then(() => tell("good", t("event.copied"), { code: command }), () => tell("good", t("event.copy_by_hand"), { code: command }));
}
