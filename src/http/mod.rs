//! The HTTP API: bytes in, problem+json out.
//!
//! `serve` accepts connections and closes those that are idle or too slow. A request passes `upload` (its body arrives, and what
//! nobody read is discarded), `edge` (trace, time limit, panics), `access` (authentication, permissions), `admission` (no more
//! submissions than the database stores) and `input` (bytes become valid values, or all errors at once) on its way to its route.
//! Every refusal is a `problem`. There is no SQL here, and no entity in a body.

mod access;
mod actions;
mod admission;
mod allowance;
mod audit;
mod caller;
mod connection;
mod cursor;
mod dashboard;
mod destinations;
mod docs;
mod edge;
mod forwarded;
mod health;
mod input;
mod outbox;
mod problem;
mod quotes;
mod readiness;
mod reason;
mod refusal;
mod serve;
mod session;
mod settings;
mod stale;
mod upload;
mod workers;

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{FromRef, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    database::{Database, StaleReads},
    settings::{Access as AccessSettings, Settings},
    submission::Submission,
    supervision::Health,
    wakeup::Wakeup,
    worker::{Signal, Signals},
};

pub(crate) use access::ANONYMOUS;
use access::{Access, Permission};
use admission::Admission;
pub use connection::Timers;
pub use docs::openapi;
use health::Scrapes;
use input::Bodies;
pub use readiness::Readiness;
pub(crate) use serve::SPARE_MAX;
pub use serve::{HttpServer, serve};

/// How long a request may take, apart from `?wait=`.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Age from which a pending quote is stale, unless the sweeper's settings say otherwise.
const STALE_AFTER_DEFAULT: Duration = Duration::from_hours(24);

/// What the routes need. A clone, of which each request takes several, costs nothing.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// What it consists of.
#[derive(Clone)]
pub struct Parts {
    submission: Submission,
    /// For operators.
    db: Database,
    /// For readers, however many there are.
    reads: Database,
    /// For those whose answers may be stale.
    stale_reads: StaleReads,
    /// For metrics.
    scrapes: Scrapes,
    access: Access,
    metrics: PrometheusHandle,
    has_metrics: bool,
    settled: Signal,
    wakeup: Wakeup,
    drain: CancellationToken,
    stale_after: Duration,
    trace_link: Option<String>,
    health: Health,
    readiness: Readiness,
    admission: Admission,
    bodies: Bodies,
    own: settings::Own,
}

/// What the health routes need.
#[derive(Clone)]
struct HealthState {
    scrapes: Scrapes,
    health: Health,
    readiness: Readiness,
    /// `None` where metrics have a port of their own.
    metrics: Option<PrometheusHandle>,
}

impl AppState {
    /// The state of an API that submits quotes to `submission` and reads them from `db`. A request that waits for a quote
    /// polls the database. `signals.settled` makes it poll at once, and `signals.drain` ends the wait.
    #[must_use]
    pub fn new(
        submission: Submission,
        db: Database,
        access: &AccessSettings,
        metrics: PrometheusHandle,
        signals: &Signals,
    ) -> Self {
        let (settled, drain) = (signals.settled.clone(), signals.drain.clone());
        let readiness = Readiness::new(db.clone());
        let scrapes = Scrapes::of(&db);
        let reads = db.share((db.sessions_max() / 4).max(1));
        Self(Arc::new(Parts {
            submission,
            stale_reads: StaleReads::of(&db),
            db,
            reads,
            scrapes,
            access: Access::new(access),
            metrics,
            has_metrics: true,
            settled,
            wakeup: Wakeup::default(),
            drain,
            stale_after: STALE_AFTER_DEFAULT,
            trace_link: None,
            health: Health::default(),
            readiness,
            admission: Admission::default(),
            bodies: Bodies::default(),
            own: settings::Own::default(),
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// What `/readyz` answers. The caller must have it kept ([`Readiness::keep`]).
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// The same, with this age from which a pending quote is stale.
    #[must_use]
    pub fn with_stale_after(self, stale_after: Duration) -> Self {
        self.with(|parts| parts.stale_after = stale_after)
    }

    /// The same, with the link to a trace of `traces.link`.
    #[must_use]
    pub fn with_trace_link(self, link: Option<String>) -> Self {
        self.with(|parts| parts.trace_link = link)
    }

    /// The same, with what may be stale read there.
    #[must_use]
    pub fn with_stale_reads(self, stale_reads: StaleReads) -> Self {
        self.with(|parts| parts.stale_reads = stale_reads)
    }

    /// The same without a limit on submissions: for strategies whose submissions wait for more than the database.
    #[must_use]
    pub fn with_unlimited_submissions(self) -> Self {
        self.with(|parts| parts.admission = Admission::unlimited())
    }

    /// The same without `/metrics`, which has a port of its own.
    #[must_use]
    pub fn without_metrics(self) -> Self {
        self.with(|parts| parts.has_metrics = false)
    }

    /// The same, with the health of these tasks.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        self.with(|parts| parts.health = health)
    }

    /// The same of a process with this name and these settings, which it shows to operators.
    #[must_use]
    pub fn with_settings(self, process: &str, settings: &Settings) -> Self {
        let own = settings::Own { process: process.to_owned(), settings: Arc::new(settings.redacted().clone()) };
        self.with(|parts| parts.own = own)
    }

    /// The same, with operator actions waking workers.
    #[must_use]
    pub fn with_wakeup(self, wakeup: Wakeup) -> Self {
        self.with(|parts| parts.wakeup = wakeup)
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<AppState> for HealthState {
    fn from_ref(state: &AppState) -> Self {
        Self {
            scrapes: state.scrapes.clone(),
            health: state.health.clone(),
            readiness: state.readiness.clone(),
            metrics: state.has_metrics.then(|| state.metrics.clone()),
        }
    }
}

/// The routes of `feebox serve`.
pub fn router(state: AppState) -> Router {
    let (api, _) = routes().split_for_parts();
    let questions = with_fallbacks(api.clone().with_state(state.clone()));
    let questions = dashboard::Questions::of(questions.layer(from_fn_with_state(Some(state.clone()), observed)));
    let dashboard = dashboard::routes().layer(Extension(questions));
    let routes = api.merge(docs::routes()).merge(dashboard).merge(session::routes());
    with_edge(routes.with_state(state.clone()), Some(state))
}

/// The routes of `feebox worker`, health and metrics; and what `/readyz` answers, which the caller must have kept.
pub fn worker_router(db: &Database, metrics: PrometheusHandle, health: Health) -> (Router, Readiness) {
    let (routes, _) = health::routes().split_for_parts();
    let readiness = Readiness::new(db.clone());
    let metrics = Some(metrics);
    let state = HealthState { scrapes: Scrapes::of(db), health, readiness: readiness.clone(), metrics };
    (with_edge(routes.with_state(state), None), readiness)
}

/// All routes in the OpenAPI document.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(quotes::routes())
        .merge(outbox::routes())
        .merge(destinations::routes())
        .merge(actions::routes())
        .merge(workers::routes())
        .merge(settings::routes())
        .merge(audit::routes())
        .merge(caller::routes())
        .merge(health::routes())
}

/// `routes` for callers with `permission`; a request may take as long as `limit`.
fn guarded(routes: OpenApiRouter<AppState>, permission: Permission, limit: Duration) -> OpenApiRouter<AppState> {
    routes.route_layer(from_fn_with_state((permission, limit), guard))
}

async fn guard(State((permission, limit)): State<(Permission, Duration)>, request: Request, next: Next) -> Response {
    edge::limit(limit, request, async |request| {
        access::require(permission, request, async |it| next.run(it).await).await
    })
    .await
}

/// The same of routes whose answers may be stale.
fn guarded_stale(routes: OpenApiRouter<AppState>, permission: Permission) -> OpenApiRouter<AppState> {
    guarded(routes.route_layer(from_fn(stale::may_be_stale)), permission, TIME_LIMIT)
}

/// Adds the fallbacks, and what each request passes. It is one layer: for each request axum copies all that lies below a layer,
/// which with ten of them took a third of a submission's processor time.
fn with_edge(routes: Router, state: Option<AppState>) -> Router {
    with_fallbacks(routes).layer(from_fn_with_state(state, pass))
}

fn with_fallbacks(routes: Router) -> Router {
    routes.fallback(problem::unknown_route).method_not_allowed_fallback(problem::wrong_method)
}

/// Takes a request to its route, and its answer back. A worker, which has no `state`, asks nobody for a token.
async fn pass(state: State<Option<AppState>>, request: Request, next: Next) -> Response {
    upload::receive(request, async |request| edge::harden(request, async |it| observed(state, it, next).await).await)
        .await
}

/// The same for a request of our own: counts and logs what becomes of it.
async fn observed(State(state): State<Option<AppState>>, request: Request, next: Next) -> Response {
    edge::observe(request, async |mut request| {
        edge::unwinding(async {
            if let Some(state) = &state {
                access::identify(&state.access, &mut request);
                request.extensions_mut().insert(state.stale_reads.clone());
            }
            next.run(request).await
        })
        .await
    })
    .await
}
