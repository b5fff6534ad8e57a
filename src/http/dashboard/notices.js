// Results of what the operator did, refusals too. They stay until they are dismissed.

import { call } from "./api.js";
import { h } from "./dom.js";
import { t } from "./text.js";

let last = 0;
const notices = [];
let changed = () => {};

export const onNotice = (then) => { changed = then; };

/// Adds a result; `kind` is good, bad or running.
export function tell(kind, text, more = {}) {
  const notice = { id: ++last, kind, text, ...more };
  notices.unshift(notice);
  changed();
  return notice;
}

export function dismiss(notice) {
  const index = notices.indexOf(notice);
  if (index >= 0) notices.splice(index, 1);
  changed();
}

/// A bulk that runs: its notice shows its progress, and stops it.
export const tellBulk = (bulk) => tell(isOver(bulk) ? "good" : "running", undefined, { bulk });

const isOver = (bulk) => bulk.status === "finished" || bulk.status === "aborted";
const running = () => notices.filter((it) => it.bulk && !isOver(it.bulk));

/// How many calls a cycle takes to follow what runs: one, by turns.
export const followed = () => (running().length ? 1 : 0);

export async function follow() {
  const notice = running().sort((one, other) => (one.at ?? 0) - (other.at ?? 0))[0];
  if (!notice) return;
  notice.at = Date.now();
  await replace(notice, () => call(`/v1/bulk/${notice.bulk.bulk_id}`));
}

async function replace(notice, get) {
  try {
    notice.bulk = await get();
    if (isOver(notice.bulk)) notice.kind = "good";
    changed();
  } catch (error) {
    tell("bad", error.message);
  }
}

function bulkText({ kind, matched, revived, cancelled, skipped, status }) {
  const done = revived ?? cancelled ?? 0;
  const key = kind === "retry" ? "bulk.retried" : "bulk.cancelled";
  const passed = skipped ? ` ${t("bulk.skipped", { n: skipped })}` : "";
  return `${t(key, { n: done, matched })} ${t(`bulk.status.${status}`)}${passed}`;
}

const abort = (notice) => replace(notice, () => call(`/v1/bulk/${notice.bulk.bulk_id}/abort`, { reason: t("bulk.aborted_by_hand") }));

function view(notice, mayOperate) {
  const { bulk, kind } = notice;
  const done = bulk ? (bulk.revived ?? bulk.cancelled ?? 0) + bulk.skipped : 0;
  return h("li", { key: notice.id, class: `notice ${kind}` },
    h("p", {}, h("strong", {}, t(`notice.${kind}`)), " ", bulk ? bulkText(bulk) : notice.text),
    bulk && !isOver(bulk) && h("progress", { max: Math.max(bulk.matched, 1), value: done, "aria-label": t("bulk.progress") }),
    bulk && !isOver(bulk) && mayOperate && h("button", { onclick: () => abort(notice) }, t("bulk.abort")),
    notice.code && h("pre", { tabindex: 0 }, notice.code),
    h("button", { class: "quiet", "aria-label": t("notice.dismiss"), onclick: () => dismiss(notice) }, "✕"));
}

export const noticesView = (mayOperate) => h("section", { class: "notices", "aria-label": t("notice.list") },
  h("div", { role: "status" }, h("ul", {}, notices.map((it) => view(it, mayOperate)))));
