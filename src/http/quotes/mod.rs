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

use sea_orm::DbErr;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    ANONYMOUS, AppState, TIME_LIMIT,
    access::{Caller, Permission},
    guarded, guarded_stale,
};
use crate::submission::give_owner;

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
        .merge(guarded_stale(list, Permission::ReadQuotes))
        .merge(guarded(show, Permission::ReadQuotes, wait_limit))
        .merge(guarded(timeline, Permission::ReadAll, TIME_LIMIT))
}

/// Whether quote `id`, which this caller may not see, got an owner only now: an older version of Feebox does not write whose it is.
async fn is_owned_now(state: &AppState, caller: &Caller, id: Uuid) -> Result<bool, DbErr> {
    Ok(caller.sees_only().is_some() && give_owner(&state.reads, id, ANONYMOUS).await?)
}
