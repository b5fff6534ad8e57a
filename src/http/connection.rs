//! What an open connection is doing and since when, so that the server can close those that wait for nothing.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

use crate::telemetry::metrics;

/// A connection that has waited for less is not closed to make room: a request may be on its way.
pub(super) const UNUSED_MAX: Duration = Duration::from_secs(1);
/// To make room, this share of the connections that may be closed is closed at once, the longest idle ones first.
const ROOM_SHARE: usize = 16;

/// How long a client may take. None of these limits concerns the body of a request: its reader has its own.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without reading any of an answer.
    pub write: Duration,
}

impl Default for Timers {
    /// Load balancers close idle connections after a minute at the latest, and must do so before Feebox: otherwise they send
    /// a request on a connection that is being closed.
    fn default() -> Self {
        Self { head: Duration::from_secs(10), idle: Duration::from_secs(90), write: Duration::from_secs(30) }
    }
}

/// The open connections of a server, in the order in which they were opened.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    activities: BTreeMap<u64, Arc<Activity>>,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    close: Notify,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether a request ever came.
    is_used: bool,
    /// Since when the client reads nothing of what is being sent.
    stalled_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request is under way.
    Idle,
    /// The head of a request is being received.
    Head,
    /// A request is being answered.
    Call,
}

/// An open connection; it is forgotten when dropped.
#[derive(Debug)]
pub(super) struct Registered {
    connections: Arc<Connections>,
    id: u64,
    pub activity: Arc<Activity>,
}

impl Connections {
    pub fn register(self: &Arc<Self>) -> Registered {
        let state = State { phase: Phase::Idle, since: Instant::now(), is_used: false, stalled_since: None };
        let activity = Arc::new(Activity { state: Mutex::new(state), close: Notify::new() });
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.activities.insert(id, Arc::clone(&activity));
        Registered { connections: Arc::clone(self), id, activity }
    }

    /// Closes the connections whose client takes longer than `timers` permit.
    pub fn close_overdue(&self, timers: Timers) {
        for activity in self.lock().activities.values() {
            let state = activity.state();
            let limit = match state.phase {
                Phase::Idle => Some((timers.idle, "idle")),
                Phase::Head => Some((timers.head, "head")),
                Phase::Call => None,
            };
            let stalled = state.stalled_since.map(|since| (since, timers.write, "write"));
            let limit = stalled.or_else(|| limit.map(|(limit, why)| (state.since, limit, why)));
            if let Some((since, limit, why)) = limit
                && since.elapsed() >= limit
            {
                activity.close(why);
            }
        }
    }

    /// Closes some of the connections on which no request is being answered, the longest idle ones first.
    pub fn make_room(&self) {
        let open = self.lock();
        let mut idle: Vec<_> = open.activities.values().map(|activity| (activity.state(), activity)).collect();
        idle.retain(|(state, _)| state.phase != Phase::Call && state.stalled_since.is_none());
        idle.retain(|(state, _)| state.since.elapsed() >= UNUSED_MAX);
        idle.sort_by_key(|(state, _)| state.since);
        for (_, activity) in idle.iter().take(idle.len().div_ceil(ROOM_SHARE)) {
            activity.close("room");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

impl Activity {
    /// A request has come.
    pub fn begins(&self) {
        let mut state = self.lock();
        (state.phase, state.since, state.is_used) = (Phase::Call, Instant::now(), true);
    }

    /// Its answer is being sent.
    pub fn answered(&self) {
        let mut state = self.lock();
        (state.phase, state.since) = (Phase::Idle, Instant::now());
    }

    /// Whether a request ever came.
    pub fn is_used(&self) -> bool {
        self.state().is_used
    }

    /// Whether no request came for so long that none is on its way.
    pub fn is_unused_for_long(&self) -> bool {
        let state = self.state();
        !state.is_used && state.since.elapsed() >= UNUSED_MAX
    }

    /// Returns when the connection must be closed.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    fn close(&self, why: &'static str) {
        metrics::connection_closed(why);
        // Not again before it is closed.
        let mut state = self.lock();
        (state.phase, state.stalled_since) = (Phase::Call, None);
        self.close.notify_one();
    }

    fn received(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Idle {
            (state.phase, state.since) = (Phase::Head, Instant::now());
        }
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        let mut state = self.lock();
        match written {
            Poll::Ready(_) => state.stalled_since = None,
            Poll::Pending => {
                state.stalled_since.get_or_insert_with(Instant::now);
            }
        }
    }

    fn state(&self) -> State {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.lock().activities.remove(&self.id);
    }
}

/// A stream that tells its connection's activity what it reads and writes.
#[derive(Debug)]
pub(super) struct Watched {
    pub stream: TcpStream,
    pub activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.activity.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
