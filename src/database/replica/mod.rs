//! Reads that may be stale go to a replica, as long as it is one of this database and not too old.
//!
//! How old a replica is cannot be read from it alone: where nothing is written, the last transaction that it has applied may be hours
//! old although nothing is missing. So the primary is asked each second how far it has come, and the replica which of these places it
//! has reached. The state of a replica that has reached a place is at least as new as the moment at which the place was read, by
//! one clock, and whatever the servers' clocks say.

mod position;
mod question;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sea_orm::DbErr;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Connection, Database, options::ReplicaOptions};
use crate::{
    printable::chain,
    telemetry::{Sampled, metrics},
};
use position::Position;
use question::{Primary, Standing, of_primary, of_replica};

/// How often both are asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was found this long ago is looked up again before it is used.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// A server that takes longer to answer is unavailable.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// A replica is a round trip or two behind: it is asked again after these pauses whether it has come to the primary's place.
const PAUSES: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(100)];

/// Where reads go that may be stale.
#[derive(Clone, Debug)]
pub struct StaleReads {
    primary: Database,
    replica: Option<Arc<Replica>>,
}

/// A replica that may be read now.
#[derive(Clone, Debug)]
pub struct Stale {
    /// The replica.
    pub db: Database,
    /// Its state has everything that was committed by then, by the database's clock.
    pub as_of: DateTime<Utc>,
    /// The same by our own.
    asked: Instant,
}

#[derive(Debug)]
struct Replica {
    db: Database,
    /// One session of the primary for our questions, however many reads wait.
    primary: Connection,
    age_max: Duration,
    /// Locked while both are asked.
    looking: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
    /// What the last look found: whether it can be read.
    is_usable: watch::Sender<bool>,
    failures: Sampled,
}

/// A place of the primary.
#[derive(Clone, Debug)]
struct Sample {
    position: Position,
    /// When it was asked for: all that was committed before is in this place.
    asked: Instant,
    at: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Known {
    /// When both were last asked.
    looked: Option<Instant>,
    /// Places of the primary that the replica has not reached yet, the oldest first.
    ahead: VecDeque<Sample>,
    /// The newest that it has reached.
    reached: Option<Sample>,
    /// Why it cannot be read, whatever its age.
    unusable: Option<Unusable>,
    /// What was logged last.
    told: Option<&'static str>,
}

/// Why reads go to the primary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No session, or no answer.
    #[error("it is unavailable: {0}")]
    Unavailable(String),
    /// It is another database, or follows nobody.
    #[error("it is no replica of this database; correct database.replica_url")]
    Foreign,
    /// How old it is cannot be known.
    #[error(
        "the primary does not say how far it has come; on MariaDB it needs log_bin, and a Galera cluster is not supported"
    )]
    Unmeasured,
    /// It is too old, or has not reached yet what this process knows of the primary.
    #[error("its state is older than database.replica_max_age")]
    Behind,
}

impl Unusable {
    /// Whether it may catch up.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        *self == Self::Behind
    }

    /// In metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Foreign => "foreign",
            Self::Unmeasured => "unmeasured",
            Self::Behind => "behind",
        }
    }
}

impl Stale {
    /// How old its state is at most.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.asked.elapsed()
    }
}

impl From<&Database> for StaleReads {
    fn from(primary: &Database) -> Self {
        Self::of(primary)
    }
}

impl StaleReads {
    /// All reads go to `primary`.
    #[must_use]
    pub fn of(primary: &Database) -> Self {
        Self { primary: primary.clone(), replica: None }
    }

    /// They go to this replica of `primary`, if there is one. It connects when it is used.
    ///
    /// # Errors
    /// An invalid URL.
    pub async fn connect(primary: &Database, replica: Option<&ReplicaOptions>) -> Result<Self, DbErr> {
        let Some(options) = replica else { return Ok(Self::of(primary)) };
        // One clock: what tests set ahead is ahead here, too.
        let db = Database { clock: primary.clock.clone(), ..Database::connect_to_replica(options).await? };
        let replica = Replica {
            db,
            primary: primary.share(1).connection,
            age_max: options.max_age,
            looking: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            is_usable: watch::Sender::new(false),
            failures: Sampled::new(),
        };
        Ok(Self { primary: primary.clone(), replica: Some(Arc::new(replica)) })
    }

    /// Where all reads may go.
    #[must_use]
    pub fn primary(&self) -> &Database {
        &self.primary
    }

    /// How old what a replica answers may be; nothing without a replica.
    #[must_use]
    pub fn age_max(&self) -> Duration {
        self.replica.as_ref().map_or(Duration::ZERO, |replica| replica.age_max)
    }

    /// The replica, if its state is no older than `age_max` and the setting permit. Otherwise the read goes to the primary, and is
    /// counted.
    pub async fn replica(&self, age_max: Duration) -> Option<Stale> {
        let replica = self.replica.as_ref()?;
        if !replica.is_known() {
            let _one = replica.looking.lock().await;
            // Another read may have looked meanwhile.
            if !replica.is_known() {
                replica.look().await;
            }
        }
        match replica.known.lock().verdict(replica.age_max.min(age_max)) {
            Ok(sample) => {
                metrics::read_by_replica();
                Some(Stale { db: replica.db.clone(), as_of: sample.at, asked: sample.asked })
            }
            Err(unusable) => {
                metrics::read_by_primary(unusable.name());
                None
            }
        }
    }

    /// Returns when the replica is found to be unusable: what waits for it waits in vain.
    pub async fn lost(&self) {
        if let Some(replica) = &self.replica {
            // The sender lives as long as `self`.
            let _ = replica.is_usable.subscribe().wait_for(|is_usable| !is_usable).await;
        }
    }

    /// How old the replica is, or why it cannot be read; none without a replica.
    pub async fn look(&self) -> Option<Result<Duration, Unusable>> {
        let replica = self.replica.as_ref()?;
        let _one = replica.looking.lock().await;
        replica.look().await;
        Some(replica.known.lock().verdict(replica.age_max).map(|sample| sample.asked.elapsed()))
    }

    /// A read failed at the replica, and goes to the primary.
    pub fn failed(&self, error: &str) {
        metrics::read_by_primary("failed");
        if let Some(reads) = self.replica.as_ref().and_then(|replica| replica.failures.count()) {
            tracing::warn!(error, reads, "reads failed at the replica and went to the primary");
        }
    }

    /// Keeps known how old the replica is, until `drain`.
    pub async fn keep(self, drain: CancellationToken) {
        let Some(replica) = &self.replica else { return };
        loop {
            let look = async {
                let _one = replica.looking.lock().await;
                replica.look().await;
                sleep(LOOK_EVERY).await;
            };
            tokio::select! {
                () = drain.cancelled() => return,
                () = look => {}
            }
        }
    }
}

impl Replica {
    fn is_known(&self) -> bool {
        self.known.lock().looked.is_some_and(|looked| looked.elapsed() < KNOWN_FOR)
    }

    async fn look(&self) {
        let primary = self.ask_primary().await;
        let unusable = match &primary {
            Ok(primary) if primary.position.is_none() => Some(Unusable::Unmeasured),
            _ => self.compare(primary.ok().as_ref()).await.err(),
        };
        let mut known = self.known.lock();
        known.looked = Some(Instant::now());
        known.unusable = unusable;
        known.forget(self.age_max);
        let verdict = known.verdict(self.age_max).map(drop);
        metrics::replica_age(known.reached.as_ref().map(|reached| reached.asked.elapsed()));
        self.is_usable.send_replace(verdict.is_ok());
        let told = verdict.as_ref().err().map(Unusable::name);
        if std::mem::replace(&mut known.told, told) != told {
            match verdict {
                Ok(()) => tracing::info!("reads that may be stale go to the replica again"),
                Err(why) => tracing::warn!(%why, "the replica is not used; reads that may be stale go to the primary"),
            }
        }
    }

    /// Asks the primary how far it has come, and notes it.
    async fn ask_primary(&self) -> Result<Primary, ()> {
        let asked = Instant::now();
        // A primary that is unavailable is no fault of the replica: it is read until it is too old.
        let answer = timeout(ANSWER_MAX, of_primary(&self.primary)).await.map_err(|_| ())?;
        let mut primary =
            answer.map_err(|error| tracing::debug!(%error, "the primary did not say how far it has come"))?;
        if self.db.clock.skew() > Duration::ZERO {
            // The nodes of a cluster number their transactions by themselves.
            primary.position = None;
        }
        if let Some(position) = primary.position.clone() {
            self.known.lock().ahead.push_back(Sample { position, asked, at: primary.at });
        }
        Ok(primary)
    }

    /// Asks the replica which of the primary's places it has reached.
    async fn compare(&self, primary: Option<&Primary>) -> Result<(), Unusable> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let standing = match timeout(ANSWER_MAX, of_replica(self.db.connection())).await {
                Ok(Ok(standing)) => standing,
                Ok(Err(error)) => return Err(Unusable::Unavailable(chain(&error))),
                Err(_) => return Err(Unusable::Unavailable("it does not answer".into())),
            };
            let Standing { identity, position: Some(position) } = standing else { return Err(Unusable::Foreign) };
            // One without a quote may be about to get its first one.
            if primary.is_some_and(|primary| primary.identity != identity && !identity.is_empty()) {
                return Err(Unusable::Foreign);
            }
            if self.known.lock().reach(&position) {
                return Ok(());
            }
            match pauses.next() {
                Some(pause) => sleep(pause).await,
                None => return Ok(()),
            }
        }
    }
}

impl Known {
    /// The replica is at `position`. Returns whether it has reached all places that are known.
    fn reach(&mut self, position: &Position) -> bool {
        while let Some(next) = self.ahead.front() {
            if !position.has_reached(&next.position) {
                return false;
            }
            self.reached = self.ahead.pop_front();
        }
        true
    }

    /// Forgets places that would be too old when they are reached.
    fn forget(&mut self, age_max: Duration) {
        while self.ahead.front().is_some_and(|oldest| oldest.asked.elapsed() > age_max) {
            self.ahead.pop_front();
        }
    }

    /// What the replica has reached, if that is no older than `age_max`.
    fn verdict(&self, age_max: Duration) -> Result<&Sample, Unusable> {
        if let Some(unusable) = &self.unusable {
            return Err(unusable.clone());
        }
        self.reached.as_ref().filter(|reached| reached.asked.elapsed() <= age_max).ok_or(Unusable::Behind)
    }
}
