//! Asking the fee server whether it has a fee for a quote, after an attempt whose outcome is unknown.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    FeeServer,
    answer::{Answer, Kind},
    expectation::{Expectation, Unusable, parse},
    wire::Call,
};
use crate::{destination::Delivery, outbox::Outcome, quotes::Fee};

/// The longest list that is read, in bytes: that of a server which answers with more than was asked for.
const LIST_LENGTH_MAX: usize = 1024 * 1024;

/// The most pages that are read of a server which lists other quotes' fees, too.
const PAGES_MAX: usize = 100;

/// The result of a look-up.
pub(super) enum LookUp<R> {
    /// The fee exists; with the HTTP status of the answer.
    Found(u16, Fee),
    /// It does not exist, or the server has no look-up.
    None,
    /// Whether it exists stays unknown.
    Failed(Outcome<R>),
}

/// Whether the server has answered a look-up with a list. Then a 404 comes from a proxy in between.
#[derive(Debug, Default)]
pub(super) struct Seen(AtomicBool);

/// A page of a look-up.
enum Page<R> {
    Last(LookUp<R>),
    /// The fee was not on it, and the list goes on.
    Next(String),
}

impl FeeServer {
    pub(super) async fn look_up<R>(
        &self,
        delivery: Delivery<'_>,
        expected: &Expectation,
        deadline: Instant,
    ) -> LookUp<R> {
        let quote_id = expected.quote_id.to_string();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let query = [("quote_id", Some(quote_id.as_str())), ("cursor", cursor.as_deref())];
            let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let call =
                Call { method: Method::GET, url: &self.fees, query: &query, body: None, delivery: Some(delivery) };
            let answer = match self.wire.send_harmless(&call, deadline).await {
                Ok(response) => Answer::read(response, LIST_LENGTH_MAX).await,
                Err(lost) => return LookUp::Failed(still_unknown(lost.outcome())),
            };
            match self.read_page(expected, &answer) {
                Page::Last(look_up) => return look_up,
                Page::Next(next) if cursor.as_ref() == Some(&next) => break,
                Page::Next(next) => cursor = Some(next),
            }
        }
        LookUp::Failed(Outcome::Unknown("look-up: an endless list".into()))
    }

    fn read_page<R>(&self, expected: &Expectation, answer: &Answer) -> Page<R> {
        Page::Last(match answer.status.as_u16() {
            200..=299 => return self.found(expected, answer),
            404 | 405 | 501 if !self.lists_seen.0.load(Ordering::Relaxed) => LookUp::None,
            404 | 405 | 501 => {
                let error = format!("look-up: {}", answer.text());
                LookUp::Failed(Outcome::Misdirected { error, unknown: true })
            }
            _ => LookUp::Failed(still_unknown(answer.failure())),
        })
    }

    fn found<R>(&self, expected: &Expectation, answer: &Answer) -> Page<R> {
        #[derive(Deserialize)]
        struct Fees {
            fees: Vec<Value>,
            #[serde(default)]
            next: Option<String>,
        }
        let list: Result<Fees, _> = match answer.kind() {
            Kind::Json => parse(answer.json()).map_err(|why| format!("not a list of fees ({why})")),
            _ => Err("not a list of fees".into()),
        };
        let found = list.map_err(Unusable::List).and_then(|list| {
            self.lists_seen.0.store(true, Ordering::Relaxed);
            Ok((expected.among(list.fees)?, list.next.filter(|next| !next.is_empty())))
        });
        Page::Last(match found {
            Ok((Some(fee), _)) => LookUp::Found(answer.status.as_u16(), fee),
            Ok((None, Some(next))) => return Page::Next(next),
            Ok((None, None)) => LookUp::None,
            Err(Unusable::List(why)) => LookUp::Failed(still_unknown(answer.not_taken(&why))),
            Err(Unusable::Fee(why)) => LookUp::Failed(Outcome::Broken(format!("look-up: {why}: {}", answer.text()))),
        })
    }
}

/// A failed look-up says nothing about the fee: the outcome stays unknown.
pub(super) fn still_unknown<R>(outcome: Outcome<R>) -> Outcome<R> {
    match outcome {
        Outcome::Retry(error) | Outcome::Unknown(error) | Outcome::Refused(error) | Outcome::Broken(error) => {
            Outcome::Unknown(format!("look-up: {error}"))
        }
        Outcome::Misdirected { error, .. } => {
            Outcome::Misdirected { error: format!("look-up: {error}"), unknown: true }
        }
        other => other,
    }
}
