//! One event: why it stands where it stands, its attempts, and its neighbours in its quote.

use chrono::TimeDelta;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::{
    chart::{Bar, waterfall},
    explain::{explanation, gave_up, is_due, why},
    format::{Show, count, duration, instant, money, number, text, time, zoned},
    list::{Table, by_id, column, rows, table},
    view::{Answers, Calls, View, at, event_link, facts, link, of_text, quote_link},
};

pub(in super::super) fn calls(id: &str, answers: &Answers) -> Calls {
    let mut calls = vec![("event", format!("/v1/outbox/{id}")), ("explain", format!("/v1/outbox/{id}/explain"))];
    // What can be asked for only when the event is known.
    let event = answers.get("event").and_then(|it| it.good.as_ref());
    if let Some(quote) = event.and_then(|it| it.body["quote_id"].as_str()) {
        calls.push(("neighbours", format!("/v1/outbox?quote_id={quote}&limit=50")));
    }
    calls
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let Some(found) = view.answer("event") else {
        return html! { h1 { (view.t("field.event")) } (view.instead("event")) };
    };
    let (id, status, language) = (text(&found["id"]), text(&found["status"]), view.language());
    let said = match view.answer("explain") {
        Some(explain) => explanation(language, explain, is_due(explain, view.now)),
        None => why(language, text(&found["why"])),
    };
    html! {
        h1 { (view.t("field.event")) " " span class="id" { (id) } }
        p id="explain" class={ "headline " (status) } { (view.badge(&found["status"], "status")) " " (zoned(&said)) }
        div class="bar" {
            @if view.may_operate() && ["dead", "pending"].contains(&status) {
                button class="main" data-do="retry-event" data-id=(id) { (view.t("change.retry")) }
            }
            @if view.may_operate() && ["dead", "pending", "leased"].contains(&status) {
                button class="danger" data-do="cancel-event" data-id=(id) { (view.t("change.cancel_event")) }
            }
            button data-do="copy" data-command=(command(found)) { (view.t("event.copy")) }
        }
        (attempts(view, found))
        (details(view, found))
        (neighbours(view, Some(id)))
        section {
            h2 { (view.t("event.payload")) }
            pre tabindex="0" { (pretty(&found["payload"])) }
            @if !found["receipt"].is_null() {
                h2 { (view.t("event.receipt")) }
                pre tabindex="0" { (pretty(&found["receipt"])) }
            }
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn details(view: &View<'_>, found: &Value) -> Markup {
    let cause = found["cause"].as_str().map(|cause| link("/events", [("cause", cause)], cause));
    let unknown = if found["outcome_unknown"] == true { view.t("event.unknown.text") } else { String::new() };
    facts(&[
        (view.t("field.quote"), quote_link(&found["quote_id"])),
        (view.t("field.customer_id"), of_text(text(&found["customer_id"]))),
        (view.t("field.amount"), of_text(&money(&found["money"]))),
        (view.t("field.event_type"), of_text(text(&found["event_type"]))),
        (view.t("field.destination"), link("/destinations", [], text(&found["destination"]))),
        (view.t("field.attempts"), of_text(&number(count(&found["attempts"])))),
        (view.t("field.created"), at(&found["created_at"])),
        (view.t("field.due"), at(&found["due_at"])),
        (view.t("field.settled"), at(&found["settled_at"])),
        (view.t("field.worker"), of_text(text(&found["leased_by"]))),
        (view.t("field.cause"), cause.unwrap_or_else(|| html! {})),
        (view.t("field.trace"), trace(found)),
        (view.t("event.unknown"), of_text(&unknown)),
    ])
}

/// The trace that it belongs to, and where it is seen.
fn trace(found: &Value) -> Markup {
    let Some(trace) = found["trace_context"].as_str() else { return html! {} };
    let trace = html! { code { (trace) } };
    if let Some(url) = found["trace_url"].as_str() {
        html! { a href=(url) rel="noreferrer" { (trace) } }
    } else {
        trace
    }
}

/// The HTTP status that an error begins with.
fn status_of(error: &str) -> &str {
    let digits = error.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.filter(|_| !error[3..].starts_with(|c: char| c.is_alphanumeric())).unwrap_or("–")
}

fn attempts(view: &View<'_>, found: &Value) -> Markup {
    let mut ended: Vec<Value> = found["failures"].as_array().cloned().unwrap_or_default();
    for it in &mut ended {
        it["status"] = json!(status_of(text(&it["error"])));
    }
    if found["status"] == "delivered" {
        let receipt = &found["receipt"];
        let status = if receipt["status"].is_null() { "–".to_owned() } else { receipt["status"].to_string() };
        ended.push(json!({ "attempt": found["attempts"], "outcome": "delivered", "status": status, "error": "", "at": found["settled_at"],
            "duration_ms": count(&receipt["duration_ms"]), "by": found["leased_by"] }));
    }
    let columns = [
        column(view.t("field.attempt"), "number", |it| html! { (number(count(&it["attempt"]))) }),
        column(view.t("field.outcome"), "", |it| view.badge(&it["outcome"], "outcome")),
        column(view.t("field.answer"), "number", |it| html! { (text(&it["status"])) }),
        column(view.t("field.took"), "number", |it| html! { (duration(count(&it["duration_ms"]))) }),
        column(view.t("field.at"), "", |it| time(&it["at"], Show::Exact)),
        column(view.t("field.worker"), "", |it| html! { (text(&it["by"])) }),
        column(view.t("field.error"), "wide", |it| {
            let why = it["gave_up"].as_str().map(|why| gave_up(view.language(), why));
            html! { (text(&it["error"])) @if let Some(why) = why { small { (why) } } }
        }),
    ];
    let bars: Vec<Bar> = ended.iter().filter_map(bar).collect();
    let key = |it: &Value| format!("{} {}", text(&it["at"]), it["attempt"]);
    let rows = ended.iter().collect();
    html! {
        section id="attempts" {
            h2 { (view.t("event.attempts")) }
            (waterfall(&view.t("event.attempts"), &bars))
            (table(view, &Table { name: "attempts", rows, key, nothing: view.t("event.no_attempts"), picks: false }, &columns))
        }
    }
}

fn bar(it: &Value) -> Option<Bar> {
    let (to, took) = (instant(&it["at"])?, count(&it["duration_ms"]));
    #[allow(clippy::cast_possible_truncation, reason = "a float becomes the nearest integer")]
    let from = to - TimeDelta::milliseconds(took as i64);
    let label = format!("{} · {} · {}", it["attempt"], text(&it["status"]), duration(took));
    Some(Bar { from, to, kind: text(&it["outcome"]).to_owned(), label })
}

/// The events of a quote, the first one first; `own` is the one whose page it is.
pub(super) fn neighbours(view: &View<'_>, own: Option<&str>) -> Markup {
    let columns = [
        column(view.t("field.event"), "", |it| {
            let is_own = own.is_some_and(|own| it["id"] == own);
            html! { @if is_own { span class="id" { (view.t("event.this")) } } @else { (event_link(&it["id"])) } }
        }),
        column(view.t("field.event_type"), "", |it| html! { (text(&it["event_type"])) }),
        column(view.t("field.destination"), "", |it| html! { (text(&it["destination"])) }),
        column(view.t("field.status"), "", |it| view.badge(&it["status"], "status")),
        column(view.t("field.why"), "wide", |it| zoned(&why(view.language(), text(&it["why"])))),
        column(view.t("field.created"), "", |it| time(&it["created_at"], Show::Relative)),
    ];
    let rows = rows(view.answer_or_null("neighbours"), "events").into_iter().rev().collect();
    html! {
        section id="neighbours" {
            h2 { (view.t("event.neighbours")) }
            (table(view, &Table { name: "neighbours", rows, key: by_id, nothing: view.t("events.nothing"), picks: false }, &columns))
        }
    }
}

/// The call that a worker makes, to be tried by hand: the key makes it harmless. The script puts in where the page came from.
fn command(found: &Value) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    if found["destination"] != "fee-server" {
        return format!(
            "curl -i {} -H \"Authorization: Bearer $TOKEN\"",
            quoted(&format!("$ORIGIN/v1/outbox/{}", text(&found["id"])))
        );
    }
    let path = if found["event_type"] == "quote.cancelled" { "/v1/fees/void" } else { "/v1/fees" };
    let key = quoted(&format!("Idempotency-Key: {}", text(&found["id"])));
    let payload = quoted(&found["payload"].to_string());
    format!("curl -i \"$FEE_SERVER{path}\" \\\n  -H {key} \\\n  -H 'Content-Type: application/json' \\\n  -d {payload}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_an_answer_is_told_and_the_call_is_quoted() {
        let statuses = ["503 Service Unavailable", "503", "5034", "no answer", "", "50é"].map(status_of);
        assert_eq!(statuses, ["503", "503", "–", "–", "–", "–"]);
        let event = json!({ "destination": "fee-server", "id": "7", "event_type": "quote.submitted", "payload": { "d": "it's" } });
        assert!(command(&event).ends_with(r#"-d '{"d":"it'\''s"}'"#), "{}", command(&event));
    }
}
