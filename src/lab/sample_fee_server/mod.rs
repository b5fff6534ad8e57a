//! A remote fee server with all its faults, for demos, tests and measurements.
//!
//! It makes a fee for a quote ([`Fee`]) and keeps its promises about idempotency keys, look-ups and voiding, except for
//! the faults in [`Faults`]: it answers late or never, refuses, hangs up before or after the fee was made, and gives
//! answers that cannot be stored, that are cut, or that look like those of an ingress. A fee is made at the end of the
//! latency, even if the client gave up waiting: the case that doubles fees elsewhere.
//!
//! `routes` takes a call, `fault_injector` plans its fault, `connection` carries the plan out, and `book` remembers the
//! fee.

mod answers;
mod book;
mod connection;
mod fault_injector;
mod faults;
mod fee;
mod routes;
#[cfg(test)]
mod tests;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use book::Stats;
pub use faults::Faults;
#[cfg(feature = "lab")]
pub(super) use faults::parse_rate;
pub use fee::{Fee, RATE_BPS};

use super::listener::Listener;
use book::Book;
use connection::Connection;
use fault_injector::FaultInjector;
use traffic::Traffic;

/// How long open calls may take to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running fee server. Dropping it cuts all connections; [`stop`](Self::stop) ends them in order.
pub struct SampleFeeServer {
    inner: Arc<Inner>,
    listener: Listener,
}

/// What the server's tasks share.
struct Inner {
    book: Mutex<Book>,
    injector: FaultInjector,
    traffic: Arc<Traffic>,
    /// All tasks of the server, including fees that are still to be made.
    work: TaskTracker,
    /// Accept no new calls; open calls may end.
    closing: CancellationToken,
}

impl SampleFeeServer {
    /// Listens on `bind` (port 0 takes a free one) and answers calls in the background.
    ///
    /// # Errors
    /// The address cannot be bound.
    #[expect(clippy::unused_async, reason = "it must be called within the runtime, and its signature shall say so")]
    pub async fn start(bind: SocketAddr, faults: Faults) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            book: Mutex::default(),
            injector: FaultInjector::new(faults),
            traffic: Arc::default(),
            work: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        let (serving, work, closing) = (Arc::clone(&inner), inner.work.clone(), inner.closing.clone());
        let listener = Listener::start(bind, work, closing, move |stream, cut| {
            Box::pin(Connection::new(Arc::clone(&serving), cut).serve(stream))
        })?;
        Ok(Self { inner, listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// What `fee_server.base_url` must say to reach it.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The counters that `GET /stats` answers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.book.lock().stats()
    }

    /// Every fee ever made, voided ones included, in creation order.
    #[must_use]
    pub fn fees(&self) -> Vec<Fee> {
        self.inner.book.lock().all()
    }

    /// The fees that were not voided, in creation order.
    #[must_use]
    pub fn fees_in_force(&self) -> Vec<Fee> {
        self.inner.book.lock().in_force()
    }

    /// When each call under `/v1` arrived.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Instant> {
        self.inner.traffic.arrivals()
    }

    /// The most calls under `/v1` that were open at one time.
    #[must_use]
    pub fn open_calls_max(&self) -> usize {
        self.inner.traffic.open_max()
    }

    /// Replaces the faults for later calls, and reseeds.
    pub fn set_faults(&self, faults: Faults) {
        self.inner.injector.change(faults);
    }

    /// Cuts every connection and refuses new ones until [`up`](Self::up). Fees are remembered, and fees of open calls
    /// are still made.
    ///
    /// # Errors
    /// If the port was lost to another process.
    pub async fn down(&self) -> io::Result<()> {
        self.listener.shut().await
    }

    /// Accepts calls again after [`down`](Self::down), on the same port.
    ///
    /// # Errors
    /// If the port was lost to another process.
    pub async fn up(&self) -> io::Result<()> {
        self.listener.open().await
    }

    /// Stops in order, within 5 s: open calls are answered and their fees made; calls that hang are cut.
    pub async fn stop(self) {
        self.inner.closing.cancel();
        self.inner.work.close();
        // Dropping self cuts calls that take longer.
        let _ = tokio::time::timeout(STOP_GRACE, self.inner.work.wait()).await;
    }

    /// Serves until `shutdown` is cancelled, then stops in order.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn run_until(bind: SocketAddr, faults: Faults, shutdown: CancellationToken) -> io::Result<()> {
        let server = Self::start(bind, faults).await?;
        tracing::info!(addr = %server.addr(), "sample fee server started");
        shutdown.cancelled().await;
        server.stop().await;
        Ok(())
    }
}
