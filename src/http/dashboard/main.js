// The way in: the address says which page is shown, and with which filters.

import { withQuery } from "./api.js";
import { h, patch } from "./dom.js";
import { duration, setTimeZone, timeZone } from "./format.js";
import { help, listen } from "./keys.js";
import { address } from "./link.js";
import { Live, pathOf } from "./live.js";
import { follow, followed, noticesView, onNotice } from "./notices.js";
import { identify, logInView, logOut, mayOperate, session } from "./session.js";
import { language, setLanguage, t } from "./text.js";
import { actions } from "./pages/actions.js";
import { causes } from "./pages/causes.js";
import { destinations } from "./pages/destinations.js";
import { event } from "./pages/event.js";
import { events } from "./pages/events.js";
import { overview } from "./pages/overview.js";
import { promises } from "./pages/promises.js";
import { quote } from "./pages/quote.js";
import { quotes } from "./pages/quotes.js";
import { settings } from "./pages/settings.js";
import { workers } from "./pages/workers.js";

const PAGES = { overview, causes, events, quotes, destinations, workers, promises, actions, settings };
const DETAILS = { events: event, quotes: quote };
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const app = document.getElementById("app");
const live = new Live((error) => { if (error?.status === 401) expired(); else shown(); });
live.extra = followed;
let page;

function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...params] = (path || "overview").split("/").filter(Boolean).map(decodeURIComponent);
  const view = params.length ? DETAILS[name] : PAGES[name];
  const values = Object.fromEntries(new URLSearchParams(query ?? ""));
  const at = [name, ...params].map(encodeURIComponent).join("/");
  return {
    name, view, params, query: values, address: location.hash, ui: {}, data: {}, render,
    reload: () => live.reload(),
    /// The address of this page with some filters changed.
    with: (changes) => address(at, { ...values, ...changes }),
    /// A call of the API with those filters of the address that it knows.
    api: (call, names, more = {}) => withQuery(call, { ...Object.fromEntries(names.map((it) => [it, values[it]])), ...more }),
  };
}

/// Shows what the address says; the focus goes to the new page's heading.
async function go() {
  const before = page;
  page = read();
  const loading = load();
  render();
  if (before && before.name + before.params !== page.name + page.params) {
    scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
  await loading;
}

function load() {
  const loading = live.show(wanted());
  page.data = live.data;
  return loading;
}

/// What the page needs of the API; more may be asked for once some of it is known.
function wanted() {
  if (!page.view || !["viewer", "operator"].includes(session.caller?.role)) return {};
  page.data = live.data;
  return { ...page.view.sources(page), ...page.view.more?.(page) };
}

function shown() {
  const isNew = Object.entries(wanted()).some(([name, source]) => live.data[name]?.path !== pathOf(source).path);
  if (isNew) load();
  render();
}

function expired() {
  session.isOut = true;
  session.caller = undefined;
  live.show({});
  render();
}

function render() {
  page.mayOperate = mayOperate();
  document.title = `${page.view?.title(page) ?? t("page.unknown")} · Feebox`;
  patch(app, [
    h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); document.getElementById("main").focus(); } }, t("shell.skip")),
    header(),
    noticesView(mayOperate()),
    session.caller && live.failure() && h("p", { class: "stalled", role: "alert" }, t("shell.stalled", { age: duration(live.age()), error: live.failure().message })),
    h("main", { id: "main", tabindex: -1 }, session.isOut ? logInView(begun) : h("div", { key: page.name + page.params }, content())),
    h("footer", {}, session.caller && live.isStale() && h("span", { id: "replica" }, t("shell.replica", { age: duration(live.age()) })), h("a", { href: "/docs" }, t("shell.api")), h("a", { href: "/metrics" }, t("shell.metrics")),
      h("button", { class: "quiet", onclick: help }, t("keys.title"), " ", h("kbd", {}, "?")))]);
}

function content() {
  if (!page.view) return [h("h1", {}, t("page.unknown")), h("p", {}, h("a", { href: address("overview") }, t("nav.overview")))];
  if (session.caller?.role === "submitter") return [h("h1", {}, t("session.submitter"))];
  return page.view.view(page);
}

function header() {
  return h("header", {},
    h("a", { class: "name", href: address("overview") }, "Feebox"),
    session.caller && h("nav", { "aria-label": t("shell.pages") }, Object.keys(PAGES).map((name) => h("a", { href: address(name),
      "aria-current": name === page.name ? (page.params.length ? "true" : "page") : null }, t(`nav.${name}`)))),
    session.caller && h("form", { role: "search", "aria-label": t("shell.search"), onsubmit: search }, h("input", { id: "search", type: "search", name: "text", placeholder: t("shell.search"),
      "aria-label": t("shell.search") })),
    h("div", { class: "choices" },
      choice("zone", t("shell.zone"), timeZone(), [["local", t("zone.local")], ["utc", "UTC"]], setTimeZone),
      choice("language", t("shell.language"), language(), [["en", "English"], ["ko", "한국어"]], setLanguage),
      session.caller?.has_token && h("span", { class: "who" }, t(`role.${session.caller.role}`, { name: session.caller.name })),
      session.caller?.has_token && h("button", { class: "quiet", onclick: async () => { await logOut(); expired(); } }, t("session.log_out"))));
}

const choice = (name, label, value, options, choose) => h("select", { id: name, "aria-label": label, value,
  onchange: (event) => { choose(event.target.value); render(); } }, options.map(([option, text]) => h("option", { value: option }, text)));

/// An id leads to its quote or event, the beginning of one to its quotes; else it is a customer.
async function search(event) {
  event.preventDefault();
  const text = event.target.closest("form").elements.text.value.trim();
  if (!text) return;
  if (ID.test(text)) {
    const answer = await fetch(`/v1/outbox/${text}`, { method: "GET" });
    location.hash = address(`${answer.ok ? "events" : "quotes"}/${text.toLowerCase()}`);
  } else {
    location.hash = address("quotes", /^[0-9a-f][0-9a-f-]{5,35}$/i.test(text) ? { id_prefix: text } : { customer_id: text });
  }
}

const begun = () => (session.isOut ? render() : go());

onNotice(render);
listen();
page = read();
await identify();
addEventListener("hashchange", go);
setInterval(() => { if (!document.hidden && !session.isOut) { follow(); render(); } }, 5000);
await go();
