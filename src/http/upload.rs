//! The body of a request while it arrives: its progress, and what is left of it once the request is answered.
//!
//! Many clients read the answer only after they have sent everything. If a request is refused before its body was read, the rest
//! is received and discarded, within limits: otherwise the client would see a connection reset instead of the answer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::header,
    response::Response,
};
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};

/// Most bytes of a body that are discarded after the answer.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);
/// The longest pause in a body.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long any body may take.
const GRACE: Duration = Duration::from_secs(30);
/// Beyond that a body must have arrived at this rate: far below any real network, and far above a client that sends a byte now
/// and then to hold its place.
const BYTES_PER_SECOND_MIN: u32 = 4 * 1024;

/// A body that is arriving, shared by its reader, the time limit of its request, and what discards the rest of it.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    body: Option<Body>,
    begun: Instant,
    /// When the last part of it came.
    progress: Instant,
    bytes: usize,
    /// Whether its reader ever asked for it.
    is_read: bool,
    /// Whether its reader waits for more.
    is_awaited: bool,
}

/// What the reader of a body gets.
struct Reader(Upload);

/// Gives the request's body to its reader, and discards what that leaves.
pub(super) async fn receive(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    if request.body().is_end_stream() {
        return next(request).await;
    }
    // A client that asks first sends nothing if the answer comes without its body having been asked for.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (mut parts, body) = request.into_parts();
    let upload = Upload::new(body);
    parts.extensions.insert(upload.clone());
    let answer = next(Request::from_parts(parts, Body::new(Reader(upload.clone())))).await;
    upload.discard_rest(asks_first);
    answer
}

impl Upload {
    fn new(body: Body) -> Self {
        let now = Instant::now();
        let state = State { body: Some(body), begun: now, progress: now, bytes: 0, is_read: false, is_awaited: false };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Whether the body's reader waits for more of it.
    pub fn is_awaited(&self) -> bool {
        self.lock().is_awaited
    }

    /// By when more must have come, or, if nothing is awaited, by when a request of at most `limit` must be answered: the time
    /// that the body took to arrive does not count.
    pub fn deadline(&self, limit: Duration) -> Instant {
        let state = self.lock();
        if !state.is_awaited {
            return state.progress + limit;
        }
        let bytes = u32::try_from(state.bytes).unwrap_or(u32::MAX);
        let for_all = GRACE + Duration::from_secs(1) * (bytes / BYTES_PER_SECOND_MIN);
        (state.progress + PAUSE_MAX).min(state.begun + for_all)
    }

    fn discard_rest(self, asks_first: bool) {
        let mut state = self.lock();
        let is_wanted = state.is_read || !asks_first;
        // A client that was too slow is not waited for.
        let Some(body) = state.body.take().filter(|body| is_wanted && !state.is_awaited && !body.is_end_stream())
        else {
            return;
        };
        tokio::spawn(tokio::time::timeout(DISCARD_LIMIT, async move {
            let (mut frames, mut left) = (body.into_data_stream(), DISCARDED_BYTES_MAX);
            while let Some(Ok(frame)) = frames.next().await {
                let Some(rest) = left.checked_sub(frame.len()) else { break };
                left = rest;
            }
        }));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.0.lock();
        let State { body: Some(body), .. } = &mut *state else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        state.is_read = true;
        state.is_awaited = frame.is_pending();
        if let Poll::Ready(frame) = &frame {
            state.progress = Instant::now();
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            state.bytes += data.map_or(0, Bytes::len);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.as_ref().map_or_else(SizeHint::new, HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_trickles_ends_after_its_grace_and_one_at_the_least_rate_goes_on() {
        let upload = Upload::new(Body::empty());
        let deadline = |seconds: u32, bytes_per_second: u32| {
            let mut state = upload.lock();
            state.begun = state.progress.checked_sub(Duration::from_secs(1) * seconds).expect("a time");
            state.bytes = (seconds * bytes_per_second) as usize;
            state.is_awaited = true;
            let last = state.progress;
            drop(state);
            upload.deadline(Duration::from_secs(1)).saturating_duration_since(last)
        };
        let ended = Duration::ZERO;
        for (seconds, bytes_per_second, left) in [
            // A byte a second holds its place for the grace, a pause at most at a time.
            (1, 1, PAUSE_MAX),
            (29, 1, Duration::from_secs(1)),
            (30, 1, ended),
            // Not even at the end of a batch is half the rate enough.
            (600, BYTES_PER_SECOND_MIN / 2, ended),
            (600, BYTES_PER_SECOND_MIN, PAUSE_MAX),
        ] {
            assert_eq!(deadline(seconds, bytes_per_second), left, "{seconds} s at {bytes_per_second} bytes a second");
        }
    }
}
