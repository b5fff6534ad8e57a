//! The outbox in a service of your own, beside its own tables and in its own transactions.
//!
//! A change and the news of it are stored in one transaction, or neither is. A [`Worker`] delivers the news to a
//! [`Destination`] of yours: with one idempotency key for all attempts, in the order in which the
//! events of one thing were stored, with retries, a circuit breaker and leases, after each crash. `docs/embed.md` says what is
//! promised and what is not, and `examples/own_events.rs` is a service with a table of its own.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use async_trait::async_trait;
//! use feebox::{
//!     destination::Destination,
//!     embed::{Event, Migrator, MigratorTrait, Outbox},
//!     outbox::{AggregateType, DestinationName, EventType, LeasedEvent, Outcome},
//! };
//! use sea_orm::{Database, TransactionTrait};
//! use uuid::Uuid;
//!
//! // Names are checked by the compiler, or when they are read from a text.
//! const ORDER: AggregateType = AggregateType::from_static("order");
//! const ORDER_PLACED: EventType = EventType::from_static("order.placed");
//! static SHOP: DestinationName = DestinationName::from_static("shop");
//!
//! struct Shop;
//!
//! #[async_trait]
//! impl Destination for Shop {
//!     type Receipt = ();
//!
//!     fn name(&self) -> &DestinationName {
//!         &SHOP
//!     }
//!
//!     async fn deliver(&self, event: &LeasedEvent) -> Outcome<()> {
//!         println!("send {} with the key {}", event.payload, event.id);
//!         Outcome::Delivered(())
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), sea_orm::DbErr> {
//! let connection = Database::connect("postgres://…").await?;
//! Migrator::up(&connection, None).await?;
//! let outbox = Outbox::beside(&connection)?;
//!
//! let txn = connection.begin().await?;
//! // … store the order in `txn`, and with it:
//! outbox.record(&txn, vec![Event::new(ORDER, Uuid::now_v7(), ORDER_PLACED, SHOP.clone(), "a book".into())]).await?;
//! txn.commit().await?;
//! outbox.wake();
//!
//! outbox.worker("worker-1", Arc::new(Shop)).work_every(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    crash,
    database::Database,
    destination::Destination,
    outbox::{self, AggregateType, DestinationName, EventType, NewEvent, Policy},
    telemetry::TraceContext,
    worker::{Settings, Signals, Worker},
};

pub use migration::{MigratorTrait, outbox::Migrator};

/// The most characters of a partner's name: its column holds no more.
const PARTNER_LENGTH_MAX: usize = 64;

/// The outbox of a service.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: Database,
    signals: Signals,
}

/// An event to record.
#[derive(Clone, Debug)]
pub struct Event {
    /// What kind of thing it is about, for example `order`.
    pub aggregate_type: AggregateType,
    /// The thing that it is about. One that has no UUID gets one from its own id: [`Uuid::from_u128`] of a number, for example.
    pub aggregate_id: Uuid,
    /// What it says.
    pub event_type: EventType,
    /// Where it goes.
    pub destination: DestinationName,
    /// What the destination gets; not null. PostgreSQL stores no `U+0000` in it.
    pub payload: Value,
    /// Whose it is: partners take turns, so that one's backlog delays nobody else. At most 64 characters; empty if it is nobody's.
    pub partner: String,
    /// W3C `traceparent` of the call that caused it. An invalid one is left out.
    pub trace_context: Option<String>,
}

impl Event {
    /// One of no partner and no trace.
    #[must_use]
    pub const fn new(
        aggregate_type: AggregateType,
        aggregate_id: Uuid,
        event_type: EventType,
        destination: DestinationName,
        payload: Value,
    ) -> Self {
        Self {
            aggregate_type,
            aggregate_id,
            event_type,
            destination,
            payload,
            partner: String::new(),
            trace_context: None,
        }
    }

    fn at(self, sequence: i32) -> NewEvent {
        let trace = self.trace_context.as_deref().and_then(TraceContext::parse);
        NewEvent {
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            event_type: self.event_type,
            destination: self.destination,
            partner: self.partner,
            sequence,
            payload: self.payload,
            trace_context: trace.map(|trace| trace.header()),
        }
    }
}

impl Outbox {
    /// The outbox in the database of `connection`, which [`Migrator`] has prepared. It connects when it is used.
    ///
    /// Events are recorded in transactions of `connection`. Workers open sessions of their own with the same credentials, as
    /// many as its pool may open: their time limits, isolation and read-only guards hold whatever `connection` is set to
    /// (`docs/adr/0035`).
    ///
    /// # Errors
    /// `connection` is a mock, or is not connected.
    pub fn beside(connection: &DatabaseConnection) -> Result<Self, DbErr> {
        Ok(Self { db: Database::beside(connection)?, signals: Signals::default() })
    }

    /// Records `events`, due at once. They exist if and only if `txn` commits.
    ///
    /// Events of one thing for one destination are delivered in the order in which they are recorded. A service that changes a thing
    /// locks its row first, so that such transactions follow each other. Where two record events of one thing at the same time all
    /// the same, one of them fails with a unique violation: it stores nothing, and succeeds when it is run again.
    ///
    /// # Errors
    /// A partner's name is too long: nothing was sent, and `txn` can go on. Any database error: `txn` must be rolled back.
    pub async fn record(&self, txn: &DatabaseTransaction, events: Vec<Event>) -> Result<(), DbErr> {
        if events.iter().any(|event| event.partner.chars().count() > PARTNER_LENGTH_MAX) {
            return Err(DbErr::Custom(format!("a partner's name has at most {PARTNER_LENGTH_MAX} characters")));
        }
        let mut things: BTreeMap<&DestinationName, Vec<Uuid>> = BTreeMap::new();
        for event in &events {
            things.entry(&event.destination).or_default().push(event.aggregate_id);
        }
        let mut next: HashMap<(DestinationName, Uuid), i32> = HashMap::new();
        for (destination, things) in things {
            let sequences = outbox::next_sequences(txn, destination, things.into_iter()).await?;
            next.extend(sequences.into_iter().map(|(thing, sequence)| ((destination.clone(), thing), sequence)));
        }
        let placed = events.into_iter().map(|event| {
            let next = next.entry((event.destination.clone(), event.aggregate_id)).or_insert(1);
            let sequence = *next;
            *next += 1;
            event.at(sequence)
        });
        let placed = placed.collect();
        outbox::record(txn, self.db.now(txn).await?, placed).await?;
        // A process that dies here has stored nothing.
        crash::point("after-record");
        Ok(())
    }

    /// Wakes the workers of this outbox in this process: call it after the commit. It is a hint. Workers of other processes, and
    /// one whose process dies before this call, find the event at their next tick.
    pub fn wake(&self) {
        crash::point("before-wake");
        self.signals.wake.send();
    }

    /// A worker for `destination`, with the defaults of retries, circuit and limits. Its leases carry `name`: one that is unique, such
    /// as host and process. Any number of workers may share the database. [`Worker::new`] takes other settings.
    #[must_use]
    pub fn worker<D: Destination>(&self, name: &str, destination: Arc<D>) -> Worker<D> {
        let (db, signals) = (self.db.clone(), self.signals.clone());
        Worker::new(db, destination, Policy::default(), Settings::default(), name.to_owned(), signals)
    }

    /// What workers of this outbox listen to: wake-ups, and the end.
    #[must_use]
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Lets the workers of this outbox finish what they have begun, claim nothing more, and return.
    pub fn drain(&self) {
        self.signals.drain.cancel();
    }

    /// The database as the engine sees it: for what operators do by the functions in [`outbox`].
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// Keeps the table in order: deletes events that were delivered or cancelled longer ago than `keep`, and repairs what a wrong
    /// clock has put off. Call it about once a minute, in one process or in all of them: each call deletes up to six hours further
    /// than the one before.
    ///
    /// # Errors
    /// Any database error; what was done before stays done.
    pub async fn upkeep(&self, keep: Duration) -> Result<(), DbErr> {
        outbox::repair_future_times(&self.db).await?;
        outbox::park(&self.db).await?;
        let now = self.db.now(self.db.connection()).await?;
        let settled_before = TimeDelta::from_std(keep).ok().and_then(|keep| now.checked_sub_signed(keep));
        if let Some(settled_before) = settled_before {
            outbox::prune(&self.db, settled_before).await?;
        }
        Ok(())
    }
}
