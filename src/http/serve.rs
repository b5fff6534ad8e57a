//! The HTTP server: accepting connections and shutting down gracefully.
//!
//! A connection costs a descriptor and memory, so their number is limited. When the limit is reached, idle connections are
//! closed to make room for new ones.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::Router;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::metrics;

/// How long open requests may take to end once the server stops: longer than any of them lasts while it drains.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// How long a client may take to send the head of a request, and how long a connection may be idle. Longer than the minute
/// after which load balancers close idle connections, so that they close first.
const HEAD_LIMIT: Duration = Duration::from_secs(90);
/// When connections run out, one that has been open for this long without a request is closed.
const UNUSED_MAX: Duration = Duration::from_secs(1);
/// Connections of one server, unless the caller says otherwise.
const CONNECTIONS_MAX: usize = 10_000;
/// The pause after an error of the listener, which means that descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often such errors are logged; all are counted.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A listener with a limit on open connections.
#[derive(Clone, Debug)]
pub struct HttpServer {
    listener: Arc<TcpListener>,
    slots: Arc<Semaphore>,
    /// Notifies all connections that the limit is reached.
    full: Arc<Notify>,
}

/// Serves `router` until `drain`; then takes no new requests and returns when the open ones have ended, after 15 s at the
/// latest.
pub async fn serve(listener: TcpListener, router: Router, drain: CancellationToken) {
    HttpServer::new(listener, CONNECTIONS_MAX).serve(router, drain).await;
}

impl HttpServer {
    /// A server that accepts from `listener`, with up to `connections_max` connections at once.
    #[must_use]
    pub fn new(listener: TcpListener, connections_max: usize) -> Self {
        let slots = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Self { listener: Arc::new(listener), slots, full: Arc::default() }
    }

    /// As [`serve`]. May be called again after a panic.
    pub async fn serve(&self, router: Router, drain: CancellationToken) {
        let connections = TaskTracker::new();
        tokio::select! {
            () = drain.cancelled() => {}
            () = self.accept_all(&router, &drain, &connections) => {}
        }
        connections.close();
        if tokio::time::timeout(STOP_GRACE, connections.wait()).await.is_err() {
            tracing::warn!(grace = ?STOP_GRACE, "shut down with requests still open");
        }
    }

    async fn accept_all(&self, router: &Router, drain: &CancellationToken, connections: &TaskTracker) {
        let mut logged: Option<Instant> = None;
        loop {
            let Some(slot) = self.slot().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection { full: Arc::clone(&self.full), drain: drain.clone(), slot };
                    connections.spawn(connection.serve(stream, router.clone()));
                }
                // The client hung up before its connection was accepted.
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    metrics::accept_error();
                    if logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_INTERVAL) {
                        tracing::error!(%error, "failed to accept a connection");
                        logged = Some(Instant::now());
                    }
                    self.full.notify_waiters();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A slot for one more connection. If there is none, idle connections are closed until there is.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if self.slots.available_permits() == 0 {
                self.full.notify_waiters();
            }
            let slot = Arc::clone(&self.slots).acquire_owned();
            if let Ok(slot) = tokio::time::timeout(ACCEPT_PAUSE, slot).await {
                return slot.ok();
            }
        }
    }
}

/// One connection: its slot, and the signals that close it.
struct Connection {
    full: Arc<Notify>,
    drain: CancellationToken,
    slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router) {
        // Small answers must not wait for more. A failure means that the client has hung up already.
        let _ = stream.set_nodelay(true);
        let (opened, used) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let service = TowerToHyperService::new(router);
        let service = service_fn({
            let used = Arc::clone(&used);
            move |request| {
                used.store(true, Ordering::Relaxed);
                hyper::service::Service::call(&service, request)
            }
        });
        let mut http = http1::Builder::new();
        let http = http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut closing = false;
        loop {
            tokio::select! {
                // Errors are the client's: it hung up, or sent something else than HTTP.
                _ = &mut connection => break,
                () = self.drain.cancelled(), if !closing => closing = true,
                // No request came, so nobody waits for an answer.
                () = sleep(UNUSED_MAX), if closing && !used.load(Ordering::Relaxed) => break,
                () = self.full.notified() => {
                    if !used.load(Ordering::Relaxed) && opened.elapsed() >= UNUSED_MAX {
                        break;
                    }
                    closing |= used.load(Ordering::Relaxed);
                }
            }
            if closing {
                // An idle connection is closed now, a busy one after its answer.
                connection.as_mut().graceful_shutdown();
            }
        }
        drop(self.slot);
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
