//! Receiving bodies, with a budget for all of them.

use std::{ops::RangeInclusive, sync::Arc};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    FieldErrors, Node,
    json::{BODY_BYTES_MAX, check_headers},
    list::parse_list,
};
use crate::{
    http::{
        AppState,
        problem::{Kind, Problem},
    },
    telemetry::metrics,
};

/// Most memory for bodies that have arrived in part or in whole, in KiB.
const ALL_KIB_MAX: usize = 64 * 1024;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How many larger bodies than [`BODY_BYTES_MAX`] are worked on at a time: values take more memory than their text.
const LARGE_MAX: usize = 4;

/// The memory for bodies, shared by all requests.
#[derive(Clone, Debug)]
pub(in crate::http) struct Bodies {
    kib: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The bytes of a body.
#[derive(Debug)]
pub(in crate::http) struct Received {
    pub(super) bytes: Vec<u8>,
    bodies: Bodies,
    _kib: Option<OwnedSemaphorePermit>,
}

/// A JSON body of at most `LIMIT` bytes that is not parsed yet.
#[derive(Debug)]
pub(in crate::http) struct RawJson<const LIMIT: usize>(pub Received);

impl Default for Bodies {
    fn default() -> Self {
        Self { kib: Arc::new(Semaphore::new(ALL_KIB_MAX)), large: Arc::new(Semaphore::new(LARGE_MAX)) }
    }
}

impl<const LIMIT: usize> FromRequest<AppState> for RawJson<LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        receive(request, state, LIMIT).await.map(Self)
    }
}

impl Received {
    /// Reads the object `{"name": […]}`; see [`parse_list`].
    pub fn read_list<T>(
        &self,
        name: &'static str,
        lengths: RangeInclusive<usize>,
        read: impl Fn(&Node<'_>, &mut FieldErrors) -> Option<T>,
    ) -> Result<Vec<T>, Problem> {
        parse_list(&self.bytes, name, lengths, read)
    }

    /// Waits until the body may be worked on; it may until the permit is dropped.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if self.bytes.len() <= BODY_BYTES_MAX {
            return None;
        }
        Arc::clone(&self.bodies.large).acquire_owned().await.ok()
    }
}

/// Receives the body of `request`.
pub(super) async fn receive(request: Request, state: &AppState, limit: usize) -> Result<Received, Problem> {
    let bodies = state.bodies.clone();
    let (mut bytes, mut held) = (Vec::new(), None);
    let length = length(request.headers(), limit)?;
    let body: Body = request.into_body();
    if !body.is_end_stream() {
        bytes.reserve_exact(length);
    }
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Problem::new(Kind::MalformedJson, "the body ended early; send it again"))?;
        if bytes.len() + frame.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&frame);
        bodies.hold(&mut held, bytes.len())?;
    }
    // RFC 8259, section 8.1, lets a reader pass over a byte order mark, and some libraries write one.
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(Received { bytes, bodies, _kib: held })
}

impl Bodies {
    /// Holds as much of the budget as `bytes` need. Nobody waits for others, who may be as slow as they like.
    fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Problem> {
        let needed = bytes.div_ceil(1024);
        let more = needed.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).ok().and_then(|more| Arc::clone(&self.kib).try_acquire_many_owned(more).ok());
        let Some(more) = more else {
            metrics::submission_refused("memory");
            let detail = "too many large requests arrive at the same time; nothing was stored, retry";
            return Err(Problem::new(Kind::Overloaded, detail).retry_after_seconds(1));
        };
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// How much memory to reserve.
fn length(headers: &HeaderMap, limit: usize) -> Result<usize, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length > limit => Err(too_large(limit)),
        // Memory that is reserved costs nothing until bytes come.
        length => Ok(length.unwrap_or(0)),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("the body exceeds the limit of {} KiB", limit / 1024))
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, response::IntoResponse};

    use super::*;

    #[test]
    fn all_bodies_together_have_a_budget_and_nobody_waits_for_it() {
        let bodies = Bodies::default();
        let (mut first, mut second) = (None, None);
        bodies.hold(&mut first, (ALL_KIB_MAX - 10) * 1024).expect("nearly all");
        bodies.hold(&mut second, 9 * 1024 + 1).expect("the rest");
        // It grows no more: refused at once, and told when to come again.
        let refused = bodies.hold(&mut second, 10 * 1024 + 1).expect_err("more than there is");
        assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(bodies.hold(&mut None, 1).is_err());
        drop(first);
        bodies.hold(&mut second, 8 * 1024 * 1024).expect("it is free again");
    }

    #[tokio::test]
    async fn four_large_bodies_are_worked_on_at_a_time_and_small_ones_beside_them() {
        let bodies = Bodies::default();
        let received = |length| Received { bytes: vec![0; length], bodies: bodies.clone(), _kib: None };
        let large = received(BODY_BYTES_MAX + 1);
        let mut turns = Vec::new();
        for _ in 0..LARGE_MAX {
            turns.push(large.turn().await.expect("a turn"));
        }
        assert_eq!(bodies.large.available_permits(), 0);
        assert!(received(BODY_BYTES_MAX).turn().await.is_none(), "it needs no turn");
        turns.pop();
        assert!(large.turn().await.is_some());
    }
}
