//! When circuits were open lately.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::DbErr;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    database::Database,
    outbox::{self, CircuitOpening},
};

/// When circuits were open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CircuitOpenings)]
pub struct Openings {
    /// The beginning of the time that is shown.
    pub from: DateTime<Utc>,
    /// Now.
    pub to: DateTime<Utc>,
    /// Those that were open at some time in between, the newest first.
    pub openings: Vec<Opening>,
    /// There are no more. Otherwise older ones were left out.
    pub is_complete: bool,
}

/// A time during which the circuit of a destination, or of a topic of Kafka, was open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CircuitOpening)]
pub struct Opening {
    /// The destination, for example `fee-server`; `kafka/feebox.quotes` is a topic of `kafka`.
    pub destination: String,
    /// When it opened.
    pub opened_at: DateTime<Utc>,
    /// When a probe closed it; null while it is open.
    pub closed_at: Option<DateTime<Utc>>,
    /// The error of the attempt that opened it.
    pub reason: Option<String>,
}

/// The openings since `since` ago, of one destination or of all, the newest first, at most `limit`.
///
/// # Errors
/// Any database error.
pub async fn openings(
    db: &Database,
    destination: Option<&str>,
    since: TimeDelta,
    limit: u64,
) -> Result<Openings, DbErr> {
    let (connection, to) = (db.connection(), db.now(db.connection()).await?);
    let from = to - since;
    let states = outbox::destinations(connection).await?;
    let names = match destination {
        Some(name) => vec![name.to_owned()],
        None => states.into_iter().map(|state| state.name).collect(),
    };
    let mut found = Vec::new();
    for name in &names {
        // One more, to know whether there are more.
        found.extend(outbox::latest_openings(connection, name, from, limit + 1).await?);
    }
    found.sort_by_key(|opening| Reverse((opening.opened_at, opening.id)));
    let is_complete = found.len() as u64 <= limit;
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Openings { from, to, openings: found.into_iter().map(Opening::from).collect(), is_complete })
}

impl From<CircuitOpening> for Opening {
    fn from(opening: CircuitOpening) -> Self {
        let CircuitOpening { destination, opened_at, closed_at, reason, .. } = opening;
        Self { destination, opened_at, closed_at, reason }
    }
}
