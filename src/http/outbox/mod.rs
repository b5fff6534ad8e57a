//! Listing, reading, retrying and cancelling events.

mod bulk;
mod cancel;
mod causes;
mod filter;
mod list;
mod retry;
mod series;
mod show;
mod stats;

use std::time::Duration;

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::Permission,
    guarded, guarded_stale,
    problem::{Kind, Problem},
};
use crate::operator::OperatorError;

/// A dry run counts all events that match. A bulk itself goes on after its request.
const BULK_TIME_LIMIT: Duration = Duration::from_mins(5);

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let stale = OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(causes::causes))
        .routes(routes!(stats::stats))
        .routes(routes!(series::series));
    let read =
        OpenApiRouter::new().routes(routes!(bulk::show)).routes(routes!(show::show)).routes(routes!(show::explain));
    let change = OpenApiRouter::new().routes(routes!(retry::retry)).routes(routes!(cancel::cancel));
    let bulk =
        OpenApiRouter::new().routes(routes!(bulk::retry)).routes(routes!(bulk::cancel)).routes(routes!(bulk::abort));
    guarded_stale(stale, Permission::ReadAll)
        .merge(guarded(read, Permission::ReadAll, TIME_LIMIT))
        .merge(guarded(change, Permission::Operate, TIME_LIMIT))
        .merge(guarded(bulk, Permission::Operate, BULK_TIME_LIMIT))
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let detail = error.to_string();
        match error {
            OperatorError::NotFound(_) => Self::new(Kind::NotFound, detail),
            OperatorError::Conflict(_) => Self::new(Kind::WrongState, detail),
            OperatorError::Database(error) => error.into(),
        }
    }
}
