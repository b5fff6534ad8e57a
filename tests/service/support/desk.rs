use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::{fee_record, outbox_event, process, quote};
use feebox::audit::{Violation, audit, audit_remote};
use feebox::database::Database;
use feebox::destination::{Destination, FeeServer};
use feebox::fleet::{Member, Role};
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer};
use feebox::operator::Operator;
use feebox::outbox::{self, Attempt, ClaimRequest, LeasedEvent, Outcome, Policy, RetryPolicy, Settled};
use feebox::quotes::{FEE_SERVER, KAFKA};
use feebox::settings::{Settings, Sources};
use feebox::submission::{OutboxRecorder, Submission};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait};
use uuid::Uuid;

use super::{Engine, TestDatabase, new_quote};

/// Runs each of the named functions as a test on each engine, every time at a desk of its own.
macro_rules! desk_tests {
    ($($test:ident),+ $(,)?) => {
        $crate::support::desk_tests!(sqlite, Sqlite: $($test),+);
        $crate::support::desk_tests!(postgres, Postgres: $($test),+);
        $crate::support::desk_tests!(mariadb, MariaDb: $($test),+);
    };
    ($module:ident, $engine:ident: $($test:ident),+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    use $crate::support::{Desk, Engine};
                    super::$test(Desk::open(Engine::$engine).await).await;
                }
            )+
        }
    };
}
pub(crate) use desk_tests;

type Receipt = <FeeServer as Destination>::Receipt;

pub const ANN: Operator<'static> = Operator { name: "ann", reason: Some("because I can") };

/// An operator's view of a Feebox of its own: a database, a fee server, and deliveries that happen when a test says so.
pub struct Desk {
    pub db: Database,
    pub policy: Policy,
    pub submission: Submission,
    pub sample: SampleFeeServer,
    pub fee_server: FeeServer,
    pub database: TestDatabase,
}

impl Desk {
    pub async fn open(engine: Engine) -> Desk {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = TestDatabase::migrated(engine).await;
        let db = database.open().await;
        let sample = SampleFeeServer::start("127.0.0.1:0".parse().unwrap(), Faults::default()).await.unwrap();
        let overrides = [
            ("fee_server.base_url", sample.base_url().as_str()),
            ("retry.max_attempts", "3"),
            ("retry.randomization_factor", "0"),
            ("circuit.failures", "5"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::load(&Sources::overrides(overrides)).unwrap();
        outbox::ensure_destinations(&db, &[&FEE_SERVER, &KAFKA]).await.unwrap();
        // For tests that set the clock, it lives for a day.
        Member::new("worker-1".into(), Role::Worker, &settings).beat(&db, false).await.unwrap();
        let tomorrow = db.now(db.connection()).await.unwrap() + Duration::from_hours(24);
        let lives = process::ActiveModel { seen_at: Set(tomorrow), ..Default::default() };
        process::Entity::update_many().set(lives).exec(db.connection()).await.unwrap();
        let policy = Policy {
            retry: RetryPolicy::new(settings.retry),
            circuit: settings.circuit,
            retry_after_max: settings.fee_server.retry_after_max,
        };
        let fee_server = FeeServer::new(&settings.fee_server, 4).unwrap();
        let submission = Submission::new(db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
        Desk { db, policy, submission, sample, fee_server, database }
    }

    pub async fn now(&self) -> DateTime<Utc> {
        self.db.now(self.db.connection()).await.unwrap()
    }

    pub fn advance(&self, seconds: u64) {
        self.db.clock().advance(Duration::from_secs(seconds));
    }

    /// Submits a quote; returns its id and its event's.
    pub async fn submit(&self) -> (Uuid, Uuid) {
        self.submit_many(1).await[0]
    }

    pub async fn submit_many(&self, count: usize) -> Vec<(Uuid, Uuid)> {
        let quotes: Vec<_> = (0..count).map(|_| new_quote()).collect();
        let receipt = self.submission.submit(&quotes, None, None).await.unwrap();
        let mut submitted = vec![];
        for quote in receipt.quotes {
            let events = outbox::of_aggregate(self.db.connection(), quote.id).await.unwrap();
            submitted.push((quote.id, events[0].id));
        }
        submitted
    }

    pub async fn claim(&self) -> Vec<LeasedEvent> {
        let (destination, worker, lease) = (&FEE_SERVER, "worker-1", Duration::from_secs(30));
        outbox::claim(
            &self.db,
            &ClaimRequest { destination, worker, limit: 1000, lease, lanes: &[], turn: outbox::Turn::default() },
        )
        .await
        .unwrap()
        .events
    }

    /// Delivers all that is due now to the sample fee server.
    pub async fn deliver(&self) {
        for event in self.claim().await {
            let outcome = self.fee_server.deliver(&event).await;
            self.settle(event, outcome).await;
        }
    }

    /// As if all that is due came to this.
    pub async fn fail(&self, outcome: Outcome<Receipt>) {
        for event in self.claim().await {
            self.settle(event, outcome.clone()).await;
        }
    }

    /// The same for thousands, a batch in a transaction.
    pub async fn fail_all(&self, outcome: Outcome<Receipt>) {
        loop {
            let events = self.claim().await;
            if events.is_empty() {
                return;
            }
            let took = Duration::from_millis(7);
            let attempt = |event| Attempt { event, outcome: outcome.clone(), took, is_overtaken: false };
            self.settle_all(&events.into_iter().map(attempt).collect::<Vec<_>>()).await;
        }
    }

    /// Submits a quote, and its delivery is refused.
    pub async fn submit_refused(&self) -> (Uuid, Uuid) {
        let ids = self.submit().await;
        self.fail(Outcome::Refused("422 Unprocessable Entity: no".into())).await;
        ids
    }

    pub async fn settle(&self, event: LeasedEvent, outcome: Outcome<Receipt>) {
        self.settle_all(&[Attempt { event, outcome, took: Duration::from_millis(7), is_overtaken: false }]).await;
    }

    async fn settle_all(&self, attempts: &[Attempt<Receipt>]) {
        let txn = self.db.begin().await.unwrap();
        let clock = self.db.clock();
        let settling = outbox::settle(&txn, clock, &FEE_SERVER, "worker-1", &self.policy, attempts).await.unwrap();
        let settled: Vec<Settled<'_, Receipt>> = attempts.iter().zip(&settling.dispositions).collect();
        self.fee_server.apply(&txn, &settled, settling.at).await.unwrap();
        txn.commit().await.unwrap();
    }

    pub async fn event(&self, id: Uuid) -> outbox_event::Model {
        outbox::get(self.db.connection(), id).await.unwrap().unwrap()
    }

    pub async fn quote(&self, id: Uuid) -> quote::Model {
        quote::Entity::find_by_id(id).one(self.db.connection()).await.unwrap().unwrap()
    }

    pub async fn fee_records(&self) -> Vec<fee_record::Model> {
        fee_record::Entity::find().all(self.db.connection()).await.unwrap()
    }

    /// What an audit finds, as (promise, quote), in order.
    pub async fn audit(&self) -> Vec<(u8, Uuid)> {
        let mut found = vec![];
        let week = Duration::from_hours(7 * 24);
        let report = audit(&self.db, week, |violation| found.push(violation)).await.unwrap();
        told(found, report.violations)
    }

    /// What a comparison with the fee server finds.
    pub async fn audit_remote(&self) -> Vec<(u8, Uuid)> {
        let mut found = vec![];
        let report = audit_remote(&self.db, &self.fee_server, None, |violation| found.push(violation)).await.unwrap();
        told(found, report.violations)
    }

    pub async fn sql(&self, sql: &str) {
        self.db.connection().execute_unprepared(sql).await.unwrap();
    }
}

fn told(mut found: Vec<Violation>, counted: u64) -> Vec<(u8, Uuid)> {
    found.sort();
    assert_eq!(found.len() as u64, counted);
    for Violation { quote_id, sentence, .. } in &found {
        assert!(sentence.contains(&quote_id.to_string()), "{sentence}");
    }
    found.into_iter().map(|violation| (violation.promise, violation.quote_id)).collect()
}
