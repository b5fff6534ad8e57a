// Times, durations, amounts and numbers as people read them.

import { h } from "./dom.js";
import { language, t } from "./text.js";

const KEY = "feebox.zone";
let zone = localStorage.getItem(KEY) ?? "local";

export const timeZone = () => zone;

export function setTimeZone(name) {
  zone = name;
  localStorage.setItem(KEY, name);
}

export const number = (value) => new Intl.NumberFormat(language()).format(value);

/// A count that the API stops at `max`.
export const counted = (value, max) => (value >= max ? t("count.more", { n: value }) : number(value));

// The API says how many digits the minor unit has: browsers do not follow ISO 4217 for all currencies.
export function money(it) {
  if (!it) return "";
  const digits = it.minor_unit_digits ?? 2;
  const format = new Intl.NumberFormat(language(), { style: "currency", currency: it.currency, currencyDisplay: "code",
    minimumFractionDigits: digits, maximumFractionDigits: digits });
  return format.format(it.amount_minor / 10 ** digits);
}

/// 2026-11-26 12:03:04 UTC, or the same in the browser's zone.
export function exact(at) {
  const date = new Date(at);
  if (zone === "utc") return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const minutes = -date.getTimezoneOffset();
  const shifted = new Date(date.getTime() + minutes * 60_000).toISOString().slice(0, 19).replace("T", " ");
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  return `${shifted} ${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

/// Times of the API within a text, as exact() shows them: one page has one zone.
export const inZone = (text) => text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (at) => exact(at));

export function relative(at) {
  const seconds = (new Date(at) - Date.now()) / 1000;
  const size = Math.abs(seconds);
  const [unit, length] = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, length]) => size >= length) ?? ["second", 1];
  return new Intl.RelativeTimeFormat(language(), { numeric: "always", style: "short" }).format(Math.trunc(seconds / length), unit);
}

/// A time: how long ago, and exactly when one points at it.
export const time = (at) => (at ? h("time", { datetime: at, title: exact(at) }, relative(at)) : "");

/// The same, exact; how long ago when one points at it.
export const exactTime = (at) => (at ? h("time", { datetime: at, title: relative(at) }, exact(at)) : "");

export function duration(ms) {
  if (ms < 1000) return `${number(Math.round(ms))} ms`;
  const seconds = ms / 1000;
  const [unit, length] = [["d", 86_400], ["h", 3600], ["min", 60]].find(([, length]) => seconds >= 2 * length) ?? ["s", 1];
  const value = seconds / length;
  return `${number(value < 10 ? Math.round(value * 10) / 10 : Math.round(value))} ${unit}`;
}

export const shortId = (id) => `${id.slice(0, 8)}…${id.slice(-6)}`;
