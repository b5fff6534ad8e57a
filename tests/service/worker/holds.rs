//! A destination that is to be left alone is left alone: at once by the process that knows, a second later by all others. The
//! database is 30 ms away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::destination::Circuit;
use entity::outbox_event::{self, Status};
use feebox::database::Database;
use feebox::lab::sample_fee_server::Faults;
use feebox::outbox::Outcome;
use feebox::quotes::FEE_SERVER;
use feebox::settings::{self, Settings, Sources};
use feebox::worker::{Report, Signals, Worker};
use sea_orm::{EntityTrait, QuerySelect};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Cue, Engine, Process, Proxy, Scripted, Stage, TestOutbox, delivered, eventually, on_each_engine, worker_settings,
};

on_each_engine!(
    after_a_429_no_call_begins_here_at_once_and_elsewhere_a_second_later,
    a_pause_holds_for_what_was_claimed_before_it,
    after_a_401_no_call_begins,
    after_failures_that_open_the_circuit_no_call_begins,
    a_process_without_descriptors_waits_a_moment_and_goes_on_by_itself,
    a_worker_begins_by_itself_when_the_wait_is_over,
);

const ROUND_TRIP: Duration = Duration::from_millis(30);
const LIMIT: Duration = Duration::from_secs(20);
const IN_THE_AIR: usize = 4;

async fn after_a_429_no_call_begins_here_at_once_and_elsewhere_a_second_later(outbox: TestOutbox) {
    let far = Far::from(&outbox).await;
    let events = outbox.submit(40).await;
    let (first, rest) = (CancellationToken::new(), CancellationToken::new());
    let (asks, ends) = (first.clone(), rest.clone());
    let wait = Outcome::RetryAfter("429".into(), Duration::from_mins(1));
    let a = scripted(move |n| if n == 0 { (asks.clone(), wait.clone()) } else { (ends.clone(), delivered()) });
    let ends = rest.clone();
    let b = scripted(move |_| (ends.clone(), delivered()));
    let workers = [far.worker(&outbox, "a", &a), far.worker(&outbox, "b", &b)];
    let watching = async {
        a.begun(IN_THE_AIR).await;
        b.begun(IN_THE_AIR).await;
        first.cancel();
        eventually("what waited is handed back", LIMIT, async || {
            let leased = outbox.statuses(&events).await.into_iter().filter(|it| *it == Status::Leased).count();
            (leased == 2 * IN_THE_AIR - 1).then_some(())
        })
        .await;
        let known_after = a.calls().iter().find_map(|call| call.ended).unwrap().elapsed();
        println!("{:?}: the whole fleet knew of a 429 {known_after:.0?} after it", outbox.database.engine());
        assert!(known_after < Duration::from_secs(3), "{known_after:?}");
        rest.cancel();
    };
    let (a_report, b_report, ()) = tokio::join!(workers[0].run_once(), workers[1].run_once(), watching);
    assert_eq!((a.calls().len(), b.calls().len()), (IN_THE_AIR, IN_THE_AIR));
    assert_eq!((a_report.unwrap().delivered, b_report.unwrap().delivered), (IN_THE_AIR - 1, IN_THE_AIR));
    assert!(outbox.fee_server().await.not_before.is_some());
    assert!(outbox.events().await.iter().all(|event| event.status == Status::Delivered || event.attempts == 0));
}

async fn a_pause_holds_for_what_was_claimed_before_it(outbox: TestOutbox) {
    let far = Far::from(&outbox).await;
    let events = outbox.submit(40).await;
    let told = CancellationToken::new();
    let token = told.clone();
    let destination = scripted(move |_| (token.clone(), delivered()));
    let worker = far.worker(&outbox, "a", &destination);
    let watching = async {
        destination.begun(IN_THE_AIR).await;
        outbox.pause(&FEE_SERVER).await;
        eventually("what waited is handed back", LIMIT, async || {
            let leased = outbox.statuses(&events).await.into_iter().filter(|it| *it == Status::Leased).count();
            (leased == IN_THE_AIR).then_some(())
        })
        .await;
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!((report.unwrap().delivered, destination.calls().len()), (IN_THE_AIR, IN_THE_AIR));
}

async fn after_a_401_no_call_begins(outbox: TestOutbox) {
    let far = Far::from(&outbox).await;
    outbox.submit(40).await;
    let destination = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(Outcome::Unauthorised("401".into()))));
    let report = far.worker(&outbox, "a", &destination).run_once().await.unwrap();
    // Those that were begun before the first answer was there.
    assert!(destination.calls().len() <= IN_THE_AIR, "{report}");
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}

async fn after_failures_that_open_the_circuit_no_call_begins(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 6;
    let far = Far::from(&outbox).await;
    outbox.submit(100).await;
    let destination = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(Outcome::Retry("503".into()))));
    let report = far.worker(&outbox, "a", &destination).run_once().await.unwrap();
    assert!(destination.calls().len() < 6 + IN_THE_AIR, "{report}");
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}

async fn a_process_without_descriptors_waits_a_moment_and_goes_on_by_itself(outbox: TestOutbox) {
    let events = outbox.submit(10).await;
    let before = outbox.events().await;
    let (lacking, lacks) = (CancellationToken::new(), CancellationToken::new());
    let token = lacks.clone();
    let destination = Arc::new(Scripted::new(&FEE_SERVER, move |_| {
        let lacks = Outcome::OutOfResources("too many open files".into());
        Cue::Answer(if token.is_cancelled() { delivered() } else { lacks })
    }));
    let signals = Signals { drain: lacking.clone(), ..Signals::default() };
    let far = Far::from(&outbox).await;
    let worker = far.worker_told(&outbox, "a", &destination, signals.clone());
    let report = worker.run_once().await.unwrap();
    assert_eq!(report, Report { claimed: report.claimed, handed_back: report.claimed, ..Report::default() });
    assert!(destination.calls().len() <= IN_THE_AIR, "{report}");
    assert_eq!(outbox.events().await, before);
    assert_eq!(outbox.fee_server().await.consecutive_failures, 0);

    lacks.cancel();
    let watching = async {
        eventually("all are delivered", LIMIT, async || {
            outbox.statuses(&events).await.iter().all(|status| *status == Status::Delivered).then_some(())
        })
        .await;
        lacking.cancel();
    };
    tokio::join!(worker.work(), watching);
}

async fn a_worker_begins_by_itself_when_the_wait_is_over(outbox: TestOutbox) {
    let events = outbox.submit(2).await;
    let signals = Signals::default();
    let wait = Outcome::RetryAfter("429".into(), Duration::from_secs(1));
    let first = events[0];
    let destination = Arc::new(Scripted::new(&FEE_SERVER, move |event| {
        Cue::Answer(if event.id == first { wait.clone() } else { delivered() })
    }));
    let settings = settings::Worker { concurrency: 1, batch_size: 1, ..worker_settings() };
    let worker = outbox.worker_told("a", &destination, settings, signals.clone());
    signals.wake.send();
    let watching = async {
        eventually("the other is delivered", LIMIT, async || {
            (outbox.event(events[1]).await.status == Status::Delivered).then_some(())
        })
        .await;
        signals.drain.cancel();
    };
    tokio::join!(worker.work(), watching);
    let calls = destination.calls();
    assert!(calls[1].begun - calls[0].ended.unwrap() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_written_down_past_a_batch_that_is_slow_to_settle_on_postgres() {
    a_wait_is_written_down_past_a_batch_that_is_slow_to_settle(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_written_down_past_a_batch_that_is_slow_to_settle_on_mariadb() {
    a_wait_is_written_down_past_a_batch_that_is_slow_to_settle(Engine::MariaDb).await;
}

/// `SQLite` has one writer.
async fn a_wait_is_written_down_past_a_batch_that_is_slow_to_settle(engine: Engine) {
    let outbox = TestOutbox::open(engine).await;
    let slow = outbox.submit(2).await[0];
    let (told, asked) = (CancellationToken::new(), CancellationToken::new());
    let (delivers, asks) = (told.clone(), asked.clone());
    let destination = Arc::new(Scripted::new(&FEE_SERVER, move |event| {
        let wait = Outcome::RetryAfter("429".into(), Duration::from_mins(1));
        if event.id == slow {
            Cue::AnswerAfter(delivers.clone(), delivered())
        } else {
            Cue::AnswerAfter(asks.clone(), wait)
        }
    }));
    let worker = outbox.worker("a", &destination, worker_settings());
    let watching = async {
        destination.begun(2).await;
        let other = outbox.db.begin().await.unwrap();
        outbox_event::Entity::find_by_id(slow).lock_exclusive().one(&*other).await.unwrap();
        told.cancel();
        let waiting = match engine {
            // `innodb_trx` is renewed only when nobody has read it for a while.
            Engine::MariaDb => {
                "SELECT 'yes' FROM information_schema.processlist WHERE db = DATABASE() AND command <> 'Sleep' \
                 AND id <> CONNECTION_ID() AND time_ms > 200"
            }
            _ => "SELECT 'yes' FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        };
        let settles = async || (!outbox.texts(waiting).await.is_empty()).then_some(());
        eventually("the batch is being settled", LIMIT, settles).await;
        asked.cancel();
        eventually("the wait is known", LIMIT, async || outbox.fee_server().await.not_before).await;
        other.rollback().await.unwrap();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap(), Report { claimed: 2, delivered: 1, retried: 1, ..Report::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_stop_calling_a_real_fee_server_a_second_after_its_429_on_postgres() {
    two_workers_stop_calling_a_real_fee_server_a_second_after_its_429(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_stop_calling_a_real_fee_server_a_second_after_its_429_on_mariadb() {
    two_workers_stop_calling_a_real_fee_server_a_second_after_its_429(Engine::MariaDb).await;
}

async fn two_workers_stop_calling_a_real_fee_server_a_second_after_its_429(engine: Engine) {
    const WAIT: Duration = Duration::from_secs(8);
    let latency = Duration::from_millis(100);
    let stage = Stage::new(engine, Faults { latency, ..Faults::default() }).await;
    stage.submit(2_000).await;
    let network = Proxy::start(stage.database.server_addr()).await;
    network.delay(ROUND_TRIP);
    let url = stage.database.url_through(network.addr());
    let settings = [("database.url", &*url), ("worker.concurrency", "8"), ("worker.lease", "30s")];
    let workers: [Process; 2] = stage.workers(&settings).await;
    stage.under_load(16).await;
    let asks = Faults { latency, fail_rate: 1.0, retry_after: Some(WAIT), ..Faults::default() };
    let asked = Instant::now();
    stage.fee_server.set_faults(asks);
    eventually("the fleet knows of the wish", LIMIT, async || stage.destination().await?.not_before).await;
    tokio::time::sleep_until((asked + WAIT.saturating_sub(Duration::from_secs(1))).into()).await;
    // The first that was asked to wait may have come just before; the answer takes the latency.
    let since = |limit: Duration| stage.fee_server.arrivals().iter().filter(|at| **at > asked + limit).count();
    let [first, late] = [latency, latency + Duration::from_secs(1) + 10 * ROUND_TRIP].map(since);
    println!(
        "{engine:?}, 30 ms away: {first} calls after the first 429, {late} of them more than a second and a write later"
    );
    assert_eq!(late, 0, "{first}");
    assert!(first <= 16, "{first}");
    drop(workers);
}

/// A scripted destination that answers call number n when its token is cancelled.
fn scripted(script: impl Fn(usize) -> (CancellationToken, Outcome<()>) + Send + Sync + 'static) -> Arc<Scripted> {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    Arc::new(Scripted::new(&FEE_SERVER, move |_| {
        let (token, outcome) = script(calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Cue::AnswerAfter(token, outcome)
    }))
}

/// The database, as seen from 30 ms away; an `SQLite` file is at hand.
struct Far {
    db: Database,
    _network: Option<Proxy>,
}

impl Far {
    async fn from(outbox: &TestOutbox) -> Far {
        if outbox.database.engine() == Engine::Sqlite {
            return Far { db: outbox.db.clone(), _network: None };
        }
        let network = Proxy::start(outbox.database.server_addr()).await;
        network.delay(ROUND_TRIP);
        let url = outbox.database.url_through(network.addr());
        let settings = Settings::load(&Sources::overrides([("database.url", &url)])).unwrap();
        Far { db: Database::connect(&settings.database).await.unwrap(), _network: Some(network) }
    }

    fn worker(&self, outbox: &TestOutbox, name: &str, destination: &Arc<Scripted>) -> Worker<Scripted> {
        self.worker_told(outbox, name, destination, Signals::default())
    }

    fn worker_told(
        &self,
        outbox: &TestOutbox,
        name: &str,
        destination: &Arc<Scripted>,
        signals: Signals,
    ) -> Worker<Scripted> {
        let settings = settings::Worker { concurrency: IN_THE_AIR, ..worker_settings() };
        Worker::new(self.db.clone(), Arc::clone(destination), outbox.policy.clone(), settings, name.into(), signals)
    }
}
