// The calls of the API. The session's cookie goes with each, and a header shows that this page sent it.

import { remember, remembered } from "./memory.js";
import { t } from "./text.js";

/// A call that was refused, or that nobody answered (status 0).
export class Refusal extends Error {
  constructor(status, title, detail, type) {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, { status, title, detail, type });
  }
}

/// How long answers must be fresh after a change: a replica does not know it yet, and others' questions were answered before.
const FRESH_MS = 60_000;
/// When something was changed in this browser, and until when answers must be fresh because of it.
const CHANGED = "feebox.changed";

/// When something was changed here, as long as answers must be fresh because of it; else 0.
export function freshSince() {
  const [at, until] = (remembered(CHANGED) ?? "").split(" ").map(Number);
  return at && Date.now() < until ? at : 0;
}

export async function call(path, body) {
  const freshness = freshSince() ? "no-cache" : "max-age=86400";
  const options = { headers: { "Feebox-Dashboard": "1", "Cache-Control": freshness }, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    throw new Refusal(0, t("error.unreachable"), error.message);
  }
  const text = await answer.text();
  let json;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    throw new Refusal(answer.ok ? 0 : answer.status, `${answer.status} ${answer.statusText}`, t("error.not_json"));
  }
  if (!answer.ok) {
    const details = (json?.errors ?? []).map((it) => `${it.pointer} ${it.detail}`);
    throw new Refusal(answer.status, json?.title ?? `${answer.status}`, [json?.detail, ...details].filter(Boolean).join("; "), json?.type);
  }
  if (body !== undefined) {
    const at = Date.now();
    remember(CHANGED, `${at} ${at + Math.max(FRESH_MS, 2000 * Number(document.body.dataset.age ?? 0))}`);
  }
  return json;
}

/// `path` with those of `query` that are set.
export function withQuery(path, query) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(pairs).toString();
  return text ? `${path}?${text}` : path;
}
