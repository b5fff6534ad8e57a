use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{destination, fee_record, outbox_event, quote};
use feebox::clock::after;
use feebox::database::Database;
use feebox::destination::{Destination, FeeServer};
use feebox::outbox::{
    self, Attempt, Claim, ClaimRequest, DestinationName, Disposition, EventType, LeasedEvent, NewEvent, Outcome,
    Policy, RetryPolicy, Settled,
};
use feebox::quotes::{FEE_SERVER, Fee, KAFKA, Line, NewQuote, QUOTE, QUOTE_SUBMITTED, lanes_of};
use feebox::settings::{self, Settings, Sources};
use feebox::submission::{OutboxRecorder, Submission};
use feebox::worker::{Signals, Worker};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Statement};
use serde_json::json;
use uuid::Uuid;

use super::{Engine, TestDatabase};

/// Runs each of the named functions as a test on each engine, every time in a database of its own.
macro_rules! on_each_engine {
    ($($promise:ident),+ $(,)?) => {
        $crate::support::on_each_engine!(sqlite, Sqlite: $($promise),+);
        $crate::support::on_each_engine!(postgres, Postgres: $($promise),+);
        $crate::support::on_each_engine!(mariadb, MariaDb: $($promise),+);
    };
    ($module:ident, $engine:ident: $($promise:ident),+ $(,)?) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    use $crate::support::{Engine, TestOutbox};
                    super::$promise(TestOutbox::open(Engine::$engine).await).await;
                }
            )+
        }
    };
}
pub(crate) use on_each_engine;

/// Runs each of the named functions as a test on the databases that are servers: `SQLite` has one writer and no network.
macro_rules! on_servers {
    ($($promise:ident),+ $(,)?) => {
        $(mod $promise {
            use crate::support::Engine;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$promise(Engine::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                super::$promise(Engine::MariaDb).await;
            }
        })+
    };
}
pub(crate) use on_servers;

/// The outbox of a database of its own, and what a test does to it.
pub struct TestOutbox {
    pub database: TestDatabase,
    pub db: Database,
    pub policy: Policy,
    pub submission: Submission,
}

impl TestOutbox {
    /// How long leases last, unless a test asks for another time.
    pub const LEASE: Duration = Duration::from_secs(30);

    pub async fn open(engine: Engine) -> TestOutbox {
        TestOutbox::on(TestDatabase::migrated(engine).await).await
    }

    /// That of a database with all tables.
    pub async fn on(database: TestDatabase) -> TestOutbox {
        let db = database.open().await;
        outbox::ensure_destinations(&db, &[&FEE_SERVER, &KAFKA]).await.unwrap();
        let submission = Submission::new(db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
        TestOutbox { database, db, policy: policy(), submission }
    }

    pub async fn now(&self) -> DateTime<Utc> {
        self.db.now(self.db.connection()).await.unwrap()
    }

    pub fn advance(&self, by: Duration) {
        self.db.clock().advance(by);
    }

    /// Submits `count` quotes at once; returns their events, due now and in the order in which they are claimed.
    pub async fn submit(&self, count: usize) -> Vec<Uuid> {
        self.submit_of(None, count).await
    }

    /// The same by the owner of token `name`.
    pub async fn submit_by(&self, name: &str, count: usize) -> Vec<Uuid> {
        self.submit_of(Some(name), count).await
    }

    async fn submit_of(&self, name: Option<&str>, count: usize) -> Vec<Uuid> {
        let quotes: Vec<_> = (0..count).map(|_| new_quote()).collect();
        let receipt = self.submission.submit_by(name, &quotes, None, None).await.unwrap();
        let quotes: Vec<_> = receipt.quotes.iter().map(|quote| quote.id).collect();
        let events = self.events().await.into_iter().filter(|event| quotes.contains(&event.aggregate_id));
        events.map(|event| event.id).collect()
    }

    /// Stores an event at a place of its own; returns its id.
    pub async fn record(&self, quote_id: Uuid, destination: &DestinationName, sequence: i32) -> Uuid {
        self.record_as(&QUOTE_SUBMITTED, quote_id, destination, sequence).await
    }

    /// The same of any type.
    pub async fn record_as(&self, of: &EventType, quote_id: Uuid, to: &DestinationName, sequence: i32) -> Uuid {
        let txn = self.db.begin().await.unwrap();
        let now = self.db.now(&*txn).await.unwrap();
        let (event_type, name) = (of.clone(), to.clone());
        let payload = json!({ "quote_id": quote_id, "currency": "EUR" });
        let event = NewEvent {
            aggregate_type: QUOTE,
            aggregate_id: quote_id,
            event_type,
            destination: name,
            partner: String::new(),
            sequence,
            payload,
            trace_context: None,
        };
        outbox::record(&*txn, now, vec![event]).await.unwrap();
        txn.commit().await.unwrap();
        let stored = self.events().await.into_iter().find(|event| {
            (event.aggregate_id, event.destination.as_str(), event.sequence) == (quote_id, to.as_str(), sequence)
        });
        stored.unwrap().id
    }

    /// Claims of the fee server's events, and tells what held it back.
    pub async fn ask(&self, worker: &str, limit: usize) -> Claim {
        self.claim_of(&FEE_SERVER, worker, limit, Self::LEASE).await
    }

    pub async fn claim(&self, worker: &str, limit: usize) -> Vec<LeasedEvent> {
        self.ask(worker, limit).await.events
    }

    pub async fn claim_of(&self, destination: &DestinationName, worker: &str, limit: usize, lease: Duration) -> Claim {
        let (lanes, turn) = (lanes_of(destination), outbox::Turn::default());
        outbox::claim(&self.db, &ClaimRequest { destination, worker, limit, lease, lanes, turn }).await.unwrap()
    }

    /// Settles what has no effect beside the outbox.
    pub async fn settle<R: outbox::Receipt>(&self, worker: &str, attempts: &[Attempt<R>]) -> Vec<Disposition> {
        let txn = self.db.begin().await.unwrap();
        let settling =
            outbox::settle(&txn, self.db.clock(), &FEE_SERVER, worker, &self.policy, attempts).await.unwrap();
        txn.commit().await.unwrap();
        settling.dispositions
    }

    /// Settles one attempt.
    pub async fn settle_one(&self, worker: &str, event: &LeasedEvent, outcome: Outcome<()>) -> Disposition {
        self.settle(worker, &[attempt(event, outcome)]).await.remove(0)
    }

    /// Claims the one event that is due, and settles it.
    pub async fn deliver(&self, worker: &str, outcome: Outcome<()>) -> Disposition {
        let claimed = self.claim(worker, 2).await;
        assert_eq!(claimed.len(), 1, "one event is due");
        self.settle_one(worker, &claimed[0], outcome).await
    }

    /// Settles together with the effects at `destination`, as a worker does.
    pub async fn settle_at<D: Destination>(
        &self,
        destination: &D,
        worker: &str,
        attempts: &[Attempt<D::Receipt>],
    ) -> Vec<Disposition> {
        let txn = self.db.begin().await.unwrap();
        let (clock, name) = (self.db.clock(), destination.name());
        let settling = outbox::settle(&txn, clock, name, worker, &self.policy, attempts).await.unwrap();
        let settled: Vec<Settled<'_, D::Receipt>> = attempts.iter().zip(&settling.dispositions).collect();
        destination.apply(&txn, &settled, settling.at).await.unwrap();
        txn.commit().await.unwrap();
        settling.dispositions
    }

    pub async fn rescue(&self, worker: &str) -> Vec<(Attempt<()>, Disposition)> {
        let mut all = Vec::new();
        loop {
            let rescued = outbox::rescue(&self.db, worker, &self.policy, 500).await.unwrap();
            all.extend(rescued.ended);
            if !rescued.is_full {
                return all;
            }
        }
    }

    /// A worker that nobody tells anything.
    pub fn worker<D: Destination>(&self, name: &str, destination: &Arc<D>, settings: settings::Worker) -> Worker<D> {
        self.worker_told(name, destination, settings, Signals::default())
    }

    pub fn worker_told<D: Destination>(
        &self,
        name: &str,
        destination: &Arc<D>,
        settings: settings::Worker,
        signals: Signals,
    ) -> Worker<D> {
        let (db, destination, policy) = (self.db.clone(), Arc::clone(destination), self.policy.clone());
        Worker::new(db, destination, policy, settings, name.into(), signals)
    }

    pub async fn event(&self, id: Uuid) -> outbox_event::Model {
        outbox_event::Entity::find_by_id(id).one(self.db.connection()).await.unwrap().unwrap()
    }

    /// All events, in the order in which they would be claimed if all were due.
    pub async fn events(&self) -> Vec<outbox_event::Model> {
        use outbox_event::Column;
        let all = outbox_event::Entity::find().order_by_asc(Column::DueAt).order_by_asc(Column::Id);
        all.all(self.db.connection()).await.unwrap()
    }

    pub async fn events_of(&self, quote_id: Uuid) -> Vec<outbox_event::Model> {
        let mut events = self.events().await;
        events.retain(|event| event.aggregate_id == quote_id);
        events.sort_by_key(|event| event.sequence);
        events
    }

    pub async fn statuses(&self, events: &[Uuid]) -> Vec<outbox_event::Status> {
        let mut statuses = vec![];
        for id in events {
            statuses.push(self.event(*id).await.status);
        }
        statuses
    }

    pub async fn quote(&self, id: Uuid) -> quote::Model {
        quote::Entity::find_by_id(id).one(self.db.connection()).await.unwrap().unwrap()
    }

    pub async fn fee_records(&self) -> Vec<fee_record::Model> {
        fee_record::Entity::find().all(self.db.connection()).await.unwrap()
    }

    /// What the fleet shares about the fee server.
    pub async fn fee_server(&self) -> destination::Model {
        destination::Entity::find_by_id(FEE_SERVER.as_str()).one(self.db.connection()).await.unwrap().unwrap()
    }

    pub async fn pause(&self, destination: &str) {
        self.set_paused(destination, Some(self.now().await)).await;
    }

    pub async fn resume(&self, destination: &str) {
        self.set_paused(destination, None).await;
    }

    async fn set_paused(&self, destination: &str, at: Option<DateTime<Utc>>) {
        let paused = destination::ActiveModel { paused_at: Set(at), ..Default::default() };
        let update = destination::Entity::update_many().set(paused);
        update.filter(destination::Column::Name.eq(destination)).exec(self.db.connection()).await.unwrap();
    }

    /// The first column of what `sql` answers, as text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let connection = self.db.connection();
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }
}

/// One that is easy to reckon with: no chance in it, and a circuit that stays out of the way.
fn policy() -> Policy {
    let retry = settings::Retry {
        initial_interval: Duration::from_secs(10),
        multiplier: 2.0,
        randomization_factor: 0.0,
        max_interval: Duration::from_mins(1),
        max_attempts: 6,
        give_up_after: Duration::from_hours(1),
    };
    let circuit = settings::Circuit { failures: 10_000, cool_down: Duration::from_secs(15) };
    Policy { retry: RetryPolicy::new(retry), circuit, retry_after_max: Duration::from_hours(1) }
}

/// The worker's default settings.
pub fn worker_settings() -> settings::Worker {
    Settings::load(&Sources::overrides::<&str, &str>([])).unwrap().worker
}

pub fn new_quote() -> NewQuote {
    let line = Line::parse("a thing", 2, 1_250).unwrap();
    NewQuote::parse("customer", "EUR", vec![line]).unwrap()
}

pub fn attempt<R>(event: &LeasedEvent, outcome: Outcome<R>) -> Attempt<R> {
    Attempt { event: event.clone(), outcome, took: Duration::from_millis(3), is_overtaken: false }
}

pub fn delivered() -> Outcome<()> {
    Outcome::Delivered(())
}

pub fn retry() -> Outcome<()> {
    Outcome::Retry("503".into())
}

pub fn unknown() -> Outcome<()> {
    Outcome::Unknown("no answer".into())
}

pub fn refused() -> Outcome<()> {
    Outcome::Refused("422".into())
}

/// What the fee server hands back.
pub type Receipt = <FeeServer as Destination>::Receipt;

/// A delivery that brought a fee.
pub fn with_fee(event: &LeasedEvent) -> Attempt<Receipt> {
    let fee = Fee {
        fee_id: format!("fee-{}", Uuid::new_v4()),
        quote_id: event.aggregate_id,
        currency: "EUR".into(),
        amount_minor: 37,
        rate_bps: 150,
        calculated_at: Utc::now(),
    };
    attempt(event, Outcome::Delivered(Receipt::Fee(201, fee)))
}

/// Nobody calls it here: it only stores what its deliveries brought.
pub fn fee_server() -> FeeServer {
    // As `main` does, before the first client is built.
    let _ = rustls::crypto::ring::default_provider().install_default();
    FeeServer::new(&Settings::load(&Sources::default()).unwrap().fee_server, 1).unwrap()
}
