//! The HTTP server: accepting connections, and ending in good order.
//!
//! A connection costs a descriptor and memory, so their number is limited. When the limit is reached, connections on which no
//! request is being answered are closed to make room. If all are busy, some more are accepted for health checks alone.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::{Connections, Registered, Timers, Watched},
    edge, forwarded,
    problem::{Kind, Problem},
};
use crate::{settings::Network, telemetry::metrics};

/// How long open requests may take to end once the server stops: longer than any of them lasts while it drains.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// Connections of one server, unless the caller says otherwise.
const CONNECTIONS_MAX: usize = 10_000;
/// Connections beyond the limit, on which health checks and metrics are answered and nothing else.
pub(crate) const SPARE_MAX: usize = 8;
/// How often connections are checked for overdue clients.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a connection that is to be closed is checked.
const CLOSE_INTERVAL: Duration = Duration::from_millis(50);
/// The pause after an error of the listener, which means that descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often such errors are logged; all are counted.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Who calls. Handlers find it in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub IpAddr);

/// A listener with a limit on open connections.
#[derive(Clone, Debug)]
pub struct HttpServer {
    listener: Arc<std::sync::Mutex<Option<Arc<TcpListener>>>>,
    slots: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    connections: Arc<Connections>,
    timers: Timers,
    leaving: CancellationToken,
    proxies: Arc<[Network]>,
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
        let spare = Arc::new(Semaphore::new(SPARE_MAX));
        let listener = Arc::new(std::sync::Mutex::new(Some(Arc::new(listener))));
        let (connections, leaving) = (Arc::default(), CancellationToken::new());
        Self { listener, slots, spare, connections, timers: Timers::default(), leaving, proxies: Arc::default() }
    }

    /// The same with other limits for clients.
    #[must_use]
    pub fn with_timers(self, timers: Timers) -> Self {
        Self { timers, ..self }
    }

    /// The same; from `leaving` on, each answer asks its client to close the connection.
    #[must_use]
    pub fn leaving_by(self, leaving: CancellationToken) -> Self {
        Self { leaving, ..self }
    }

    /// The same behind these reverse proxies, whose word about the client's address is taken.
    #[must_use]
    pub fn behind(self, proxies: &[Network]) -> Self {
        Self { proxies: proxies.into(), ..self }
    }

    /// As [`serve`]. May be called again after a panic.
    pub async fn serve(&self, router: Router, drain: CancellationToken) {
        let Some(listener) = self.lock().clone() else { return };
        let tasks = TaskTracker::new();
        tokio::select! {
            () = drain.cancelled() => {}
            () = self.accept_all(&listener, &router, &drain, &tasks) => {}
            () = self.close_overdue() => {}
        }
        // Who has connected before the port closes is served. The listener itself is asked: a busy runtime learns of new connections late.
        self.lock().take();
        if let Some(listener) = Arc::into_inner(listener).and_then(|it| it.into_std().ok()) {
            self.accept_last(&listener, &router, &drain, &tasks);
        }
        tasks.close();
        let ended = tokio::time::timeout(STOP_GRACE, tasks.wait());
        tokio::select! {
            ended = ended => if ended.is_err() {
                tracing::warn!(grace = ?STOP_GRACE, "shut down with requests still open");
            },
            () = self.close_overdue() => {}
        }
    }

    async fn accept_all(
        &self,
        listener: &TcpListener,
        router: &Router,
        drain: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let mut logged: Option<Instant> = None;
        loop {
            let slot = self.slot().await;
            match listener.accept().await {
                Ok((stream, peer)) => self.open(stream, peer, slot, router, drain, tasks),
                // The client hung up before its connection was accepted.
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    metrics::accept_error();
                    if logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_INTERVAL) {
                        tracing::error!(%error, "failed to accept a connection");
                        logged = Some(Instant::now());
                    }
                    self.connections.make_room();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Opens the connections that wait to be accepted.
    fn accept_last(
        &self,
        listener: &std::net::TcpListener,
        router: &Router,
        drain: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let Some(slot) = self.free_slot() else { return };
                    let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                    if let Ok(stream) = stream {
                        self.open(stream, peer, slot, router, drain, tasks);
                    }
                }
                Err(error) if concerns_one_client(&error) => {}
                // There is none.
                Err(_) => return,
            }
        }
    }

    /// A slot for one more connection. If there is none, idle connections are closed until there is.
    async fn slot(&self) -> Slot {
        loop {
            if let Some(slot) = self.free_slot() {
                return slot;
            }
            self.connections.make_room();
            let slot = tokio::time::timeout(ACCEPT_PAUSE, Arc::clone(&self.slots).acquire_owned()).await;
            if let Ok(Ok(permit)) = slot {
                return Slot { _permit: permit, is_spare: false };
            }
            if let Ok(permit) = Arc::clone(&self.spare).try_acquire_owned() {
                return Slot { _permit: permit, is_spare: true };
            }
        }
    }

    fn free_slot(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Slot { _permit: permit, is_spare: false })
    }

    fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        slot: Slot,
        router: &Router,
        drain: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let registered = self.connections.register();
        let (drain, leaving) = (drain.clone(), self.leaving.clone());
        let proxies = Arc::clone(&self.proxies);
        let connection = Connection { peer, drain, leaving, slot, registered, proxies };
        tasks.spawn(connection.serve(stream, router.clone()));
    }

    /// Closes connections of overdue clients; never returns.
    async fn close_overdue(&self) {
        let mut checks = interval(CHECK_INTERVAL.min(self.timers.head));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            checks.tick().await;
            self.connections.close_overdue(self.timers);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<TcpListener>>> {
        self.listener.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The right to hold a connection open.
#[derive(Debug)]
struct Slot {
    _permit: OwnedSemaphorePermit,
    /// It is beyond the limit.
    is_spare: bool,
}

/// One connection: its slot, and the signals that close it.
struct Connection {
    peer: SocketAddr,
    drain: CancellationToken,
    leaving: CancellationToken,
    slot: Slot,
    registered: Registered,
    proxies: Arc<[Network]>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router) {
        // Small answers must not wait for more. A failure means that the client has hung up already.
        let _ = stream.set_nodelay(true);
        let activity = &self.registered.activity;
        let router = TowerToHyperService::new(router);
        let service = service_fn(|request| self.answer(request, &router));
        let watched = Watched { stream, activity: Arc::clone(activity) };
        let mut http = http1::Builder::new();
        // The activity's timers replace it: this one would treat an idle connection like half a head.
        let http = http.header_read_timeout(None);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(watched), service));
        let mut is_closing = false;
        loop {
            tokio::select! {
                // Errors are the client's: it hung up, or sent something else than HTTP.
                _ = &mut connection => return,
                () = activity.closed() => return,
                () = self.drain.cancelled(), if !is_closing => is_closing = true,
                () = sleep(CLOSE_INTERVAL), if is_closing => {
                    // No request came, so nobody waits for an answer.
                    if activity.is_unused_for_long() {
                        return;
                    }
                }
            }
            if is_closing && activity.is_used() {
                // An idle connection is closed now, a busy one after its answer.
                connection.as_mut().graceful_shutdown();
            }
        }
    }

    fn answer(
        &self,
        mut request: hyper::Request<Incoming>,
        router: &TowerToHyperService<Router>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let activity = Arc::clone(&self.registered.activity);
        activity.begins();
        let is_spare = self.slot.is_spare;
        let is_served = !is_spare || edge::is_quiet(request.uri().path());
        let client = forwarded::client(self.peer, request.headers(), &self.proxies);
        request.extensions_mut().insert(Client(client));
        edge::with_plain_colons(request.uri_mut());
        let answer = is_served.then(|| hyper::service::Service::call(router, request.map(axum::body::Body::new)));
        let leaving = self.leaving.clone();
        async move {
            let mut answer = match answer {
                Some(answer) => answer.await?,
                None => too_many_connections(),
            };
            activity.answered();
            if is_spare || leaving.is_cancelled() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
    }
}

fn too_many_connections() -> Response {
    Problem::new(Kind::Overloaded, "too many connections are busy; retry the request")
        .retry_after_seconds(1)
        .into_response()
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
