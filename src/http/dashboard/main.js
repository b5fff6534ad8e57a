// The way in. The server writes the pages; this shows them anew without loading them again, and does what the reader asks for.

import { withQuery } from "./api.js";
import { bulk, cancelEvent, cancelQuote, checkNow, copy, pause, resume, retryEvent, setLimits } from "./change.js";
import { adopt, h, patch } from "./dom.js";
import { duration, setTimeZone, timeZone, toUtc } from "./format.js";
import { help, listen } from "./keys.js";
import { begin, decorate, pick, selectNone, selected, steady } from "./list.js";
import { Live } from "./live.js";
import { follow, noticesView, onNotice } from "./notices.js";
import { isOut, logIn, logOut, mayOperate } from "./session.js";
import { tick, within } from "./server.js";
import { chooseLanguage, speak, t } from "./text.js";

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/// What the server writes; the rest is this window's own.
const PARTS = ["header", "main", "footer"];
const part = (of, name) => of.querySelector(`body > ${name}`);

/// Why what is shown is old, and since when that is known.
let failure;
/// The document that the server wrote last, and the address that it belongs to.
let written;
let shownAt;
const live = new Live({
  show: (page, address) => {
    const { failed, failing, since } = page.body.dataset;
    // What is shown is worth more than that there is nothing now.
    const isKept = failed && shownAt === address && !written.body.dataset.failed && !isOut();
    failure = isKept ? { message: failed } : failing && { message: failing, since };
    stalled();
    if (address === here() && !isKept) show(page, address);
    return !isKept && !failing;
  },
  failed: (error) => { failure = error; stalled(); },
});

const here = () => location.pathname + location.search;

/// Shows what the server wrote at an address. What did not change is not touched.
async function show(page, address) {
  const isSame = shownAt === address;
  [written, shownAt] = [page, address];
  if (!isSame) begin(address);
  const { lang } = page.documentElement;
  if (lang !== document.documentElement.lang) {
    document.documentElement.lang = lang;
    await speak();
    if (written !== page) return;
  }
  document.title = page.title;
  Object.assign(document.body.dataset, { role: page.body.dataset.role ?? "", age: page.body.dataset.age });
  for (const name of PARTS) {
    const children = within(part(page, name));
    patch(part(document, name), name === "main" && isSame ? steady(part(document, name), children) : children);
  }
  // They are in the reader's language, and have buttons that not everybody has.
  notices();
  decorated();
}

/// What only this window knows.
function decorated() {
  document.getElementById("zone").value = timeZone();
  decorate();
}

/// Shows the page at another address, without loading the scripts again.
async function go(address, { isBack } = {}) {
  if (!isBack && address !== here()) history.pushState(null, "", address);
  const before = document.querySelector("main > [data-key]")?.dataset.key;
  await live.follow(here());
  if (document.querySelector("main > [data-key]")?.dataset.key !== before) {
    scrollTo(0, 0);
    part(document, "main").focus({ preventScroll: true });
  }
}

const reload = () => live.reload();
const many = (kind) => (button) => {
  const { which, statuses } = button.dataset;
  bulk(kind, set(JSON.parse(which)), { statuses: statuses?.split(" "), after: reload });
};
const some = (kind) => () => bulk(kind, { ids: selected() }, { after: () => { selectNone(); reload(); } });
const set = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));

/// By the name that the server gives to a button.
const DO = {
  "retry-event": ({ dataset }) => retryEvent(dataset.id, reload),
  "cancel-event": ({ dataset }) => cancelEvent(dataset.id, reload),
  "cancel-quote": ({ dataset }) => cancelQuote(dataset.id, reload),
  "retry-many": many("retry"), "cancel-many": many("cancel"), "retry-selected": some("retry"), "cancel-selected": some("cancel"),
  "select-none": selectNone,
  "show-added": () => { begin(shownAt); document.activeElement?.blur(); show(written, shownAt); },
  pause: ({ dataset }) => pause(dataset.name, Number(dataset.waiting), reload),
  resume: ({ dataset }) => resume(dataset.name, Number(dataset.waiting), reload),
  "set-limits": ({ dataset }) => setLimits(dataset.name, JSON.parse(dataset.limits), reload),
  "check-now": () => checkNow(reload),
  copy: ({ dataset }) => copy(dataset.command),
  help,
  "log-out": async () => { await logOut(); reload(); },
};

function clicked(event) {
  const button = event.target.closest("[data-do]");
  if (button) { DO[button.dataset.do]?.(button); return; }
  const box = event.target.closest("[data-pick], [data-pick-all]");
  if (box) { pick(box); return; }
  const a = event.target.closest("a[href]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!a || !isPlain || a.origin !== location.origin) return;
  if (a.matches(".skip")) { event.preventDefault(); part(document, "main").focus(); return; }
  // The API's page, the metrics and whatever has no page here are documents of their own.
  if (a.closest("footer")) return;
  event.preventDefault();
  go(a.pathname + a.search);
}

function submitted(event) {
  const form = event.target;
  if (form.closest("dialog")) return;
  event.preventDefault();
  if (form.matches(".login")) logIn(form, reload);
  else if (form.matches(".filters")) filter(form);
  else search(form.elements.customer_id.value.trim());
}

function filter(form) {
  const value = (it) => (it.type === "datetime-local" ? toUtc(it.value) : it.value.trim());
  const values = [...form.elements].filter((it) => it.name).map((it) => [it.name, value(it)]);
  const { pathname, searchParams } = new URL(shownAt, location);
  go(withQuery(pathname, { ...Object.fromEntries(searchParams), ...Object.fromEntries(values), cursor: undefined }));
}

/// An id leads to its quote or event, the beginning of one to its quotes; else it is a customer.
async function search(text) {
  if (!text) return;
  if (ID.test(text)) {
    const answer = await fetch(`/v1/outbox/${text}`, { method: "GET" });
    go(`/${answer.ok ? "events" : "quotes"}/${text.toLowerCase()}`);
  } else {
    go(withQuery("/quotes", /^[0-9a-f][0-9a-f-]{5,35}$/i.test(text) ? { id_prefix: text } : { customer_id: text }));
  }
}

function changed({ target }) {
  if (target.id === "zone") {
    setTimeZone(target.value);
    show(written, shownAt);
  } else if (target.id === "language") {
    chooseLanguage(target.value);
    reload();
  } else if (target.matches(".filters select")) {
    filter(target.form);
  }
}

const notices = () => patch(document.getElementById("notices"), noticesView(mayOperate()));

/// Says that what is shown is old, and why.
function stalled() {
  const text = failure && t("shell.stalled", { age: duration(failure.since ? Date.now() - Date.parse(failure.since) : live.age()), error: failure.message });
  patch(document.getElementById("stalled"), text ? [h("p", { class: "stalled", role: "alert" }, text)] : []);
}

/// Addresses that an earlier version made.
function moved() {
  const found = /^#\/(.+)$/.exec(location.hash);
  if (found) history.replaceState(null, "", found[1] === "overview" ? "/" : `/${found[1].replace(/^overview\?/, "?")}`);
  return Boolean(found);
}

await speak();
const isMoved = moved();
[written, shownAt] = [document.cloneNode(true), here()];
begin(here());
onNotice(notices);
notices();
listen();
document.addEventListener("click", clicked);
document.addEventListener("submit", submitted);
document.addEventListener("change", changed);
addEventListener("popstate", () => go(here(), { isBack: true }));
setInterval(() => { if (!document.hidden && !isOut()) { follow(); tick(); stalled(); } }, 5000);
for (const name of PARTS) {
  const children = within(part(document, name));
  adopt(part(document, name), children);
  patch(part(document, name), children);
}
decorated();
live.isOut = isOut();
// A link on another site brings no session along. The page itself does.
await live.follow(here(), !isMoved && !isOut());
