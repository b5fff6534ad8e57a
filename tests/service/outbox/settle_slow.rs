//! Settling and rescuing while the database is far away, silent, or loses its answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use feebox::database::{Database, DatabaseTransaction};
use feebox::destination::Destination;
use feebox::outbox::{DestinationName, LeasedEvent, Outcome, Settled};
use feebox::quotes::FEE_SERVER;
use feebox::settings::{self, Settings, Sources};
use feebox::worker::{Report, Signals, Worker};
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;

use crate::support::{Cue, LIMIT, Proxy, Scripted, TestOutbox, delivered, eventually, worker_settings};

/// Runs each of the named functions on each engine that is reached by a network.
macro_rules! on_each_server {
    ($($promise:ident),+ $(,)?) => {
        crate::support::on_each_engine!(postgres, Postgres: $($promise),+);
        crate::support::on_each_engine!(mariadb, MariaDb: $($promise),+);
    };
}

on_each_server!(
    six_hundred_expired_leases_are_delivered_within_two_leases_at_22_ms,
    six_hundred_expired_leases_are_delivered_within_two_leases_at_50_ms,
    refused_credentials_are_settled_at_50_ms,
    a_database_that_falls_silent_while_settling_repeats_no_delivery,
    a_settle_whose_commit_lost_its_answer_counts_as_what_it_was,
    a_worker_whose_run_failed_runs_again_by_itself,
);

const LEASE: Duration = Duration::from_secs(12);

async fn six_hundred_expired_leases_are_delivered_within_two_leases_at_22_ms(outbox: TestOutbox) {
    Box::pin(expired_leases_are_delivered(outbox, Duration::from_millis(22))).await;
}

async fn six_hundred_expired_leases_are_delivered_within_two_leases_at_50_ms(outbox: TestOutbox) {
    Box::pin(expired_leases_are_delivered(outbox, Duration::from_millis(50))).await;
}

async fn expired_leases_are_delivered(outbox: TestOutbox, round_trip: Duration) {
    const EXPIRED: usize = 600;
    outbox.submit(EXPIRED).await;
    let claim = outbox.claim_of(&FEE_SERVER, "dead-worker", EXPIRED, Duration::from_millis(1)).await;
    assert_eq!(claim.events.len(), EXPIRED);
    let (proxy, db) = through_a_proxy(&outbox).await;
    proxy.delay(round_trip);
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    let signals = Signals::default();
    let worker = worker(&outbox, db, &scripted, LEASE, signals.clone());
    let begun = Instant::now();
    let watching = async {
        let fresh = outbox.submit(1).await[0];
        signals.wake.send();
        eventually("the fresh quote is delivered", LIMIT, async || {
            (outbox.event(fresh).await.status == Status::Delivered).then_some(())
        })
        .await;
        let fresh = begun.elapsed();
        eventually("all are delivered", LIMIT, async || {
            let events = outbox.events().await;
            events.iter().all(|event| event.status == Status::Delivered).then_some(())
        })
        .await;
        let all = begun.elapsed();
        signals.drain.cancel();
        (fresh, all)
    };
    let ((), (fresh, all)) = tokio::join!(worker.work(), watching);
    let engine = outbox.database.engine();
    println!(
        "{engine:?}, {round_trip:?} to the database: the fresh quote after {fresh:.1?}, all {EXPIRED} after {all:.1?}"
    );
    assert!(fresh <= LEASE, "{fresh:?}");
    assert!(all <= LEASE * 2, "{all:?}");
    let events = outbox.events().await;
    assert!(events.iter().all(|event| event.attempts <= 2), "no attempt was lost on the way");
}

/// Failures are written down as quickly as deliveries.
async fn refused_credentials_are_settled_at_50_ms(outbox: TestOutbox) {
    const EVENTS: usize = 400;
    outbox.submit(EVENTS).await;
    let (proxy, db) = through_a_proxy(&outbox).await;
    proxy.delay(Duration::from_millis(50));
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(Outcome::Unauthorised("401".into()))));
    let worker = worker(&outbox, db, &scripted, LEASE, Signals::default());
    let begun = Instant::now();
    let report = worker.run_once().await.unwrap();
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
    assert_eq!((report.lost, report.dead, report.delivered), (0, 0, 0), "{report}");
    let events = outbox.events().await;
    assert!(events.iter().all(|event| event.status == Status::Pending && event.attempts == 0));
}

async fn a_database_that_falls_silent_while_settling_repeats_no_delivery(outbox: TestOutbox) {
    const EVENTS: usize = 50;
    outbox.submit(EVENTS).await;
    let (proxy, db) = through_a_proxy(&outbox).await;
    let told = CancellationToken::new();
    let cue = Cue::AnswerAfter(told.clone(), delivered());
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, move |_| cue.clone()));
    let worker = worker(&outbox, db, &scripted, LEASE, Signals::default());
    let silence = async {
        scripted.begun(EVENTS).await;
        proxy.pause();
        told.cancel();
        // Longer than a try is given.
        tokio::time::sleep(LEASE / 3 + Duration::from_millis(500)).await;
        proxy.resume();
    };
    let (report, ()) = tokio::join!(worker.run_once(), silence);
    assert_eq!(report.unwrap(), Report { claimed: EVENTS, delivered: EVENTS, ..Report::default() });
    assert_eq!(scripted.calls().len(), EVENTS);
    let events = outbox.events().await;
    assert!(events.iter().all(|event| (event.status, event.attempts) == (Status::Delivered, 1)));
}

async fn a_settle_whose_commit_lost_its_answer_counts_as_what_it_was(outbox: TestOutbox) {
    const EVENTS: usize = 20;
    outbox.submit(EVENTS).await;
    let (proxy, db) = through_a_proxy(&outbox).await;
    let proxy = Arc::new(proxy);
    let losing = Arc::new(LosesTheFirstCommit { proxy: Arc::clone(&proxy), lost: CancellationToken::new() });
    let worker = worker(&outbox, db, &losing, LEASE, Signals::default());
    let mending = async {
        losing.lost.cancelled().await;
        eventually("the commit went through", LIMIT, async || {
            let events = outbox.events().await;
            events.iter().any(|event| event.status == Status::Delivered).then_some(())
        })
        .await;
        proxy.resume();
    };
    let (report, ()) = tokio::join!(worker.run_once(), mending);
    assert_eq!(report.unwrap(), Report { claimed: EVENTS, delivered: EVENTS, ..Report::default() });
    let events = outbox.events().await;
    assert!(events.iter().all(|event| (event.status, event.attempts) == (Status::Delivered, 1)));
}

async fn a_worker_whose_run_failed_runs_again_by_itself(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let (proxy, db) = through_a_proxy(&outbox).await;
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    let signals = Signals::default();
    let worker = worker(&outbox, db, &scripted, Duration::from_secs(3), signals.clone());
    proxy.black_hole();
    signals.wake.send();
    let watching = async {
        // Longer than a run waits for the database.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        proxy.cut();
        proxy.resume();
        eventually("it is delivered without a tick", LIMIT, async || {
            (outbox.event(event).await.status == Status::Delivered).then_some(())
        })
        .await;
        signals.drain.cancel();
    };
    tokio::join!(worker.work(), watching);
}

/// Another process of the fleet, whose network to the database the test has in its hand.
async fn through_a_proxy(outbox: &TestOutbox) -> (Proxy, Database) {
    let proxy = Proxy::start(outbox.database.server_addr()).await;
    let db = open(outbox, proxy.addr()).await;
    (proxy, db)
}

async fn open(outbox: &TestOutbox, addr: SocketAddr) -> Database {
    let url = outbox.database.url_through(addr);
    let settings = Settings::load(&Sources::overrides([("database.url", &url)])).unwrap();
    Database::connect(&settings.database).await.unwrap()
}

fn worker<D: Destination>(
    outbox: &TestOutbox,
    db: Database,
    destination: &Arc<D>,
    lease: Duration,
    signals: Signals,
) -> Worker<D> {
    let settings = settings::Worker { lease, ..worker_settings() };
    Worker::new(db, Arc::clone(destination), outbox.policy.clone(), settings, "a".into(), signals)
}

/// Has the network lose all answers from the first commit of a settle on.
struct LosesTheFirstCommit {
    proxy: Arc<Proxy>,
    lost: CancellationToken,
}

#[async_trait::async_trait]
impl Destination for LosesTheFirstCommit {
    type Receipt = ();

    fn name(&self) -> &'static DestinationName {
        &FEE_SERVER
    }

    async fn deliver(&self, _event: &LeasedEvent) -> Outcome<()> {
        delivered()
    }

    async fn apply(
        &self,
        _txn: &DatabaseTransaction,
        _settled: &[Settled<'_, ()>],
        _now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        if !self.lost.is_cancelled() {
            self.proxy.lose_answers();
            self.lost.cancel();
        }
        Ok(())
    }
}
