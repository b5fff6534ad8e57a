//! Whether this fee server was ever seen to answer a look-up with a list. Then a 404 comes from something in between.
//!
//! The fleet remembers it in the row of the destination: a process that was just started knows it, too.

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

/// How long the database may take.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct LookUps {
    base_url: String,
    seen: AtomicBool,
    /// The fleet knows it.
    noted: AtomicBool,
}

impl LookUps {
    pub(super) fn at(base_url: &str) -> Self {
        Self { base_url: base_url.into(), seen: AtomicBool::default(), noted: AtomicBool::default() }
    }

    /// Notes that a list came. What follows from the list waits for that, so that a process that dies after it leaves a fleet
    /// that knows. Costs statements at the first list of a process, and of a fleet if nobody noted it.
    ///
    /// # Errors
    /// Any database error; the next list is noted.
    pub(super) async fn saw_list(&self, fleet: Option<&Database>) -> Result<(), DbErr> {
        self.seen.store(true, Ordering::Relaxed);
        let Some(db) = fleet.filter(|_| !self.noted.load(Ordering::Relaxed)) else { return Ok(()) };
        let (db, base_url) = (db.connection(), self.base_url.as_str());
        within(DATABASE_LIMIT, async {
            if !outbox::has_look_ups(db, FEE_SERVER.as_str(), base_url).await? {
                outbox::note_look_ups(db, FEE_SERVER.as_str(), base_url).await?;
            }
            Ok(())
        })
        .await?;
        self.noted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a list ever came, in this process or in another one. Costs a statement as long as none did.
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
            self.noted.store(true, Ordering::Relaxed);
        }
        Ok(known)
    }
}
