//! `feebox outbox`

mod bulk;
mod cancel;
mod filter;
mod list;
mod retry;
mod show;
mod stats;

use clap::{Subcommand, ValueEnum};

use super::Overrides;
use crate::{database::Database, outbox::EventStatus, quotes::Relay};

/// Subcommands of `feebox outbox`.
#[derive(Debug, Subcommand)]
pub enum Outbox {
    /// List events, newest first
    List(list::List),
    /// Show one event with its payload and its failed attempts
    Show(show::Show),
    /// Explain why an event is not delivered yet
    Explain(show::Explain),
    /// Revive dead events, or make pending ones due now; one by id, or many by filters
    Retry(retry::Retry),
    /// Cancel events, and the quotes whose fees they would have brought; one by id, or many by filters
    Cancel(cancel::Cancel),
    /// Show how far a bulk retry or cancellation is, or stop it
    Bulk(bulk::Bulk),
    /// Count events by destination and status
    Stats(stats::Stats),
}

/// An event's status.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Status {
    Pending,
    Leased,
    Delivered,
    Dead,
    Cancelled,
}

impl Outbox {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        let db = Database::connect(&settings.database).await?;
        match self {
            Self::List(list) => list.run(&db).await,
            Self::Show(show) => show.run(&db).await,
            Self::Explain(explain) => explain.run(&db).await,
            Self::Retry(retry) => retry.run(&db, Relay::new(&settings)).await,
            Self::Bulk(bulk) => bulk.run(&db).await,
            Self::Cancel(cancel) => cancel.run(&db, Relay::new(&settings)).await,
            Self::Stats(stats) => stats.run(&db).await,
        }
    }
}

impl From<Status> for EventStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Leased => Self::Leased,
            Status::Delivered => Self::Delivered,
            Status::Dead => Self::Dead,
            Status::Cancelled => Self::Cancelled,
        }
    }
}
