// Times as the reader wants them: the server writes them in UTC, and cannot know how long ago they will have been.

import { remember, remembered } from "./memory.js";
import { language } from "./text.js";

const KEY = "feebox.zone";
const HELP = { exact: (at) => relative(at), relative: (at) => exact(at) };
const SHOW = { exact: (at) => exact(at), relative: (at) => relative(at), short: (at) => exact(at).slice(5, 16) };
const ZONES = ["local", "utc"];
let zone = ZONES.find((it) => it === remembered(KEY)) ?? "local";

export const timeZone = () => zone;

export function setTimeZone(name) {
  zone = name;
  remember(KEY, name);
}

/// 2026-11-26 12:03:04 UTC, or the same in the browser's zone.
function exact(at) {
  const date = new Date(at);
  if (zone === "utc") return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const minutes = -date.getTimezoneOffset();
  const shifted = new Date(date.getTime() + minutes * 60_000).toISOString().slice(0, 19).replace("T", " ");
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  return `${shifted} ${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

function relative(at) {
  const seconds = (new Date(at) - Date.now()) / 1000;
  const size = Math.abs(seconds);
  const [unit, length] = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]].find(([, length]) => size >= length) ?? ["second", 1];
  return new Intl.RelativeTimeFormat(language(), { numeric: "always", style: "short" }).format(Math.trunc(seconds / length), unit);
}

/// Times of the API within a text, exact: one page has one zone.
export const inZone = (text) => text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (at) => exact(at));

/// What is shown for an element's time, and when one points at it.
export const shownTime = (at, show) => (Number.isNaN(Date.parse(at)) ? undefined : { text: SHOW[show]?.(at), title: HELP[show]?.(at) });

/// The form shows the browser's zone, the address keeps UTC.
export function toUtc(text) {
  const date = new Date(text);
  return text && !Number.isNaN(date.getTime()) ? date.toISOString() : "";
}

export function fromUtc(text) {
  const date = new Date(`${text}Z`);
  if (!text || Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function duration(ms) {
  const seconds = ms / 1000;
  const [unit, length] = [["d", 86_400], ["h", 3600], ["min", 60]].find(([, length]) => seconds >= 2 * length) ?? ["s", 1];
  const value = seconds / length;
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ${unit}`;
}

export const shortId = (id) => `${id.slice(0, 8)}…${id.slice(-6)}`;
