//! Answers byte for byte, and what they come to.

use std::sync::LazyLock;

use chrono::Utc;
use feebox::destination::{Delivery, FeeServer};
use feebox::outbox::{EventType, Outcome};
use feebox::settings::{Settings, Sources};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{RawServer, Reply, http_client};

use Expected::{
    Broken, Delivered, Forbidden, Misdirected, MisdirectedUnknown, Refused, Retry, RetryAfter, Unauthorised, Unknown,
};

pub static QUOTE: LazyLock<Uuid> = LazyLock::new(Uuid::now_v7);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Delivered,
    Retry,
    RetryAfter(u64),
    Unknown,
    Refused,
    Broken,
    /// Counts for the circuit, blames no event.
    Misdirected,
    MisdirectedUnknown,
    Unauthorised,
    Forbidden,
}

impl Expected {
    pub fn of<R: std::fmt::Debug>(outcome: &Outcome<R>) -> Expected {
        match outcome {
            Outcome::Delivered(_) => Delivered,
            Outcome::Retry(_) => Retry,
            Outcome::RetryAfter(_, wait) => RetryAfter(wait.as_secs()),
            Outcome::Unknown(_) => Unknown,
            Outcome::Refused(_) => Refused,
            Outcome::Broken(_) => Broken,
            Outcome::Misdirected { unknown: false, .. } => Misdirected,
            Outcome::Misdirected { unknown: true, .. } => MisdirectedUnknown,
            Outcome::Unauthorised(_) => Unauthorised,
            Outcome::Forbidden(_) => Forbidden,
            other => panic!("{other:?}"),
        }
    }
}

pub const JSON: &str = "content-type: application/json";
pub const PROBLEM: &str = "Content-Type: application/problem+json; charset=utf-8";
pub const HTML: &str = "content-type: text/html";
pub const PAGE: &str = "<html><body><h1>nginx</h1></body></html>";
pub const NO: &str = "{\"title\": \"no\"}";

pub fn http(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let (body, headers) = (body.as_ref(), headers.iter().flat_map(|line| [line, "\r\n"]).collect::<String>());
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub fn a_fee() -> Value {
    json!({ "fee_id": "fee-1", "quote_id": *QUOTE, "currency": "EUR", "amount_minor": 63, "rate_bps": 250,
            "calculated_at": "2026-11-22T10:00:00Z" })
}

pub fn fee_with(field: &str, value: impl Into<Value>) -> Vec<u8> {
    let mut fee = a_fee();
    fee[field] = value.into();
    http(200, &[JSON], fee.to_string())
}

pub async fn fee_server(answers: impl IntoIterator<Item = Vec<u8>>) -> (FeeServer, RawServer) {
    // Its first call installs what TLS needs.
    let _ = http_client();
    let server = RawServer::start(answers.into_iter().map(Reply::Bytes)).await;
    let settings = [("fee_server.base_url", server.base_url()), ("fee_server.timeout", "5s".into())];
    (FeeServer::new(&Settings::load(&Sources::overrides(settings)).unwrap().fee_server, 8).unwrap(), server)
}

pub fn delivery<'a>(event_type: &'a EventType, payload: &'a Value) -> Delivery<'a> {
    Delivery {
        id: Uuid::now_v7(),
        quote_id: *QUOTE,
        created_at: Utc::now(),
        event_type,
        payload,
        trace_context: None,
        outcome_unknown: false,
    }
}
