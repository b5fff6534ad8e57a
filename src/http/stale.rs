//! Answers that may be stale: they are read from the replica, if there is one, and say how old they are.
//!
//! A submitter gets what is fresh: a quote that was answered with `201` is found by its next call. So does who asks by
//! `Cache-Control: no-cache`; `max-age` bounds the age (RFC 9111, 5.2.1). If the replica fails, the request is
//! answered by the primary.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::Response,
};
use chrono::{DateTime, Utc};
use tokio::time::sleep;

use super::{AppState, access::Caller, problem::Cause};
use crate::database::{Database, Stale, StaleReads};

/// A replica that takes longer leaves too little of the request's time to the primary.
const REPLICA_TIME_MAX: Duration = Duration::from_secs(4);

/// Where a handler reads what may be stale.
pub(super) struct Reads {
    pub db: Database,
    /// What was committed by then is there, by the database's clock; none if all is.
    pub as_of: Option<DateTime<Utc>>,
}

impl FromRequestParts<AppState> for Reads {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        Ok(match parts.extensions.get::<Stale>() {
            Some(replica) => Self { db: replica.db.clone(), as_of: Some(replica.as_of) },
            None => Self { db: state.reads.clone(), as_of: None },
        })
    }
}

/// Has a request that only reads answered by the replica, or else by the primary.
pub(super) async fn may_be_stale(
    Extension(reads): Extension<StaleReads>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let age_max = if caller.sees_only().is_some() { None } else { age_max(request.headers()) };
    let stale = match age_max {
        Some(age_max) => reads.replica(age_max).await,
        None => None,
    };
    let Some(stale) = stale else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let again = Request::from_parts(parts.clone(), Body::empty());
    parts.extensions.insert(stale.clone());
    let answer = tokio::select! {
        answer = next.clone().run(Request::from_parts(parts, body)) => Some(answer),
        () = reads.lost() => None,
        () = sleep(REPLICA_TIME_MAX) => None,
    };
    match answer {
        Some(mut answer) if !answer.status().is_server_error() => {
            // Rounded up: it is no older.
            answer.headers_mut().insert(header::AGE, (stale.age().as_secs() + 1).into());
            return answer;
        }
        Some(answer) => reads.failed(answer.extensions().get::<Cause>().map_or("an error", |Cause(cause)| cause)),
        None => reads.failed("the replica did not answer in time"),
    }
    next.run(again).await
}

/// How old an answer may be that the caller takes; none if it must be fresh.
fn age_max(headers: &HeaderMap) -> Option<Duration> {
    let mut age_max = Duration::MAX;
    for value in headers.get_all(header::CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',').map(str::trim) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            if ["no-cache", "no-store"].iter().any(|fresh| name.eq_ignore_ascii_case(fresh)) {
                return None;
            }
            if name.eq_ignore_ascii_case("max-age") {
                // What cannot be read counts as fresh only.
                age_max = age_max.min(Duration::from_secs(value.trim_matches('"').parse().ok()?));
            }
        }
    }
    (!age_max.is_zero()).then_some(age_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_says_how_old_an_answer_may_be() {
        let of = |values: &[&'static str]| {
            age_max(&values.iter().map(|value| (header::CACHE_CONTROL, value.parse().expect("a value"))).collect())
        };
        assert_eq!(of(&[]), Some(Duration::MAX));
        assert_eq!(of(&["max-age=30"]), Some(Duration::from_secs(30)));
        assert_eq!(of(&["min-fresh=5, Max-Age=\"30\"", "max-age=20"]), Some(Duration::from_secs(20)));
        for fresh in ["no-cache", "No-Cache", "max-age=0", "max-age=30, no-store", "max-age=soon", "max-age"] {
            assert_eq!(of(&[fresh]), None, "{fresh}");
        }
    }
}
