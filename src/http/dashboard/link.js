// Addresses of the pages, and links to them.

import { withQuery } from "./api.js";
import { h } from "./dom.js";
import { shortId } from "./format.js";
import { t } from "./text.js";

export const address = (path, query = {}) => withQuery(`#/${path}`, query);

export const link = (path, query, ...text) => h("a", { href: address(path, query) }, ...text);

export const quoteLink = (id) => h("a", { class: "id", href: address(`quotes/${id}`), title: id }, shortId(id));

export const eventLink = (id) => h("a", { class: "id", href: address(`events/${id}`), title: id }, shortId(id));

/// A status with its colour; its word says the same.
export const badge = (status, kind = "status") => h("span", { class: `badge ${status}` }, t(`${kind}.${status}`));

/// What to show in place of something that is not there (yet).
export function instead(source) {
  if (!source?.error) return h("p", { class: "empty" }, t("page.loading"));
  const text = source.error.status === 404 ? t("page.not_found") : source.error.message;
  return h("p", { class: "empty bad" }, text);
}

/// Names and values.
export const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "")
  .map(([name, value]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, value))));
