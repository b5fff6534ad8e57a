//! What each answer of the fee server comes to: the table in section 3 of the contract, row by row, over a real socket.

mod answers;

use std::time::Duration;

use chrono::Utc;
use feebox::destination::FeeServerReceipt;
use feebox::outbox::Outcome;
use feebox::quotes::{Fee, QUOTE_CANCELLED, QUOTE_SUBMITTED};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{RawServer, Reply};
use answers::{Expected, HTML, JSON, NO, PAGE, PROBLEM, QUOTE, a_fee, delivery, fee_server, fee_with, http};

use Expected::{
    Broken, Delivered, Forbidden, Misdirected, MisdirectedUnknown, Refused, Retry, RetryAfter, Unauthorised, Unknown,
};

/// What a call for a fee comes to that is answered with `answer`.
async fn asked(answer: Vec<u8>) -> Outcome<(u16, Fee)> {
    let (fee_server, _server) = fee_server([answer]).await;
    let payload = json!({ "quote_id": *QUOTE, "currency": "EUR" });
    fee_server.make_fee(delivery(&QUOTE_SUBMITTED, &payload)).await
}

/// What a call that takes a fee back comes to.
async fn voided(answer: Vec<u8>) -> Outcome<FeeServerReceipt> {
    let (fee_server, _server) = fee_server([answer]).await;
    let payload = json!({ "quote_id": *QUOTE });
    fee_server.hand_over(delivery(&QUOTE_CANCELLED, &payload)).await
}

async fn each(answers: Vec<Vec<u8>>, expected: Expected) {
    for answer in answers {
        let text = String::from_utf8_lossy(&answer).chars().take(300).collect::<String>();
        let outcome = asked(answer).await;
        assert_eq!(Expected::of(&outcome), expected, "{text}\n{outcome:?}");
        if let Some(error) = outcome.error() {
            assert!(error.chars().count() <= 500 && !error.contains(char::is_control), "printable: {error}");
        }
    }
}

/// "200, 201 with a valid body for this quote and currency, `amount_minor` ≥ 0 | delivered"
#[tokio::test]
async fn a_valid_fee_is_delivered() {
    let fee = a_fee().to_string();
    let mut answers = vec![
        http(200, &[JSON], &fee),
        http(201, &[JSON], &fee),
        http(201, &[PROBLEM], format!("\u{feff}{fee}")),
        http(200, &[], &fee),
        http(200, &["content-type: text/plain"], &fee),
        http(200, &[JSON], format!(" \r\n{fee}\n")),
    ];
    answers.push(fee_with("amount_minor", 0));
    answers.push(fee_with("amount_minor", (1_i64 << 53) - 1));
    answers.push(fee_with("fee_id", "ü".repeat(128)));
    answers.push(fee_with("rate_bps", i32::MAX));
    answers.push(fee_with("calculated_at", "1970-01-01T00:00:00Z"));
    answers.push(fee_with("calculated_at", "9999-12-31T23:59:59.999999999Z"));
    answers.push(fee_with("calculated_at", "2016-12-31T23:59:60Z"));
    answers.push(fee_with("unknown_to_us", "\u{0}"));
    each(answers, Delivered).await;
}

/// "2xx with whole JSON that is no fee for this quote (…), or over 64 KiB that call themselves JSON | dead: the contract is
/// broken, a printable excerpt is kept"
#[tokio::test]
async fn whole_json_that_is_no_fee_for_this_quote_is_a_broken_contract() {
    let mut answers = vec![
        fee_with("quote_id", json!(Uuid::now_v7())),
        fee_with("quote_id", "\u{0}\u{1b}[31m"),
        fee_with("currency", "USD"),
        fee_with("amount_minor", -1),
        fee_with("amount_minor", 1_i64 << 53),
        fee_with("amount_minor", 1.5),
        fee_with("fee_id", ""),
        fee_with("fee_id", "x".repeat(129)),
        fee_with("fee_id", "fee\u{0}1"),
        fee_with("fee_id", "fee\u{7f}1"),
        fee_with("fee_id", Value::Null),
        fee_with("rate_bps", 1_i64 << 31),
        http(201, &[JSON], "{}"),
        http(200, &[], "{}"),
        http(200, &[JSON], "null"),
        http(202, &[JSON], "[]"),
        http(200, &[JSON], a_fee().to_string().replace("63", "1e999")),
        http(200, &[JSON], [b"{\"fee_id\": \"".as_slice(), b"\xff", b"\"}"].concat()),
        http(200, &[JSON], format!("{{\"fee_id\": \"{}\"}}", "x".repeat(65 * 1024))),
    ];
    for time in ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z", ""] {
        answers.push(fee_with("calculated_at", time));
    }
    each(answers, Broken).await;
}

/// "400, 413, 422 and other 4xx with a JSON body (`application/json` or `+json`, and it parses) | refused: dead, the quote
/// becomes `rejected`"
#[tokio::test]
async fn a_refusal_in_json_is_a_refusal() {
    for status in [400, 402, 411, 413, 418, 422, 451] {
        each(vec![http(status, &[JSON], NO), http(status, &[PROBLEM], NO)], Refused).await;
    }
}

/// "404, 405, 406, 410, 415, 421 to `POST /v1/fees`, whatever the body | … no quote's fault: retry, it counts for the circuit"
#[tokio::test]
async fn what_is_wrong_with_the_address_is_no_quotes_fault() {
    for status in [404, 405, 406, 410, 415, 421] {
        let answers = vec![http(status, &[JSON], NO), http(status, &[HTML], PAGE), http(status, &[], "")];
        each(answers, Misdirected).await;
    }
}

/// "any other 2xx, 3xx or 4xx whose body is not JSON (an ingress's page, a maintenance page, a log-in page, nothing) | not the
/// fee server's word: unknown after a 2xx, else retry; it counts for the circuit, and nothing goes dead or `rejected` by it"
#[tokio::test]
async fn a_page_of_something_in_between_is_not_the_fee_servers_word() {
    for status in [200, 201, 202, 204, 206] {
        let long = "x".repeat(65 * 1024);
        let mut answers = vec![http(status, &[], "")];
        if status != 204 {
            answers.extend([
                http(status, &[HTML], PAGE),
                http(status, &[JSON], PAGE),
                http(status, &[], "OK"),
                http(status, &[JSON], "{}x"),
                http(status, &[HTML], long),
            ]);
        }
        each(answers, MisdirectedUnknown).await;
    }
    for status in [400, 413, 422, 451] {
        let answers = vec![
            http(status, &[HTML], PAGE),
            http(status, &[JSON], PAGE),
            http(status, &[HTML], NO),
            http(status, &[], ""),
        ];
        each(answers, Misdirected).await;
    }
}

/// "401, 403, 407 | our credentials: nothing goes dead …", "401, 403, 407, 408, 409, 425 and 429 are judged by their status,
/// whatever the body."
#[tokio::test]
async fn some_answers_are_judged_by_their_status_whatever_the_body() {
    let judged = [
        (401, Unauthorised),
        (403, Forbidden),
        (407, Unauthorised),
        (408, Unknown),
        (409, Unknown),
        (425, Retry),
        (429, Retry),
    ];
    for (status, expected) in judged {
        let cut = b"HTTP/1.1 STATUS S\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"title";
        let cut = String::from_utf8_lossy(cut).replace("STATUS", &status.to_string()).into_bytes();
        let answers = vec![http(status, &[JSON], NO), http(status, &[HTML], PAGE), http(status, &[], ""), cut];
        each(answers, expected).await;
    }
}

/// "429, 503 with `Retry-After` (seconds, or a date in any of RFC 9110's three forms; more than can be held counts as the cap)"
#[tokio::test]
async fn a_retry_after_is_understood_in_each_of_its_forms() {
    for status in [429, 503] {
        each(
            vec![http(status, &["retry-after: 120"], PAGE), http(status, &[JSON, "Retry-After: 120"], NO)],
            RetryAfter(120),
        )
        .await;
        let (far, past) = ("retry-after: 99999999999999999999999", "retry-after: Sun Nov  6 08:49:37 1994");
        each(vec![http(status, &[far], "")], RetryAfter(u64::MAX)).await;
        each(vec![http(status, &[past], "")], RetryAfter(0)).await;
        let in_two_minutes = Utc::now() + Duration::from_mins(2);
        for form in ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"] {
            let header = format!("retry-after: {}", in_two_minutes.format(form));
            let outcome = asked(http(status, &[&header], "")).await;
            let Outcome::RetryAfter(_, wait) = outcome else { panic!("{header}: {outcome:?}") };
            assert!((60..=120).contains(&wait.as_secs()), "{header}: {wait:?}");
        }
    }
    each(vec![http(429, &["retry-after: soon"], ""), http(429, &["retry-after: 1", "retry-after: 2"], "")], Retry)
        .await;
}

/// "425, 429, 501, refused, DNS, TLS | retry"
#[tokio::test]
async fn what_was_not_worked_on_is_tried_again() {
    each(vec![http(501, &[JSON], NO), http(501, &[HTML], PAGE)], Retry).await;
}

/// "408, 409, 500, 502, 503 without `Retry-After` (…), 504 and other 5xx, time-out, reset or cut after the request was sent, an
/// answer that ends before its JSON does | unknown: retry after a look-up"
#[tokio::test]
async fn what_may_have_made_a_fee_is_unknown() {
    for status in [500, 502, 503, 504, 507, 520, 599] {
        each(vec![http(status, &[JSON], NO), http(status, &[HTML], PAGE), http(status, &[], "")], Unknown).await;
    }
    each(vec![http(422, &[JSON], "{\"title\": \"n"), vec![]], Unknown).await;
}

/// "an answer that ends before its JSON does": cut at each byte, with a length that matches, with one that does not, and with
/// none at all.
#[tokio::test]
async fn an_answer_that_is_cut_at_any_byte_kills_nothing() {
    let fee = a_fee().to_string();
    let (fee_server, server) = {
        let cut = (0..fee.len()).flat_map(|at| {
            let (head, part) = ("HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n", &fee[..at]);
            [
                format!("{head}connection: close\r\n\r\n{part}"),
                format!("{head}content-length: {}\r\n\r\n{part}", fee.len()),
                format!("{head}connection: close\r\ncontent-length: {at}\r\n\r\n{part}"),
                format!("HTTP/1.1 201 Created\r\nconnection: close\r\n\r\n{part}"),
            ]
        });
        fee_server(cut.map(String::into_bytes)).await
    };
    let payload = json!({ "quote_id": *QUOTE, "currency": "EUR" });
    for at in 0..fee.len() {
        for _ in 0..4 {
            let outcome = fee_server.make_fee(delivery(&QUOTE_SUBMITTED, &payload)).await;
            let expected: &[Expected] = if at == 0 { &[Unknown, MisdirectedUnknown] } else { &[Unknown] };
            assert!(expected.contains(&Expected::of(&outcome)), "{at}: {outcome:?}");
        }
    }
    assert_eq!(server.requests().len(), 4 * fee.len());
}

/// "3xx | never followed; as an answer that is not JSON"
#[tokio::test]
async fn a_redirection_is_never_followed_and_not_the_fee_servers_word() {
    let elsewhere = RawServer::start([Reply::Bytes(http(200, &[JSON], a_fee().to_string()))]).await;
    let location = format!("location: {}/v1/fees", elsewhere.base_url());
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let mut answers = vec![http(status, &[&location], "")];
        if status != 304 {
            answers.push(http(status, &[&location, JSON], a_fee().to_string()));
        }
        each(answers, Misdirected).await;
    }
    assert!(elsewhere.requests().is_empty());
}

/// "`POST …/v1/fees/void` …: 204, and 200 or 404 with a JSON body, are delivered, the rest as above."
#[tokio::test]
async fn a_void_is_delivered_by_the_fee_servers_own_word_alone() {
    let rows = [
        (http(204, &[], ""), Delivered),
        (http(200, &[JSON], "{}"), Delivered),
        (http(404, &[PROBLEM], NO), Delivered),
        (http(200, &[HTML], PAGE), MisdirectedUnknown),
        (http(200, &[], ""), MisdirectedUnknown),
        (http(404, &[HTML], PAGE), Misdirected),
        (http(404, &[], ""), Misdirected),
        (http(404, &[JSON], PAGE), Misdirected),
        (http(302, &[], ""), Misdirected),
        (http(422, &[JSON], NO), Refused),
        (http(403, &[HTML], PAGE), Forbidden),
        (http(502, &[HTML], PAGE), Unknown),
        (http(501, &[JSON], NO), Retry),
        (http(429, &["retry-after: 3"], ""), RetryAfter(3)),
    ];
    for (answer, expected) in rows {
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(Expected::of(&voided(answer).await), expected, "{text}");
    }
}
