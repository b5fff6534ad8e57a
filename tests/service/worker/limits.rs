//! Limits of the fleet: calls a second, and calls in flight, kept by all workers together through the database.

use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant};

use entity::destination;
use feebox::inspection::explain;
use feebox::operator::{self, ActionFilter, OperatorError, actions};
use feebox::outbox::{self, ClaimRequest, FleetLimits, LimitChange, LimitsChange, Outcome, Turn};
use feebox::quotes::FEE_SERVER;
use feebox::settings;
use feebox::worker::{Signals, Worker};
use futures_util::future::join_all;
use sea_orm::{ActiveValue::Set, EntityTrait, QuerySelect};
use tokio_util::sync::CancellationToken;

use crate::support::{
    ANN, Cue, Engine, Scripted, TestOutbox, delivered, eventually, on_each_engine, on_servers, worker_settings,
};

on_each_engine!(
    three_workers_keep_calls_a_second_and_use_them,
    calls_in_flight_are_kept_and_those_of_a_dead_worker_count_until_its_lease_ends,
    a_limit_holds_within_a_second_and_is_taken_away_within_one,
    a_limit_is_an_action_and_is_explained,
    a_claim_takes_no_more_than_may_begin,
    a_time_that_a_wrong_clock_has_stored_holds_nothing_back,
);
on_servers!(eight_workers_keep_calls_a_second_over_any_ten_seconds, a_lease_is_counted_from_the_turn_of_its_claim,);

const LIMIT: Duration = Duration::from_mins(2);
const LEASE: Duration = Duration::from_secs(30);

fn at_once() -> Arc<Scripted> {
    Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())))
}

fn to(limit: Option<u32>) -> LimitChange {
    limit.map_or(LimitChange::Remove, LimitChange::Set)
}

fn change(per_second: Option<u32>, in_flight: Option<u32>) -> LimitsChange {
    LimitsChange { per_second: to(per_second), in_flight: to(in_flight) }
}

async fn limit(outbox: &TestOutbox, per_second: Option<u32>, in_flight: Option<u32>) {
    operator::limit(&outbox.db, ANN, &FEE_SERVER, change(per_second, in_flight)).await.unwrap();
}

/// Workers with a pool each: they share the database, and nothing else.
async fn fleet(
    outbox: &TestOutbox,
    workers: usize,
    destination: &Arc<Scripted>,
    signals: &Signals,
) -> Vec<Worker<Scripted>> {
    let mut fleet = vec![];
    for number in 0..workers {
        let (db, name) = (outbox.database.open().await, format!("worker-{number}"));
        let settings = settings::Worker { concurrency: 16, ..worker_settings() };
        let (destination, policy) = (Arc::clone(destination), outbox.policy.clone());
        fleet.push(Worker::new(db, destination, policy, settings, name, signals.clone()));
    }
    fleet
}

/// The most calls that began within any time of this length.
pub(super) fn most_within<At: Copy + PartialOrd + Add<Length, Output = At>, Length: Copy>(
    begun: &[At],
    length: Length,
) -> usize {
    let from = |first: &At| begun.iter().filter(|at| **at >= *first && **at < *first + length).count();
    begun.iter().map(from).max().unwrap_or(0)
}

async fn deliver_all(outbox: &TestOutbox, workers: usize, events: usize) -> Vec<Instant> {
    outbox.submit(events).await;
    let (destination, signals) = (at_once(), Signals::default());
    let fleet = fleet(outbox, workers, &destination, &signals).await;
    let watching = async {
        destination.begun(events).await;
        signals.drain.cancel();
    };
    tokio::join!(join_all(fleet.iter().map(Worker::work)), watching);
    let mut begun: Vec<_> = destination.calls().iter().map(|call| call.begun).collect();
    begun.sort();
    begun
}

async fn eight_workers_keep_calls_a_second_over_any_ten_seconds(engine: Engine) {
    let outbox = TestOutbox::open(engine).await;
    limit(&outbox, Some(20), None).await;
    let begun = deliver_all(&outbox, 8, 300).await;
    let (most, took) = (most_within(&begun, Duration::from_secs(10)), *begun.last().unwrap() - begun[0]);
    println!("{engine:?}, 20 a second by eight workers: at most {most} within 10 s, 300 in {took:.1?}");
    assert!(most <= 210, "{most}");
    // As slow as it may be on a busy machine.
    assert!(took < Duration::from_secs(25), "{took:?}");
}

async fn a_lease_is_counted_from_the_turn_of_its_claim(engine: Engine) {
    let outbox = TestOutbox::open(engine).await;
    limit(&outbox, Some(20), None).await;
    outbox.submit(1).await;
    let other = outbox.db.begin().await.unwrap();
    destination::Entity::find_by_id(&*FEE_SERVER).lock_exclusive().one(&*other).await.unwrap();
    let waiting = match engine {
        Engine::MariaDb => {
            "SELECT 'yes' FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() \
             AND info LIKE '%destination%FOR UPDATE'"
        }
        _ => "SELECT 'yes' FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    };
    let watching = async {
        let waits = async || (!outbox.texts(waiting).await.is_empty()).then_some(());
        eventually("the claim waits for its turn", LIMIT, waits).await;
        let turn = outbox.db.now(outbox.db.connection()).await.unwrap();
        other.rollback().await.unwrap();
        turn
    };
    let turn = Turn::default();
    let request = ClaimRequest { destination: &FEE_SERVER, worker: "a", limit: 1, lease: LEASE, lanes: &[], turn };
    let (claim, turn) = tokio::join!(outbox::claim(&outbox.db, &request), watching);
    let leased_until = outbox.event(claim.unwrap().events[0].id).await.leased_until.unwrap();
    assert!(leased_until >= turn + LEASE, "{leased_until} {turn}");
}

async fn three_workers_keep_calls_a_second_and_use_them(outbox: TestOutbox) {
    limit(&outbox, Some(25), None).await;
    let begun = deliver_all(&outbox, 3, 100).await;
    let most = most_within(&begun, Duration::from_secs(2));
    println!("{:?}, 25 a second: at most {most} within 2 s", outbox.database.engine());
    // What claims that came late make up for is a quarter of a second.
    assert!(most <= 50 + 8, "{most}");
    assert_eq!(begun.len(), 100, "each once");
}

async fn calls_in_flight_are_kept_and_those_of_a_dead_worker_count_until_its_lease_ends(outbox: TestOutbox) {
    limit(&outbox, None, Some(4)).await;
    outbox.submit(30).await;
    // This worker dies with three calls.
    assert_eq!(outbox.claim("dead", 3).await.len(), 3);
    let (answer, signals) = (CancellationToken::new(), Signals::default());
    let token = answer.clone();
    let destination = Arc::new(Scripted::new(&FEE_SERVER, move |_| Cue::AnswerAfter(token.clone(), delivered())));
    let fleet = fleet(&outbox, 3, &destination, &signals).await;
    let watching = async {
        destination.begun(1).await;
        let none = outbox.ask("other", 10).await;
        assert!(none.events.is_empty() && none.limited.is_some() && none.hold.is_none(), "{none:?}");
        let before = destination.calls().len();
        // For this one the leases of all have ended, and nothing has taken them back: four more may begin.
        let later = outbox.database.open().await;
        later.clock().advance(LEASE + Duration::from_secs(1));
        let turn = Turn::default();
        let request =
            ClaimRequest { destination: &FEE_SERVER, worker: "later", limit: 10, lease: LEASE, lanes: &[], turn };
        assert_eq!(outbox::claim(&later, &request).await.unwrap().events.len(), 4);
        assert_eq!((before, destination.calls().len()), (1, 1));
        answer.cancel();
        signals.drain.cancel();
    };
    tokio::join!(join_all(fleet.iter().map(Worker::work)), watching);
}

async fn a_limit_holds_within_a_second_and_is_taken_away_within_one(outbox: TestOutbox) {
    const EVENTS: usize = 3_000;
    outbox.submit(EVENTS).await;
    let (destination, signals) = (at_once(), Signals::default());
    let fleet = fleet(&outbox, 2, &destination, &signals).await;
    let watching = async {
        destination.begun(20).await;
        limit(&outbox, Some(1), None).await;
        let set = Instant::now();
        tokio::time::sleep_until((set + Duration::from_secs(4)).into()).await;
        let late = destination.calls().iter().filter(|call| call.begun > set + Duration::from_secs(1)).count();
        assert!(late <= 5, "{late} calls after the first second");
        assert!(destination.calls().len() < EVENTS, "there is something left to hold back");
        limit(&outbox, None, None).await;
        let begun = destination.calls().len();
        eventually("calls begin as before", LIMIT, async || (destination.calls().len() >= begun + 20).then_some(()))
            .await;
        signals.drain.cancel();
    };
    tokio::join!(join_all(fleet.iter().map(Worker::work)), watching);
}

async fn a_limit_is_an_action_and_is_explained(outbox: TestOutbox) {
    let [event] = outbox.submit(1).await[..] else { panic!("one event") };
    limit(&outbox, Some(5), Some(3)).await;
    limit(&outbox, Some(5), Some(3)).await;
    let only_rate = LimitsChange { per_second: LimitChange::Remove, in_flight: LimitChange::Keep };
    let sentence = explain(&outbox.db, event).await.unwrap().unwrap().sentence;
    assert!(sentence.contains("fee-server has the fleet's limit of 5 calls a second and 3 in flight"), "{sentence}");
    let left = operator::limit(&outbox.db, ANN, &FEE_SERVER, only_rate).await.unwrap();
    assert_eq!(left.limits, FleetLimits { per_second: None, in_flight: Some(3) }, "what is not named stays");
    let done = actions::list(outbox.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done.iter().map(|it| it.action.as_str()).collect::<Vec<_>>(), ["destination.limit"; 2]);
    assert_eq!(done[0].details["limits"]["in_flight"], 3);
    assert_eq!(done[0].details["limits_before"]["per_second"], 5);
    let unknown = operator::limit(&outbox.db, ANN, "moon", only_rate).await.unwrap_err();
    assert!(matches!(unknown, OperatorError::NotFound(_)), "{unknown}");
}

async fn a_claim_takes_no_more_than_may_begin(outbox: TestOutbox) {
    outbox.submit(20).await;
    limit(&outbox, Some(10), Some(6)).await;
    let claim = outbox.ask("a", 10).await;
    // One, and what has become due since, but no more than a quarter of a second makes up for.
    assert!((1..=3).contains(&claim.events.len()), "{claim:?}");
    assert!(claim.limited.is_some_and(|wait| wait <= Duration::from_millis(100)), "{claim:?}");
    outbox.advance(Duration::from_mins(1));
    assert!((1..=3).contains(&outbox.claim("b", 10).await.len()), "time in which nobody called is not saved up");
    // All leases have ended by this clock.
    outbox.advance(Duration::from_mins(1));
    limit(&outbox, None, Some(6)).await;
    assert_eq!(outbox.claim("a", 4).await.len(), 4);
    let rest = outbox.claim("b", 10).await;
    assert_eq!(rest.len(), 2);
    assert_eq!(outbox.claim("c", 10).await.len(), 0);
    outbox.settle_one("b", &rest[0], Outcome::Delivered(())).await;
    assert_eq!(outbox.claim("c", 10).await.len(), 1, "a call that has ended makes room");
    limit(&outbox, None, None).await;
    assert!(outbox.ask("c", 10).await.limited.is_none());
}

async fn a_time_that_a_wrong_clock_has_stored_holds_nothing_back(outbox: TestOutbox) {
    outbox.submit(2).await;
    limit(&outbox, Some(5), None).await;
    let ahead = outbox.now().await + Duration::from_hours(24);
    let next = destination::ActiveModel { next_call_at: Set(Some(ahead)), ..Default::default() };
    destination::Entity::update_many().set(next).exec(outbox.db.connection()).await.unwrap();
    assert!(!outbox.claim("a", 1).await.is_empty());
}
