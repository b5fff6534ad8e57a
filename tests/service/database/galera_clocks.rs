//! A Galera cluster whose nodes have clocks that differ: the second one's is two seconds ahead. The clock of the node decides that
//! runs a statement, and nothing that a promise depends on happens early by it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use feebox::operator;
use feebox::outbox::{Disposition, LimitChange, LimitsChange, Outcome};
use feebox::quotes::FEE_SERVER;
use migration::{Migrator, MigratorTrait};

use crate::support::{ANN, Galera, LIMIT, TestDatabase, TestOutbox, attempt, eventually};

/// Shorter than the clocks differ.
const MOMENT: Duration = Duration::from_millis(1_900);

/// One database by way of the first node and of the second.
async fn both(galera: &Galera) -> [TestOutbox; 2] {
    let database = TestDatabase::create_on_all(galera).await;
    Migrator::up(&galera.node(&database, 1).connect().await, None).await.unwrap();
    let behind = TestOutbox::on(galera.node(&database, 1)).await;
    let ahead = TestOutbox::on(galera.node(&database, 2)).await;
    let differ = ahead.now().await - behind.now().await;
    assert!(differ > chrono::TimeDelta::from_std(MOMENT).unwrap(), "{differ}");
    [behind, ahead]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_is_taken_back_before_its_end_by_a_clock_that_is_ahead() {
    let galera = Galera::turn().await;
    let [behind, ahead] = both(&galera).await;
    behind.submit(1).await;
    let leased = loop {
        let begun = Instant::now();
        let claim = behind.claim_of(&FEE_SERVER, "behind", 1, MOMENT).await;
        let rescued = ahead.rescue("ahead").await;
        if begun.elapsed() < MOMENT {
            assert_eq!(rescued.len(), 0, "its holder may be at work");
            break claim.events;
        }
        // The machine was too slow to tell.
    };
    let rescued = eventually("the lease ends", LIMIT, async || {
        let rescued = ahead.rescue("ahead").await;
        (!rescued.is_empty()).then_some(rescued)
    });
    assert_eq!(rescued.await.len(), 1);
    let late = behind.settle_one("behind", &leased[0], Outcome::Delivered(())).await;
    assert!(matches!(late, Disposition::LeaseLost(_)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_begins_before_its_time_by_a_clock_that_is_ahead() {
    let galera = Galera::turn().await;
    let [behind, ahead] = both(&galera).await;
    behind.submit(2).await;
    let claimed = behind.claim("behind", 1).await;
    let begun = Instant::now();
    let busy = Outcome::<()>::RetryAfter("429".into(), MOMENT);
    behind.settle("behind", &[attempt(&claimed[0], busy)]).await;
    let claim = ahead.ask("ahead", 10).await;
    assert!(claim.events.is_empty() || begun.elapsed() > MOMENT, "{claim:?}");
    let mut claimed = BTreeSet::new();
    eventually("the wait is over", LIMIT, async || {
        claimed.extend(ahead.claim("ahead", 10).await.into_iter().map(|event| event.id));
        (claimed.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_together_have_no_more_calls_in_flight_than_the_fleet_may() {
    let galera = Galera::turn().await;
    let [one, two] = both(&galera).await;
    one.submit(60).await;
    limit(&one, LimitsChange { per_second: LimitChange::Keep, in_flight: LimitChange::Set(5) }).await;
    for round in 0..8 {
        let (first, second) = tokio::join!(one.claim("one", 5), two.claim("two", 5));
        assert!(first.len() + second.len() <= 5, "round {round}: {} and {}", first.len(), second.len());
        for (outbox, worker, events) in [(&one, "one", first), (&two, "two", second)] {
            let done: Vec<_> = events.iter().map(|event| attempt(event, Outcome::Delivered(()))).collect();
            outbox.settle(worker, &done).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_together_begin_no_more_calls_a_second_than_the_fleet_may() {
    let galera = Galera::turn().await;
    let [one, two] = both(&galera).await;
    one.submit(300).await;
    limit(&one, LimitsChange { per_second: LimitChange::Set(20), in_flight: LimitChange::Keep }).await;
    let (begun, mut calls) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(4) {
        calls += one.claim("one", 100).await.len() + two.claim("two", 100).await.len();
    }
    // What is made up for, twice.
    let most = 20.0 * begun.elapsed().as_secs_f64() + 12.0;
    println!("{calls} calls began, {most:.0} may");
    assert!((20.0..most).contains(&f64::from(u32::try_from(calls).unwrap())), "{calls} calls, {most}");
}

async fn limit(outbox: &TestOutbox, change: LimitsChange) {
    operator::limit(&outbox.db, ANN, &FEE_SERVER, change).await.unwrap();
}
