//! stub
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use crate::{database::Database, settings, submission::*, worker::Signals};
use metrics_exporter_prometheus::PrometheusHandle;
#[derive(Clone)]
pub struct AppState {
    submission: Submission,
}
impl AppState {
    pub fn new(
        submission: Submission,
        _db: Database,
        _a: &settings::Access,
        _m: PrometheusHandle,
        _s: &Signals,
    ) -> Self {
        Self { submission }
    }
}
async fn post(
    axum::extract::State(s): axum::extract::State<AppState>,
    axum::Json(raw): axum::Json<RawQuote>,
) -> Result<axum::Json<serde_json::Value>, String> {
    let q = NewQuote::parse(raw, "").map_err(|e| format!("{e:?}"))?;
    let r = s.submission.submit(&[q], None, None).await.map_err(|e| format!("{e:?}"))?;
    Ok(axum::Json(serde_json::json!({"id": r.quotes[0].id})))
}
pub fn router(s: AppState) -> axum::Router {
    axum::Router::new().route("/v1/quotes", axum::routing::post(post)).with_state(s)
}
pub fn worker_router(_d: Database, _m: PrometheusHandle) -> axum::Router {
    axum::Router::new()
}
pub async fn serve(l: tokio::net::TcpListener, r: axum::Router, d: tokio_util::sync::CancellationToken) {
    let _ = axum::serve(l, r).with_graceful_shutdown(async move { d.cancelled().await }).await;
}
pub fn openapi() -> utoipa::openapi::OpenApi {
    unimplemented!()
}
