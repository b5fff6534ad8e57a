//! Listening, and stopping in good order.
//!
//! A connection costs a descriptor and memory, so there is a limit to them. When it is reached, whoever holds one without
//! using it gives it up: a call is answered as long as any connection is idle.

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

/// How long open calls may take to end once the server stops: longer than any of them lasts while it drains.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// How long a client may take to send the head of a call, and a connection be idle: longer than the minute after which
/// balancers close theirs, which are to be the first.
const HEAD_LIMIT: Duration = Duration::from_secs(90);
/// When connections run out, one on which nothing was asked for so long is closed.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// Connections of one server, unless the caller says otherwise.
const CONNECTIONS_MAX: usize = 10_000;
/// The pause after an error of the listener, which has run out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often such errors are logged; all are counted.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where HTTP is served, and to how many at once.
#[derive(Clone, Debug)]
pub struct Door {
    listener: Arc<TcpListener>,
    places: Arc<Semaphore>,
    /// Told to all connections when there is no place left.
    crowded: Arc<Notify>,
}

/// Serves `router` until `drain`; then takes no new calls and returns when the open ones have ended, after 15 s at the
/// latest.
pub async fn serve(listener: TcpListener, router: Router, drain: CancellationToken) {
    Door::new(listener, CONNECTIONS_MAX).serve(router, drain).await;
}

impl Door {
    /// Up to `connections_max` connections at once, of those that `listener` brings.
    #[must_use]
    pub fn new(listener: TcpListener, connections_max: usize) -> Self {
        let places = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Self { listener: Arc::new(listener), places, crowded: Arc::default() }
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
            tracing::warn!(grace = ?STOP_GRACE, "some calls did not end in time and are left behind");
        }
    }

    async fn accept_all(&self, router: &Router, drain: &CancellationToken, connections: &TaskTracker) {
        let mut logged: Option<Instant> = None;
        loop {
            let Some(place) = self.place().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection { crowded: Arc::clone(&self.crowded), drain: drain.clone(), place };
                    connections.spawn(connection.serve(stream, router.clone()));
                }
                // The client was gone before its turn came.
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    metrics::accept_error();
                    if logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_INTERVAL) {
                        tracing::error!(%error, "connections cannot be accepted");
                        logged = Some(Instant::now());
                    }
                    self.crowded.notify_waiters();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more connection. If there is none, idle ones are closed until there is.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            self.crowded_if_full();
            let place = Arc::clone(&self.places).acquire_owned();
            if let Ok(place) = tokio::time::timeout(ACCEPT_PAUSE, place).await {
                return place.ok();
            }
        }
    }

    fn crowded_if_full(&self) {
        if self.places.available_permits() == 0 {
            self.crowded.notify_waiters();
        }
    }
}

/// What a connection knows of the others.
struct Connection {
    crowded: Arc<Notify>,
    drain: CancellationToken,
    place: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router) {
        // Small answers are not to wait for more. A failure would mean that the client is gone already.
        let _ = stream.set_nodelay(true);
        let (begun, asked) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let service = TowerToHyperService::new(router);
        let service = service_fn({
            let asked = Arc::clone(&asked);
            move |request| {
                asked.store(true, Ordering::Relaxed);
                hyper::service::Service::call(&service, request)
            }
        });
        let mut http = http1::Builder::new();
        let http = http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut closing = false;
        loop {
            tokio::select! {
                // Errors are the client's: it hung up, or sent no HTTP, and was answered as far as that goes.
                _ = &mut connection => break,
                () = self.drain.cancelled(), if !closing => closing = true,
                // Nothing was asked on it, so nobody waits for an answer.
                () = sleep(SILENT_MAX), if closing && !asked.load(Ordering::Relaxed) => break,
                () = self.crowded.notified() => {
                    if !asked.load(Ordering::Relaxed) && begun.elapsed() >= SILENT_MAX {
                        break;
                    }
                    closing |= asked.load(Ordering::Relaxed);
                }
            }
            if closing {
                // An idle connection is closed now, a busy one after its answer.
                connection.as_mut().graceful_shutdown();
            }
        }
        drop(self.place);
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
