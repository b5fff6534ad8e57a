"use strict";

const REFRESH_MS = 2000;
const token = document.getElementById("token");
token.value = sessionStorage.getItem("token") ?? "";
token.addEventListener("change", () => { sessionStorage.setItem("token", token.value); refresh(); });

async function call(path, body) {
  const headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const json = await answer.json();
  if (!answer.ok) throw new Error(`${json.title ?? answer.status}: ${json.detail ?? ""}`);
  return json;
}

// Text is set as text: nothing that a customer or a fee server wrote becomes markup.
function cell(content, kind) {
  const td = document.createElement("td");
  td.append(content ?? "");
  if (kind) td.className = kind;
  return td;
}

function button(label, act) {
  const element = document.createElement("button");
  element.textContent = label;
  element.addEventListener("click", async () => { await report(act); refresh(); });
  return element;
}

function fill(id, rows, nothing) {
  const body = document.querySelector(`#${id} tbody`);
  const lines = rows.map((cells) => { const tr = document.createElement("tr"); tr.append(...cells); return tr; });
  if (!lines.length) {
    const tr = document.createElement("tr");
    const td = cell(nothing, "empty");
    td.colSpan = 9;
    tr.append(td);
    lines.push(tr);
  }
  body.replaceChildren(...lines);
}

const time = (text) => (text ? new Date(text).toLocaleTimeString() : "");
// The API says how many digits the minor unit has: browsers do not follow ISO 4217 for all currencies.
const money = (it) => (it ? new Intl.NumberFormat(undefined, {
  style: "currency", currency: it.currency, minimumFractionDigits: it.minor_unit_digits,
  maximumFractionDigits: it.minor_unit_digits }).format(it.amount_minor / 10 ** it.minor_unit_digits) : "");
const STATUS = { confirmed: "good", pending: "wait", rejected: "bad", cancelled: "empty" };

function state(destination) {
  if (destination.paused) return cell(`paused by ${destination.paused.by} since ${time(destination.paused.since)}`, "wait");
  if (destination.circuit) return cell(`circuit open since ${time(destination.circuit.since)}: ${destination.circuit.reason ?? ""}`, "bad");
  if (destination.not_before && new Date(destination.not_before) > new Date()) {
    return cell(`Retry-After until ${time(destination.not_before)}`, "wait");
  }
  return cell("delivering", "good");
}

function destinationRow(it, countedMax) {
  const count = (events) => (events < countedMax ? events : `${events} or more`);
  const [act, label] = it.paused ? ["resume", "Resume"] : ["pause", "Pause"];
  return [cell(it.name), state(it), cell(count(it.events.pending), "number"), cell(count(it.events.leased), "number"),
    cell(count(it.events.dead), it.events.dead ? "number bad" : "number"), cell(`${it.oldest_due_seconds.toFixed(0)} s`, "number"),
    cell(it.delivered_last_minute, "number"),
    cell(button(label, () => call(`/v1/destinations/${it.name}/${act}`, { reason: "from the dashboard" })))];
}

function deadRow(it) {
  const retry = button("Retry", () => call(`/v1/outbox/${it.id}/retry`, { reason: "from the dashboard" }));
  return [cell(it.id, "id"), cell(it.quote_id, "id"), cell(it.event_type), cell(it.attempts, "number"),
    cell(it.last_error, "bad"), cell(retry)];
}

function staleRow(it) {
  const cancel = button("Cancel", () => call(`/v1/quotes/${it.quote_id}/cancel`, { reason: "stale, from the dashboard" }));
  return [cell(it.quote_id, "id"), cell(new Date(it.submitted_at).toLocaleString(), "bad"), cell(cancel)];
}

function waitingRow(it, why) {
  return [cell(it.id, "id"), cell(it.event_type), cell(it.attempts, "number"), cell(time(it.due_at)), cell(it.last_error),
    cell(why)];
}

function quoteRow(it) {
  return [cell(it.id, "id"), cell(it.customer_id), cell(money(it), "number"),
    cell(it.status, STATUS[it.status]), cell(money(it.fee), "number"),
    cell(time(it.submitted_at))];
}

async function load() {
  const [stats, dead, waiting, quotes] = await Promise.all([
    call("/v1/stats"), call("/v1/outbox?status=dead&limit=20"), call("/v1/outbox?status=pending&limit=10"),
    call("/v1/quotes?limit=20")]);
  const reasons = await Promise.all(waiting.events.map((it) =>
    call(`/v1/outbox/${it.id}/explain`).then((it) => it.sentence, () => "")));
  fill("destinations", stats.destinations.map((it) => destinationRow(it, stats.unsettled_counted_max)), "No worker has run yet.");
  fill("dead", dead.events.map(deadRow), "None.");
  const { count, oldest } = stats.stale_quotes;
  const others = count > oldest.length ? [[cell(`and ${count - oldest.length} more`, "bad")]] : [];
  fill("stale", [...oldest.map(staleRow), ...others], "None.");
  fill("waiting", waiting.events.map((it, index) => waitingRow(it, reasons[index])), "None.");
  fill("quotes", quotes.quotes.map(quoteRow), "None yet.");
}

async function report(act) {
  const problem = document.getElementById("problem");
  try {
    await act();
    problem.hidden = true;
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

const refresh = () => report(load);
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
