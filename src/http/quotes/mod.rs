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

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, TIME_LIMIT, access::Permission, guarded};

/// The longest that `?wait=` waits, in seconds.
const WAIT_SECONDS_MAX: u64 = 30;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let wait_limit = TIME_LIMIT + Duration::from_secs(WAIT_SECONDS_MAX);
    let submit = OpenApiRouter::new()
        .routes(routes!(submit::submit))
        .routes(routes!(submit::submit_batch))
        .routes(routes!(cancel::cancel));
    let list = OpenApiRouter::new().routes(routes!(list::list));
    let show = OpenApiRouter::new().routes(routes!(show::show));
    let timeline = OpenApiRouter::new().routes(routes!(timeline::timeline));
    guarded(submit, Permission::Submit, TIME_LIMIT)
        .merge(guarded(list, Permission::ReadQuotes, TIME_LIMIT))
        .merge(guarded(show, Permission::ReadQuotes, wait_limit))
        .merge(guarded(timeline, Permission::ReadAll, TIME_LIMIT))
}
