//! Waiting until a quote is no longer pending.

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::{
    http::AppState,
    quotes::{self, Status},
};

/// The first pause between two polls. A worker of this process ends it early; one of another process cannot.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Returns when quote `id` is no longer pending or there is none that `owner` may see, after `limit`, or when the server stops.
pub(super) async fn until_not_pending(
    state: &AppState,
    id: Uuid,
    owner: Option<&str>,
    limit: Duration,
) -> Result<(), DbErr> {
    let deadline = Instant::now() + limit;
    let mut pause = PAUSE_MIN;
    loop {
        // Registered before the poll, so that no signal between the poll and the pause is missed.
        let mut settled = state.settled.listen();
        let is_pending = quotes::status(state.reads.connection(), id, owner).await? == Some(Status::Pending);
        if !is_pending || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::select! {
            () = settled.heard() => {}
            () = sleep_until(deadline.min(Instant::now() + pause)) => pause = PAUSE_MAX.min(pause * 2),
            () = state.drain.cancelled() => return Ok(()),
        }
    }
}
