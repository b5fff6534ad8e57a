//! Asking the fee server whether it has a fee for a quote, after an attempt whose outcome is unknown.

use std::time::Instant;

use reqwest::Method;
use sea_orm::DbErr;
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

/// What a look-up decides: the fee exists, or that stays unknown. `None` if it does not exist, or the server has no look-up.
pub(super) type Decision = Option<Outcome<(u16, Fee)>>;

/// A page of a look-up.
enum Page {
    Last(Decision),
    /// The fee was not on it, and the list goes on.
    Next(String),
}

impl FeeServer {
    pub(super) async fn look_up(&self, delivery: Delivery<'_>, expected: &Expectation, deadline: Instant) -> Decision {
        let quote_id = expected.quote_id.to_string();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let query = [("quote_id", Some(quote_id.as_str())), ("cursor", cursor.as_deref())];
            let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let call =
                Call { method: Method::GET, url: &self.fees, query: &query, body: None, delivery: Some(delivery) };
            let answer = match self.wire.send_harmless(&call, deadline).await {
                Ok(response) => Answer::read(response, LIST_LENGTH_MAX).await,
                Err(lost) => return Some(still_unknown(lost.outcome())),
            };
            match self.read_page(expected, &answer).await {
                Page::Last(decision) => return decision,
                Page::Next(next) if cursor.as_ref() == Some(&next) => break,
                Page::Next(next) => cursor = Some(next),
            }
        }
        Some(Outcome::Unknown("look-up: an endless list".into()))
    }

    async fn read_page(&self, expected: &Expectation, answer: &Answer) -> Page {
        Page::Last(match answer.status.as_u16() {
            200..=299 => return self.found(expected, answer).await,
            404 | 405 | 501 => match self.look_ups.exist(self.fleet.as_ref()).await {
                Ok(false) => None,
                Ok(true) => {
                    let error = format!("look-up: {}", answer.text());
                    Some(Outcome::Misdirected { error, unknown: true })
                }
                Err(error) => Some(not_shared(&error)),
            },
            _ => Some(still_unknown(answer.failure())),
        })
    }

    async fn found(&self, expected: &Expectation, answer: &Answer) -> Page {
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
        let shared = if list.is_ok() { self.look_ups.saw_list(self.fleet.as_ref()).await } else { Ok(()) };
        let found = list
            .map_err(Unusable::List)
            .and_then(|list| Ok((expected.among(list.fees)?, list.next.filter(|next| !next.is_empty()))));
        Page::Last(match (found, shared) {
            (Ok((Some(fee), _)), _) => Some(Outcome::Delivered((answer.status.as_u16(), fee))),
            // The list is recorded before anything is sent. Otherwise this process could send and die, and another would take
            // a later 404 to mean that the server has no look-up.
            (Ok(_), Err(error)) => Some(not_shared(&error)),
            (Ok((None, Some(next))), Ok(())) => return Page::Next(next),
            (Ok((None, None)), Ok(())) => None,
            (Err(Unusable::List(why)), _) => Some(still_unknown(answer.not_taken(&why))),
            (Err(Unusable::Fee(why)), _) => Some(Outcome::Broken(format!("look-up: {why}: {}", answer.text()))),
        })
    }
}

/// The database does not answer. That is not an error of the fee server.
fn not_shared<R>(error: &DbErr) -> Outcome<R> {
    Outcome::OutOfResources(format!("look-up: the database is unavailable: {error}"))
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
