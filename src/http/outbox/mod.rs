//! Listing, reading, retrying and cancelling events.

mod cancel;
mod list;
mod retry;
mod retry_bulk;
mod show;
mod stats;

use std::time::Duration;

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::Permission,
    guarded,
    problem::{Kind, Problem},
};
use crate::operator::OperatorError;

/// A bulk retry works in batches. When its time is up, what was done stays done, and a repeated request continues.
const BULK_TIME_LIMIT: Duration = Duration::from_mins(5);

pub(super) fn routes() -> OpenApiRouter<AppState> {
    let read = OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(show::show))
        .routes(routes!(show::explain))
        .routes(routes!(stats::stats));
    let change = OpenApiRouter::new().routes(routes!(retry::retry)).routes(routes!(cancel::cancel));
    let bulk = OpenApiRouter::new().routes(routes!(retry_bulk::retry));
    guarded(read, Permission::ReadAll, TIME_LIMIT)
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
