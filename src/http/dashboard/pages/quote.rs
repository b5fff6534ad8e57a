//! One quote: its money, its fee, and everything that happened to it, drawn in time.

use maud::{Markup, html};
use serde_json::Value;

use super::{
    super::{
        chart::points,
        format::{Show, count, duration, instant, money, number, text, time, zoned},
        list::rows,
        text::say,
        view::{Calls, View, at, event_link, facts, link, of_text},
    },
    event::neighbours,
};

pub(in super::super) fn calls(id: &str) -> Calls {
    let quote = format!("/v1/quotes/{id}");
    let timeline = format!("{quote}/timeline");
    vec![("quote", quote), ("timeline", timeline), ("neighbours", format!("/v1/outbox?quote_id={id}&limit=50"))]
}

pub(in super::super) fn content(view: &View<'_>) -> Markup {
    let Some(found) = view.answer("quote") else {
        return html! { h1 { (view.t("field.quote")) } (view.instead("quote")) };
    };
    let (id, status) = (text(&found["id"]), text(&found["status"]));
    html! {
        h1 { (view.t("field.quote")) " " span class="id" { (id) } }
        p id="state" class={ "headline " (status) } { (view.badge(&found["status"], "quote_status")) " " (zoned(&sentence(view, found))) }
        div class="bar" {
            @if view.may_operate() && ["pending", "confirmed"].contains(&status) {
                button class="danger" data-do="cancel-quote" data-id=(id) { (view.t("change.cancel_quote")) }
            }
        }
        (details(view, found))
        (timeline(view))
        (neighbours(view, None))
        section {
            h2 { (view.t("quotes.lines")) }
            ul class="plain" { @for it in rows(found, "lines") { li { (line(found, it)) } } }
        }
    }
}

fn details(view: &View<'_>, found: &Value) -> Markup {
    let fee = &found["fee"];
    let rate = fee["rate_bps"].as_f64().map_or_else(String::new, |rate| format!("{} %", number(rate / 100.0)));
    let customer = text(&found["customer_id"]);
    facts(&[
        (view.t("field.amount"), of_text(&money(found))),
        (view.t("field.fee"), of_text(&money(fee))),
        (view.t("quotes.rate"), of_text(&rate)),
        (view.t("quotes.fee_id"), of_text(text(&fee["fee_id"]))),
        (view.t("quotes.calculated"), at(&fee["calculated_at"])),
        (view.t("field.customer_id"), link("/quotes", [("customer_id", customer)], customer)),
        (view.t("field.partner"), of_text(text(&found["submitted_by"]))),
        (view.t("field.submitted"), at(&found["submitted_at"])),
        (view.t("quotes.reason"), of_text(text(&found["status_reason"]))),
    ])
}

fn line(found: &Value, it: &Value) -> String {
    let mut price = found.clone();
    price["amount_minor"] = it["unit_price_minor"].clone();
    format!("{} × {}, {}", number(count(&it["quantity"])), text(&it["description"]), money(&price))
}

fn sentence(view: &View<'_>, found: &Value) -> String {
    let (language, status, fee) = (view.language(), text(&found["status"]), &found["fee"]);
    let events = rows(view.answer_or_null("neighbours"), "events");
    let dead = events.into_iter().find(|it| it["status"] == "dead");
    let delivery = &found["delivery"];
    match (status, dead) {
        ("pending", Some(dead)) => say!(language, "quotes.text.dead", error = &dead["last_error"]),
        ("confirmed", _) if fee.is_null() => view.t("quotes.text.confirmed_by_kafka"),
        ("confirmed", _) => say!(language, "quotes.text.confirmed", fee = money(fee)),
        ("pending", None) if !delivery["last_error"].is_null() => {
            say!(language, "quotes.text.failing", n = count(&delivery["attempts"]), error = &delivery["last_error"])
        }
        _ => {
            let said = view.t(&format!("quotes.text.{status}"));
            found["status_reason"].as_str().map_or_else(|| said.clone(), |reason| format!("{said} {reason}"))
        }
    }
}

/// In which colour an entry is drawn.
fn kind(what: &str) -> &'static str {
    match what {
        "attempt_failed" => "retry",
        "delivered" | "circuit_closed" => "delivered",
        "dead" | "circuit_opened" => "dead",
        "given_up" | "cancelled" => "cancelled",
        "fee_recorded" => "confirmed",
        "rejected" => "rejected",
        "operator_action" => "operator",
        _ => "stored",
    }
}

fn timeline(view: &View<'_>) -> Markup {
    let Some(found) = view.answer("timeline") else {
        return html! { section { h2 { (view.t("quotes.timeline")) } (view.instead("timeline")) } };
    };
    let entries = rows(found, "entries");
    let drawn = entries.iter().filter_map(|it| {
        Some((instant(&it["at"])?, count(&it["duration_ms"]), kind(text(&it["what"])), words(view, it)))
    });
    let drawn: Vec<_> = drawn.collect();
    let first = drawn.first().map(|(at, ..)| *at);
    let offset = |it: &Value| {
        let after = first.zip(instant(&it["at"])).map_or(0, |(first, at)| (at - first).num_milliseconds());
        #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
        let after = after as f64;
        format!("+{}", duration(after))
    };
    let [begin, end] = [entries.first(), entries.last()].map(|it| it.map_or("", |it| text(&it["at"])));
    let n = f64::from(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    html! {
        section id="timeline" {
            h2 { (view.t("quotes.timeline")) }
            (points(&say!(view.language(), "quotes.drawn", from = begin, to = end, n = n), &drawn))
            ol class="timeline" {
                @for (index, it) in entries.iter().enumerate() {
                    li data-key={ (text(&it["at"])) " " (index) } class=(kind(text(&it["what"]))) {
                        span class="offset" { @if index > 0 { (offset(it)) } }
                        (time(&it["at"], Show::Exact))
                        span { (words(view, it)) @if !it["event_id"].is_null() { " " (event_link(&it["event_id"])) } }
                    }
                }
            }
        }
    }
}

fn words(view: &View<'_>, it: &Value) -> String {
    let language = view.language();
    let outcome = it["outcome"].as_str().filter(|_| it["what"] == "attempt_failed");
    let outcome = outcome.map_or_else(|| "–".to_owned(), |outcome| view.t(&format!("outcome.{outcome}")));
    let took = it["duration_ms"].as_f64().map_or_else(|| "–".to_owned(), duration);
    let receipt = if it["receipt"].is_null() { String::new() } else { it["receipt"].to_string() };
    let answer = if it["status"].is_null() { "–".to_owned() } else { it["status"].to_string() };
    let attempt = it["attempt"].to_string();
    let key = format!("what.{}", text(&it["what"]));
    say!(
        language,
        &key,
        attempt = attempt,
        outcome = outcome,
        answer = answer,
        took = took,
        error = &it["error"],
        by = &it["by"],
        reason = &it["reason"],
        destination = &it["destination"],
        event_type = &it["event_type"],
        receipt = receipt,
        fee_id = &it["fee_id"],
        amount = money(it),
        actor = &it["actor"],
        action = &it["action"],
    )
}
