//! Submitting, reading and cancelling quotes.

mod cancel;
mod idempotency;
mod list;
mod request;
mod show;
mod submit;
mod timeline;
mod view;
mod wait;

use std::time::Duration;

use axum::middleware::from_fn_with_state;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::{self, Permission},
    edge,
};

/// The longest that `?wait=` waits, in seconds.
const WAIT_SECONDS_MAX: u64 = 30;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let wait_limit = TIME_LIMIT + Duration::from_secs(WAIT_SECONDS_MAX);
    let submit = OpenApiRouter::new()
        .routes(routes!(submit::submit))
        .routes(routes!(submit::submit_batch))
        .routes(routes!(cancel::cancel))
        .route_layer(from_fn_with_state(Permission::Submit, access::require))
        .route_layer(from_fn_with_state(TIME_LIMIT, edge::limit));
    let list = OpenApiRouter::new()
        .routes(routes!(list::list))
        .route_layer(from_fn_with_state(Permission::ReadQuotes, access::require))
        .route_layer(from_fn_with_state(TIME_LIMIT, edge::limit));
    let show = OpenApiRouter::new()
        .routes(routes!(show::show))
        .route_layer(from_fn_with_state(Permission::ReadQuotes, access::require))
        .route_layer(from_fn_with_state(wait_limit, edge::limit));
    let timeline = OpenApiRouter::new()
        .routes(routes!(timeline::timeline))
        .route_layer(from_fn_with_state(Permission::ReadAll, access::require))
        .route_layer(from_fn_with_state(TIME_LIMIT, edge::limit));
    submit.merge(list).merge(show).merge(timeline)
}
