//! Connections to the fee server: kept while they are young, replaced when in doubt.
//!
//! A kept connection goes where the name pointed when it was made. So that a server that moved is followed, also while calls
//! keep the connection busy, all connections are given up at `fee_server.connection_max_age`, before a probe, and after
//! failures in a row. Running calls keep theirs to their end.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, redirect};
use tower::util::MapResponseLayer;

use super::{FeeServerError, tls::Tls};
use crate::settings;

/// How long an unused connection is kept: less than the five seconds after which common servers close theirs.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// How long sent bytes may stay without an acknowledgement of the peer's kernel.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// Failures in a row after which kept connections are no longer trusted.
const FAILURES_MAX: u32 = 5;

tokio::task_local! {
    /// Whether the call of this task made its own connection.
    static CONNECTED: Cell<bool>;
}

/// Makes clients, each with connections of its own, and hands out one whose connections are young enough.
pub(super) struct Connections {
    builder: Box<dyn Fn() -> ClientBuilder + Send + Sync>,
    kept_max: usize,
    max_age: Duration,
    pool: Mutex<Pool>,
    failures: AtomicU32,
}

struct Pool {
    client: Client,
    /// Keeps no connection.
    fresh: Client,
    since: Instant,
}

impl Connections {
    /// Keeps up to `kept_max` connections.
    pub(super) fn new(settings: &settings::FeeServer, kept_max: usize) -> Result<Self, FeeServerError> {
        let tls = Tls::new(settings)?;
        let (timeout, connect_timeout) = (settings.timeout, settings.connect_timeout);
        let builder = move || {
            let builder = Client::builder()
                .tls_backend_preconfigured(tls.current())
                .timeout(timeout)
                .connect_timeout(connect_timeout)
                .redirect(redirect::Policy::none())
                .pool_idle_timeout(IDLE_MAX)
                .no_proxy()
                .tcp_nodelay(true)
                .connector_layer(MapResponseLayer::new(noted))
                .user_agent(concat!("feebox/", env!("CARGO_PKG_VERSION")));
            #[cfg(target_os = "linux")]
            let builder = builder.tcp_user_timeout(ACKNOWLEDGED_WITHIN);
            builder
        };
        Ok(Self::by(builder, kept_max, settings.connection_max_age)?)
    }

    fn by(
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
        kept_max: usize,
        max_age: Duration,
    ) -> reqwest::Result<Self> {
        let fresh = builder().pool_max_idle_per_host(0).build()?;
        let client = builder().pool_max_idle_per_host(kept_max).build()?;
        let pool = Mutex::new(Pool { client, fresh, since: Instant::now() });
        Ok(Self { builder: Box::new(builder), kept_max, max_age, pool, failures: AtomicU32::new(0) })
    }

    /// A client whose connections are younger than `fee_server.connection_max_age`.
    pub(super) fn kept(&self) -> Client {
        self.young().client.clone()
    }

    /// A client that makes a connection for each call.
    pub(super) fn fresh(&self) -> Client {
        self.young().fresh.clone()
    }

    fn young(&self) -> MutexGuard<'_, Pool> {
        let mut pool = self.pool.lock();
        if pool.since.elapsed() >= self.max_age {
            self.renew(&mut pool);
        }
        pool
    }

    /// Gives up the connections that are kept.
    pub(super) fn give_up(&self) {
        self.renew(&mut self.pool.lock());
    }

    /// Counts failures: after some in a row the connections are given up.
    pub(super) fn learn(&self, failed: bool) {
        if !failed {
            self.failures.store(0, Ordering::Relaxed);
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_MAX {
            self.failures.store(0, Ordering::Relaxed);
            self.give_up();
        }
    }

    fn renew(&self, pool: &mut Pool) {
        let client = (self.builder)().pool_max_idle_per_host(self.kept_max).build();
        let fresh = (self.builder)().pool_max_idle_per_host(0).build();
        match client.and_then(|client| Ok((client, fresh?))) {
            Ok((client, fresh)) => (pool.client, pool.fresh) = (client, fresh),
            Err(error) => tracing::warn!(%error, "connections to the fee server could not be renewed"),
        }
        pool.since = Instant::now();
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

/// Sends `request`; returns the answer, and whether the call made its own connection. Otherwise the connection had been
/// used before, and may have died before the request reached it.
pub(super) async fn send(request: RequestBuilder) -> (reqwest::Result<Response>, bool) {
    let sending = async {
        let answer = request.send().await;
        (answer, CONNECTED.with(Cell::get))
    };
    CONNECTED.scope(Cell::new(false), sending).await
}

/// Called with each connection that was made, within the call that waited for it. One that comes too late for its own call
/// is finished in a task of the client, and serves others.
fn noted<T>(connection: T) -> T {
    let _ = CONNECTED.try_with(|connected| connected.set(true));
    connection
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{Arc, atomic::AtomicUsize},
    };

    use reqwest::dns::{Addrs, Name, Resolve, Resolving};

    use super::*;
    use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

    /// Knows one name, and where it points now.
    #[derive(Clone, Default)]
    struct Names {
        points_to: Arc<Mutex<Option<SocketAddr>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Resolve for Names {
        fn resolve(&self, _: Name) -> Resolving {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let addrs: Addrs = Box::new(self.points_to.lock().into_iter());
            Box::pin(std::future::ready(Ok(addrs)))
        }
    }

    impl Names {
        fn point_to(&self, server: &SampleFeeServer) {
            *self.points_to.lock() = Some(server.addr());
        }

        fn connections(&self, max_age: Duration) -> Connections {
            let names = self.clone();
            let builder = move || {
                Client::builder().dns_resolver(names.clone()).connector_layer(MapResponseLayer::new(noted)).no_proxy()
            };
            Connections::by(builder, 8, max_age).expect("clients")
        }
    }

    async fn server() -> SampleFeeServer {
        let _ = rustls::crypto::ring::default_provider().install_default();
        SampleFeeServer::start(([127, 0, 0, 1], 0).into(), Faults::default()).await.expect("a free port")
    }

    async fn call(client: &Client) -> bool {
        let (answer, own) = send(client.get("http://fees.test/v1/fees")).await;
        assert!(answer.expect("answered").text().await.expect("a list").contains("fees"));
        own
    }

    #[tokio::test]
    async fn a_server_that_moved_is_followed_although_calls_keep_the_old_connection_busy() {
        let (old, new, names) = (server().await, server().await, Names::default());
        names.point_to(&old);
        let connections = names.connections(Duration::from_millis(300));
        call(&connections.kept()).await;
        names.point_to(&new);
        let moved = Instant::now();
        while new.arrivals().is_empty() {
            call(&connections.kept()).await;
            assert!(moved.elapsed() < Duration::from_secs(10), "never followed");
        }
        assert!(moved.elapsed() >= Duration::from_millis(100), "the old connection was kept for a while");
        assert!(old.arrivals().len() > 1);
    }

    #[tokio::test]
    async fn a_call_knows_whether_its_connection_had_been_used() {
        let (server, names) = (server().await, Names::default());
        names.point_to(&server);
        let connections = names.connections(Duration::from_hours(1));
        assert!(call(&connections.kept()).await, "the first call connects");
        assert!(!call(&connections.kept()).await, "the second one finds its connection");
        assert!(call(&connections.fresh()).await && call(&connections.fresh()).await, "none of these is kept");
        connections.give_up();
        assert!(call(&connections.kept()).await, "nothing is left of what was given up");
        assert_eq!(names.asked.load(Ordering::Relaxed), 4, "each connection asks where the name points");
    }

    #[tokio::test]
    async fn failures_in_a_row_give_the_connections_up() {
        let (server, names) = (server().await, Names::default());
        names.point_to(&server);
        let connections = names.connections(Duration::from_hours(1));
        call(&connections.kept()).await;
        for failed in [true, true, true, true, false, true, true, true, true] {
            connections.learn(failed);
        }
        assert!(!call(&connections.kept()).await, "four in a row are none");
        connections.learn(true);
        assert!(call(&connections.kept()).await);
    }
}
