//! An answer of the fee server, and what it means if it is no success.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{
    Response, StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};

use super::chain;
use crate::outbox::Outcome;

/// The longest answer that is read, in bytes.
const ANSWER_LENGTH_MAX: usize = 64 * 1024;
/// How much of an answer is kept in an error, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// An answer that was read whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    retry_after: Option<Duration>,
    /// `None` if it was longer than [`ANSWER_LENGTH_MAX`].
    pub(super) body: Option<Vec<u8>>,
}

impl Answer {
    pub(super) async fn read<R>(mut response: Response) -> Result<Self, Outcome<R>> {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        let mut body = Some(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| Outcome::Unknown(chain(&error)))? {
            body = body.filter(|body| body.len() + chunk.len() <= ANSWER_LENGTH_MAX);
            match &mut body {
                Some(body) => body.extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(Self { status, retry_after, body })
    }

    /// What an answer other than 2xx means.
    pub(super) fn failure<R>(&self) -> Outcome<R> {
        let error = format!("{}: {}", self.status, self.excerpt());
        match (self.status.as_u16(), self.retry_after) {
            (429 | 503, Some(wait)) => Outcome::RetryAfter(error, wait),
            (401 | 403 | 407, _) => Outcome::Unauthorised(error),
            (408, _) => Outcome::Unknown(error),
            (409 | 425 | 429 | 500..=599, _) => Outcome::Retry(error),
            (400..=499, _) => Outcome::Refused(error),
            _ => Outcome::Broken(error),
        }
    }

    pub(super) fn excerpt(&self) -> String {
        let Some(body) = &self.body else {
            return format!("more than {ANSWER_LENGTH_MAX} bytes");
        };
        let text = String::from_utf8_lossy(body);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_LENGTH_MAX).collect()
    }
}

/// Seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}
