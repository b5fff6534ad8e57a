//! The door: bytes in, problem+json out.
//!
//! A call passes `edge` (its trace, its time limit, what is said of a panic), `access` (who calls, and may they), `input`
//! (bytes become parts that can't be wrong, or every fault at once) and its route. Whatever is refused leaves as a
//! `problem`. There is no SQL here, and no table's type in a body.

mod access;
mod actions;
mod cursor;
mod dashboard;
mod destinations;
mod docs;
mod edge;
mod health;
mod input;
mod outbox;
mod problem;
mod quotes;
mod reason;
mod serve;

use std::time::Duration;

use axum::{
    Router,
    extract::FromRef,
    middleware::{from_fn, from_fn_with_state},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    database::Database,
    settings,
    submission::Submission,
    supervision::Health,
    wakeup::Wakeup,
    worker::{Signal, Signals},
};

use access::Access;
pub use docs::openapi;
pub use serve::{Door, serve};

/// How long a call may take, apart from `?wait=`.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// From which age on a pending quote is told of, unless the sweeper's settings say otherwise.
const STALE_AFTER_DEFAULT: Duration = Duration::from_hours(24);

/// What the routes need.
#[derive(Clone)]
pub struct AppState {
    submission: Submission,
    db: Database,
    access: Access,
    metrics: PrometheusHandle,
    settled: Signal,
    wakeup: Wakeup,
    drain: CancellationToken,
    stale_after: Duration,
    health: Health,
}

/// What the health of a process is told from.
#[derive(Clone)]
struct Vitals {
    db: Database,
    health: Health,
    metrics: PrometheusHandle,
}

impl AppState {
    /// The state of an API whose quotes go to `submission` and are read from `db`. When `signals` tell that a worker of
    /// this process settled something, whoever waits for a quote looks at once; else every now and then. Waiting ends
    /// early when they tell to drain.
    #[must_use]
    pub fn new(
        submission: Submission,
        db: Database,
        access: &settings::Access,
        metrics: PrometheusHandle,
        signals: &Signals,
    ) -> Self {
        let (settled, drain) = (signals.settled.clone(), signals.drain.clone());
        let (access, wakeup, health) = (Access::new(access), Wakeup::default(), Health::default());
        Self { submission, db, access, metrics, settled, wakeup, drain, stale_after: STALE_AFTER_DEFAULT, health }
    }

    /// The same, where pending quotes of this age are told of.
    #[must_use]
    pub fn with_stale_after(self, stale_after: Duration) -> Self {
        Self { stale_after, ..self }
    }

    /// The same, whose health is that of these tasks, too.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// The same, where operators' calls wake workers.
    #[must_use]
    pub fn with_wakeup(self, wakeup: Wakeup) -> Self {
        Self { wakeup, ..self }
    }
}

impl FromRef<AppState> for Vitals {
    fn from_ref(state: &AppState) -> Self {
        Self { db: state.db.clone(), health: state.health.clone(), metrics: state.metrics.clone() }
    }
}

/// Everything that `feebox serve` answers.
pub fn router(state: AppState) -> Router {
    let (routes, _) = routes().split_for_parts();
    let routes = routes
        .merge(docs::routes())
        .merge(dashboard::routes())
        .layer(from_fn_with_state(state.access.clone(), access::identify));
    with_edge(routes.with_state(state))
}

/// What `feebox worker` answers: its health and its metrics.
pub fn worker_router(db: Database, metrics: PrometheusHandle, health: Health) -> Router {
    let (routes, _) = health::routes().split_for_parts();
    with_edge(routes.with_state(Vitals { db, health, metrics }))
}

/// All routes that the `OpenAPI` document names; each declares its path once, for both.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(quotes::routes())
        .merge(outbox::routes())
        .merge(destinations::routes())
        .merge(actions::routes())
        .merge(health::routes())
}

/// Puts around all routes what every call passes, also one that no route takes. The last layer is the outermost.
fn with_edge(routes: Router) -> Router {
    routes
        .fallback(problem::unknown_route)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(CatchPanicLayer::custom(edge::panicked))
        .layer(from_fn(edge::observe))
        .layer(from_fn(edge::harden))
}
