//! An answer of the fee server, or of a proxy in its place, and what it means if it is not a success.

use std::time::{Duration, SystemTime};

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde::de::IgnoredAny;

use super::{retry_after::retry_after, wire::described};
use crate::{outbox::Outcome, printable::printable};

/// The longest answer that is read, in bytes.
pub(super) const ANSWER_LENGTH_MAX: usize = 64 * 1024;
/// How much of an answer is kept in an error, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// An answer, as far as it arrived.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    retry_after: Option<Duration>,
    /// By its header.
    labelled_json: bool,
    body: Vec<u8>,
    /// Why the body is incomplete, if it is.
    end: Option<End>,
}

#[cfg(test)]
impl Answer {
    /// One that arrived whole.
    pub(super) fn whole(status: u16, media_type: &str, body: &[u8]) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().expect("a header"))]);
        let status = StatusCode::from_u16(status).expect("a status");
        Self { status, retry_after: None, labelled_json: is_json(&headers), body: body.to_vec(), end: None }
    }
}

/// Why a body was not read whole.
enum End {
    TooLong(usize),
    /// The connection was lost, or the call timed out.
    Cut(String),
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Complete JSON.
    Json,
    /// Incomplete JSON.
    CutJson,
    /// JSON by its header, and longer than is read.
    LongJson,
    /// A page, a text, nothing.
    Other,
}

impl Answer {
    /// Reads up to `length_max` bytes of the body.
    pub(super) async fn read(mut response: Response, length_max: usize) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let labelled_json = is_json(response.headers());
        let mut body = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > length_max => break Some(End::TooLong(length_max)),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break None,
                Err(error) => break Some(End::Cut(described(&error))),
            }
        };
        Self { status, retry_after, labelled_json, body, end }
    }

    /// The JSON of the body; a byte order mark before it is skipped.
    pub(super) fn json(&self) -> &[u8] {
        self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body)
    }

    /// What the body is. A complete object or list is JSON whatever its header says: a fee must not be lost by a wrong label.
    pub(super) fn kind(&self) -> Kind {
        let (labelled, json) = (self.labelled_json, self.json());
        let structured = json.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'['));
        match &self.end {
            Some(End::TooLong(_)) => return if labelled { Kind::LongJson } else { Kind::Other },
            Some(End::Cut(_)) => return if labelled || structured { Kind::CutJson } else { Kind::Other },
            None if !(labelled || structured) => return Kind::Other,
            None => {}
        }
        match serde_json::from_slice::<IgnoredAny>(json) {
            Ok(IgnoredAny) => Kind::Json,
            Err(error) if error.is_eof() && !json.trim_ascii().is_empty() => Kind::CutJson,
            Err(_) => Kind::Other,
        }
    }

    /// Complete JSON with a JSON content type.
    pub(super) fn is_labelled_json(&self) -> bool {
        self.labelled_json && self.kind() == Kind::Json
    }

    /// The outcome of an answer that is not a success.
    pub(super) fn failure<R>(&self) -> Outcome<R> {
        let error = self.text();
        match (self.status.as_u16(), self.retry_after) {
            (429 | 503, Some(wait)) => Outcome::RetryAfter(error, wait),
            (401 | 407, _) => Outcome::Unauthorised(error),
            (403, _) => Outcome::Forbidden(error),
            (425 | 429 | 501, _) => Outcome::Retry(error),
            // Proxies answer so after they passed the request on.
            (408 | 409 | 500.., _) => Outcome::Unknown(error),
            // These are about the address and the form of all calls.
            (404 | 405 | 406 | 410 | 415 | 421, _) => Outcome::Misdirected { error, unknown: false },
            (400..=499, _) => match self.kind() {
                Kind::Json if self.labelled_json => Outcome::Refused(error),
                Kind::CutJson => Outcome::Unknown(error),
                Kind::Json | Kind::LongJson | Kind::Other => Outcome::Misdirected { error, unknown: false },
            },
            (200..=299, _) => self.not_taken("an answer that the contract does not know"),
            // Never followed.
            _ => Outcome::Misdirected { error, unknown: false },
        }
    }

    /// The outcome of a success whose body cannot be used because of `what`.
    pub(super) fn not_taken<R>(&self, what: &str) -> Outcome<R> {
        let error = format!("{} with {what}: {}", self.status, self.excerpt());
        match self.kind() {
            Kind::Json | Kind::LongJson => Outcome::Broken(error),
            Kind::CutJson => Outcome::Unknown(error),
            Kind::Other => Outcome::Misdirected { error, unknown: true },
        }
    }

    /// Status and body, in one printable line.
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.status, self.excerpt())
    }

    fn excerpt(&self) -> String {
        let text = printable(String::from_utf8_lossy(self.json()).trim(), EXCERPT_LENGTH_MAX);
        match &self.end {
            None => text,
            Some(End::TooLong(length_max)) => format!("more than {length_max} bytes, {text}"),
            Some(End::Cut(why)) => format!("{text} [cut: {why}]"),
        }
    }
}

/// `application/json` or `+json`, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let essence = value.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence == "application/json" || essence.ends_with("+json")
}
