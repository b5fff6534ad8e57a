//! Whether this fee server has ever answered a look-up with a list. Then a 404 comes from a proxy in between.
//!
//! The destination's row records it for the whole fleet, so a new process knows it too.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sea_orm::DbErr;

use crate::{
    database::{Database, within},
    outbox,
    quotes::FEE_SERVER,
};

/// The time limit of a database call.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct LookUps {
    base_url: String,
    seen: AtomicBool,
    /// The destination's row records it.
    recorded: AtomicBool,
}

impl LookUps {
    pub(super) fn at(base_url: &str) -> Self {
        Self { base_url: base_url.into(), seen: AtomicBool::default(), recorded: AtomicBool::default() }
    }

    /// Records that a list came. The caller acts on the list only afterwards, so that the fleet knows it even if this process
    /// dies. The first list of a process costs a statement, and the first list of a fleet two.
    ///
    /// # Errors
    /// Any database error. The next list tries again.
    pub(super) async fn saw_list(&self, fleet: Option<&Database>) -> Result<(), DbErr> {
        self.seen.store(true, Ordering::Relaxed);
        let Some(db) = fleet.filter(|_| !self.recorded.load(Ordering::Relaxed)) else { return Ok(()) };
        let (db, base_url) = (db.connection(), self.base_url.as_str());
        within(DATABASE_LIMIT, async {
            if !outbox::has_look_ups(db, FEE_SERVER.as_str(), base_url).await? {
                outbox::record_look_ups(db, FEE_SERVER.as_str(), base_url).await?;
            }
            Ok(())
        })
        .await?;
        self.recorded.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether this process or another one has ever seen a list. Costs a statement until one has.
    ///
    /// # Errors
    /// Any database error.
    pub(super) async fn exist(&self, fleet: Option<&Database>) -> Result<bool, DbErr> {
        if self.seen.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let Some(db) = fleet else { return Ok(false) };
        let known = outbox::has_look_ups(db.connection(), FEE_SERVER.as_str(), &self.base_url);
        let known = within(DATABASE_LIMIT, known).await?;
        if known {
            self.seen.store(true, Ordering::Relaxed);
            self.recorded.store(true, Ordering::Relaxed);
        }
        Ok(known)
    }
}
