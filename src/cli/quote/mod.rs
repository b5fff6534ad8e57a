//! `feebox quote`

mod cancel;
mod list;
mod show;
mod timeline;

use clap::{Subcommand, ValueEnum};

use super::Overrides;
use crate::{database::Database, quotes};

/// Subcommands of `feebox quote`.
#[derive(Debug, Subcommand)]
pub enum Quote {
    /// List quotes, newest first
    List(list::List),
    /// Show one quote with its fee and its events
    Show(show::Show),
    /// Show everything that happened to a quote, in order
    Timeline(timeline::Timeline),
    /// Cancel a quote; a fee that exists, or may exist, is voided
    Cancel(cancel::Cancel),
}

/// A quote's status.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Pending,
    Confirmed,
    Rejected,
    Cancelled,
}

impl Quote {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        let db = Database::connect(&settings.database).await?;
        match self {
            Self::List(list) => list.run(&db).await,
            Self::Show(show) => show.run(&db).await,
            Self::Timeline(timeline) => timeline.run(&db).await,
            Self::Cancel(cancel) => cancel.run(&db, &settings).await,
        }
    }
}

impl From<Status> for quotes::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Confirmed => Self::Confirmed,
            Status::Rejected => Self::Rejected,
            Status::Cancelled => Self::Cancelled,
        }
    }
}
