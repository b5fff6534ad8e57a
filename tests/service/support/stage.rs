use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::outbox_event::Status;
use entity::{destination, fee_record, outbox_event, quote};
use feebox::app::process_name;
use feebox::audit::{Violation, audit, audit_remote};
use feebox::database::Database;
use feebox::destination::FeeServer;
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer, Stats};
use feebox::settings::{Settings, Sources};
use feebox::submission::{OutboxRecorder, Submission};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::{Engine, Process, TestDatabase, eventually, http_client, new_quote};

/// Long enough for whatever comes at all, on a machine that is busy with other things.
pub const LIMIT: Duration = Duration::from_mins(2);

/// Short times, so that a test sees in seconds what takes minutes in production.
const SETTINGS: [(&str, &str); 10] = [
    ("log.format", "json"),
    ("worker.bind", "127.0.0.1:0"),
    ("worker.schedule", "* * * * * *"),
    ("worker.concurrency", "32"),
    ("worker.lease", "3s"),
    ("fee_server.timeout", "1s"),
    ("retry.initial_interval", "100ms"),
    ("retry.max_interval", "1s"),
    ("circuit.failures", "20"),
    ("circuit.cool_down", "500ms"),
];

/// A database and a fee server, and between them as many processes as the test starts.
pub struct Stage {
    pub database: TestDatabase,
    /// The test's own way to the database: straight, whatever stands between it and the processes.
    pub db: Database,
    pub fee_server: SampleFeeServer,
    accepted: std::sync::Mutex<Vec<Uuid>>,
}

impl Stage {
    pub async fn new(engine: Engine, faults: Faults) -> Stage {
        Stage::on(TestDatabase::create(engine).await, faults).await
    }

    pub async fn on(database: TestDatabase, faults: Faults) -> Stage {
        let db = database.open().await;
        Migrator::up(db.connection(), None).await.unwrap();
        let fee_server = SampleFeeServer::start("127.0.0.1:0".parse().unwrap(), faults).await.unwrap();
        Stage { database, db, fee_server, accepted: std::sync::Mutex::default() }
    }

    /// Stores this many quotes; returns their ids.
    pub async fn submit(&self, count: usize) -> Vec<Uuid> {
        let quotes: Vec<_> = (0..count).map(|_| new_quote()).collect();
        let receipt = self.submission().submit(&quotes, None, None).await.unwrap();
        let ids: Vec<_> = receipt.quotes.iter().map(|quote| quote.id).collect();
        self.accept(&ids);
        ids
    }

    /// The submission service, but for the wake-up.
    pub fn submission(&self) -> Submission {
        Submission::new(self.db.clone(), Arc::new(OutboxRecorder::default()), vec![])
    }

    /// Notes quotes that were accepted from a client by another way.
    pub fn accept(&self, ids: &[Uuid]) {
        self.accepted.lock().unwrap().extend(ids);
    }

    /// Starts a worker and returns when it works.
    pub async fn worker(&self, settings: &[(&str, &str)]) -> Process {
        self.worker_with(settings, &[]).await
    }

    pub async fn worker_with(&self, settings: &[(&str, &str)], env: &[(&str, &str)]) -> Process {
        let worker = self.process(&["worker"], settings, env);
        worker.wait_for_line(LIMIT, |line| line.contains(r#""message":"started""#)).await;
        worker
    }

    pub async fn workers<const N: usize>(&self, settings: &[(&str, &str)]) -> [Process; N] {
        // All at once: each of them takes a moment to start.
        let workers = [(); N].map(|()| self.process(&["worker"], settings, &[]));
        for worker in &workers {
            worker.wait_for_line(LIMIT, |line| line.contains(r#""message":"started""#)).await;
        }
        workers
    }

    /// Starts a submission service; returns it and its base URL when it is ready.
    pub async fn serve(&self, settings: &[(&str, &str)], env: &[(&str, &str)]) -> (Process, String) {
        let settings: Vec<_> = [("server.bind", "127.0.0.1:0")].iter().chain(settings).copied().collect();
        let serve = self.process(&["serve"], &settings, env);
        let base_url = base_url_of(&serve).await;
        serve.wait_ready(&base_url, LIMIT).await;
        (serve, base_url)
    }

    /// Starts `feebox ARGS…` with this stage's settings, over which lie `settings`.
    pub fn process(&self, args: &[&str], settings: &[(&str, &str)], env: &[(&str, &str)]) -> Process {
        self.process_by(&[], args, settings, env)
    }

    /// The same by another program, which becomes it.
    pub fn process_by(
        &self,
        wrapper: &[&str],
        args: &[&str],
        settings: &[(&str, &str)],
        env: &[(&str, &str)],
    ) -> Process {
        let base_url = self.fee_server.base_url();
        let of_stage = [("database.url", self.database.url()), ("fee_server.base_url", &base_url)];
        let settings = SETTINGS.iter().chain(&of_stage).chain(settings);
        let settings: Vec<String> = settings.map(|(key, value)| format!("--set={key}={value}")).collect();
        let args: Vec<&str> = args.iter().copied().chain(settings.iter().map(String::as_str)).collect();
        Process::start_wrapped(wrapper, &args, env)
    }

    /// Returns when the fee server has had this many calls open at one time.
    pub async fn under_load(&self, open_calls: usize) {
        let what = format!("{open_calls} open calls");
        eventually(&what, LIMIT, async || (self.fee_server.open_calls_max() >= open_calls).then_some(())).await;
    }

    /// Returns when nothing waits for a worker any more.
    pub async fn drained(&self) {
        eventually("all events are settled", LIMIT, async || {
            let live = self.count_events(&[Status::Pending, Status::Leased], None).await;
            live.is_ok_and(|live| live == 0).then_some(())
        })
        .await;
    }

    /// Returns how long it took since `death` until `worker` held no lease any more.
    pub async fn rescued_from(&self, worker: &Process, death: Instant) -> Duration {
        let name = name_of(worker);
        eventually("the leases of the dead are taken back", LIMIT, async || {
            let held = self.count_events(&[Status::Leased], Some(&name)).await;
            held.is_ok_and(|held| held == 0).then_some(())
        })
        .await;
        death.elapsed()
    }

    /// How many leases `worker` holds.
    pub async fn leases_of(&self, worker: &Process) -> u64 {
        self.count_events(&[Status::Leased], Some(&name_of(worker))).await.unwrap()
    }

    async fn count_events(&self, statuses: &[Status], worker: Option<&str>) -> Result<u64, DbErr> {
        use outbox_event::Column;
        let mut events = outbox_event::Entity::find().filter(Column::Status.is_in(statuses.iter().copied()));
        if let Some(worker) = worker {
            events = events.filter(Column::LeasedBy.eq(worker));
        }
        events.count(self.db.connection()).await
    }

    pub async fn events(&self) -> Vec<outbox_event::Model> {
        let events = outbox_event::Entity::find().order_by_asc(outbox_event::Column::Id);
        events.all(self.db.connection()).await.unwrap()
    }

    pub async fn event_of(&self, quote_id: Uuid) -> outbox_event::Model {
        let events = outbox_event::Entity::find().filter(outbox_event::Column::AggregateId.eq(quote_id));
        events.one(self.db.connection()).await.unwrap().unwrap()
    }

    /// All that Feebox knows, to tell whether something changed.
    pub async fn rows(&self) -> impl PartialEq + fmt::Debug {
        let db = self.db.connection();
        let fees = fee_record::Entity::find().order_by_asc(fee_record::Column::Id).all(db).await.unwrap();
        let quotes = quote::Entity::find().order_by_asc(quote::Column::Id).all(db).await.unwrap();
        (self.events().await, fees, quotes)
    }

    /// What the fleet shares about the fee server, once a worker has been there.
    pub async fn destination(&self) -> Option<destination::Model> {
        destination::Entity::find_by_id("fee-server").one(self.db.connection()).await.unwrap()
    }

    /// Holds Feebox's tables against the books of the fee server.
    pub async fn books(&self) -> Books {
        let db = self.db.connection();
        let accepted: BTreeSet<Uuid> = self.accepted.lock().unwrap().iter().copied().collect();
        let records = fee_record::Entity::find().all(db).await.unwrap();
        let quotes = quote::Entity::find().all(db).await.unwrap();
        let events = self.events().await;
        let fees = self.fee_server.fees();
        let made: HashMap<String, Uuid> = fees.iter().map(|fee| (fee.fee_id.to_string(), fee.quote_id)).collect();
        let with_record: BTreeSet<Uuid> = records.iter().map(|record| record.quote_id).collect();
        let stored: BTreeSet<Uuid> = quotes.iter().map(|quote| quote.id).collect();
        let is_true = |record: &&fee_record::Model| made.get(&record.fee_id) == Some(&record.quote_id);
        Books {
            accepted: accepted.len(),
            quotes: quotes.len(),
            confirmed: quotes.iter().filter(|quote| quote.status == quote::Status::Confirmed).count(),
            events: events.len(),
            delivered: events.iter().filter(|event| event.status == Status::Delivered).count(),
            fee_records: records.len(),
            true_records: records.iter().filter(is_true).count(),
            lost: accepted.difference(&with_record).count(),
            ghosts: fees.iter().filter(|fee| !stored.contains(&fee.quote_id)).count(),
            attempts: events.iter().map(|event| i64::from(event.attempts)).sum(),
            at_fee_server: self.fee_server.stats(),
            violations: self.violations().await,
        }
    }

    /// What Feebox itself finds wrong, here and at the fee server.
    async fn violations(&self) -> Vec<Violation> {
        let base_url = self.fee_server.base_url();
        let settings = Settings::load(&Sources::overrides([("fee_server.base_url", &base_url)])).unwrap();
        let _ = http_client();
        let fee_server = FeeServer::new(&settings.fee_server, 1).unwrap();
        let mut violations = vec![];
        let here =
            audit(&self.db, settings.retention.delivered_for, |violation| violations.push(violation)).await.unwrap();
        let there = audit_remote(&self.db, &fee_server, None, |violation| violations.push(violation)).await.unwrap();
        assert_eq!(here.violations + there.violations, violations.len() as u64);
        violations
    }
}

/// What there is after all is done.
#[derive(Clone, Debug)]
pub struct Books {
    pub accepted: usize,
    pub quotes: usize,
    pub confirmed: usize,
    pub events: usize,
    pub delivered: usize,
    pub fee_records: usize,
    /// Fee records that name a fee which the fee server made for that quote.
    pub true_records: usize,
    /// Accepted quotes without a fee record.
    pub lost: usize,
    /// Fees for quotes that are not stored.
    pub ghosts: usize,
    pub attempts: i64,
    pub at_fee_server: Stats,
    /// By Feebox's own audits.
    pub violations: Vec<Violation>,
}

impl Books {
    /// Every accepted quote has one event, one fee record and one fee, and nothing else has any.
    pub fn assert_sound(&self) {
        let counts = [self.quotes, self.confirmed, self.events, self.delivered, self.fee_records, self.true_records];
        assert_eq!(counts, [self.accepted; 6], "{self:?}");
        assert_eq!((self.lost, self.ghosts, self.at_fee_server.double_fees), (0, 0, 0), "{self:?}");
        assert_eq!(self.at_fee_server.fees, self.accepted as u64, "{self:?}");
        assert_eq!(self.violations, [], "{self:?}");
    }

    /// No attempt was made twice: the fee server saw each key once.
    pub fn assert_each_sent_once(&self) {
        assert_eq!((self.at_fee_server.requests, self.at_fee_server.duplicates), (self.accepted as u64, 0), "{self:?}");
        assert_eq!(self.attempts, i64::try_from(self.accepted).unwrap(), "{self:?}");
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, fee_records, lost, ghosts, attempts, at_fee_server, .. } = self;
        let Stats { requests, double_fees, .. } = at_fee_server;
        write!(
            f,
            "accepted {accepted}, fee records {fee_records}, double fees {double_fees}, lost {lost}, ghosts {ghosts}, \
             attempts {attempts}, requests {requests}"
        )
    }
}

/// The name that stands on the leases of `worker`.
pub fn name_of(worker: &Process) -> String {
    let this = process_name();
    let (host, _) = this.rsplit_once(':').unwrap();
    format!("{host}:{}", worker.id())
}

/// Where a process answers HTTP, once it has started.
pub async fn base_url_of(process: &Process) -> String {
    let line = process.wait_for_line(LIMIT, |line| line.contains(r#""message":"started""#)).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    format!("http://{}", line["address"].as_str().unwrap())
}
