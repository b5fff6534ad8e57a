//! A topic is missing, is made anew, may not be written, or refuses a record.

use std::time::{Duration, Instant};

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::quotes::{FEE_CREATED, QUOTE_REJECTED, QUOTE_SUBMITTED};
use serde_json::json;

use super::{COOL_DOWN, FEES, LIMIT, QUOTES, Telling, ids, store};
use crate::support::{KafkaCluster, eventually};

const OF_QUOTES: usize = 0;
/// After a topic is repaired the probe comes within a cool-down, and this much later at most.
const PROBE_LATE_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_yet_kills_nothing_and_holds_back_no_other_topic() {
    let cluster = KafkaCluster::turn().await;
    cluster.delete(QUOTES).await;
    let telling = Telling::to(&cluster).await;
    for _ in 0..40 {
        telling.quote().await;
    }
    telling.circuit_is(OF_QUOTES, Circuit::Open).await;
    for _ in 0..20 {
        telling.fee().await;
    }
    eventually("fees go on", LIMIT, async || (telling.delivered(&FEE_CREATED).await == 20).then_some(())).await;
    let waiting = telling.with_status(Status::Pending).await;
    assert!(waiting.len() + telling.with_status(Status::Leased).await.len() == 120, "{}", waiting.len());
    assert!(waiting.iter().all(|event| event.attempts == 0), "no attempt is spent");

    cluster.create(QUOTES).await;
    let repaired = Instant::now();
    eventually("the first is told", LIMIT, async || (telling.delivered(&QUOTE_SUBMITTED).await > 0).then_some(()))
        .await;
    let took = repaired.elapsed();
    println!("a topic made: the first told after {took:?}");
    assert!(took < COOL_DOWN + PROBE_LATE_MAX, "{took:?}");
    telling.all_are_delivered().await;
    assert_eq!(telling.circuit(OF_QUOTES).await.circuit, Circuit::Closed);
    telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    telling.told_once_and_in_order(FEES, &[&FEE_CREATED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_made_anew_under_load_kills_nothing() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    let deleting = async {
        telling.pass(Duration::from_secs(2)).await;
        cluster.delete(QUOTES).await;
        telling.pass(Duration::from_secs(5)).await;
        let made = telling.outbox.now().await;
        cluster.create(QUOTES).await;
        telling.pass(Duration::from_secs(3)).await;
        made
    };
    let made = telling.under_load(deleting).await;
    telling.all_are_delivered().await;
    // What was stored in the old topic is gone with it; all else is in the new one, once.
    let events = telling.outbox.events().await;
    let read = telling.read(QUOTES, super::by_quote(&events).keys()).await;
    for event in &events {
        let times = ids(&read[&event.aggregate_id]).iter().filter(|id| **id == event.id).count();
        let is_older = event.settled_at.unwrap() <= made;
        assert!(times == 1 || times == 0 && is_older, "{times} times: {event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_for_a_while_kills_nothing_and_holds_back_no_other_topic() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    let denying = async {
        telling.pass(Duration::from_secs(2)).await;
        cluster.tell(&format!("deny {QUOTES}"), "denied");
        telling.circuit_is(OF_QUOTES, Circuit::Open).await;
        for _ in 0..20 {
            telling.fee().await;
        }
        eventually("fees go on", LIMIT, async || (telling.delivered(&FEE_CREATED).await == 20).then_some(())).await;
        telling.pass(Duration::from_secs(5)).await;
        let before = telling.delivered(&QUOTE_SUBMITTED).await;
        cluster.tell(&format!("allow {QUOTES}"), "allowed");
        let repaired = Instant::now();
        eventually("one is told", LIMIT, async || (telling.delivered(&QUOTE_SUBMITTED).await > before).then_some(()))
            .await;
        repaired.elapsed()
    };
    let took = telling.under_load(denying).await;
    println!("a right given back: the first told after {took:?}");
    assert!(took < COOL_DOWN + PROBE_LATE_MAX, "{took:?}");
    telling.all_are_delivered().await;
    assert!(telling.outbox.events().await.iter().all(|event| event.attempts == 1), "no attempt is spent in vain");
    telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    telling.told_once_and_in_order(FEES, &[&FEE_CREATED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_above_its_topics_limit_goes_dead_alone() {
    let cluster = KafkaCluster::turn().await;
    cluster.set(QUOTES, "max.message.bytes", "10000").await;
    // All wait, so that they are sent together.
    let telling = Telling::to(&cluster).await;
    telling.outbox.pause("kafka").await;
    let mut too_large = vec![];
    for n in 0..300 {
        telling.quote().await;
        // The brokers refuse one, and the client itself the other.
        let length = [(100, 20_000), (200, 1_100_000)].iter().find(|(at, _)| *at == n);
        if let Some((_, length)) = length {
            let payload = json!({ "text": "x".repeat(*length) });
            too_large.push(store(&telling.outbox, &[&QUOTE_SUBMITTED], payload).await);
        }
    }
    telling.outbox.resume("kafka").await;
    let unsettled = async || {
        let left = telling.with_status(Status::Pending).await.len() + telling.with_status(Status::Leased).await.len();
        (left == 0).then_some(())
    };
    eventually("all events are settled", LIMIT, unsettled).await;
    let dead = telling.with_status(Status::Dead).await;
    let mut of_quotes: Vec<_> = dead.iter().map(|event| event.aggregate_id).collect();
    of_quotes.sort_unstable();
    assert_eq!(of_quotes, too_large);
    for event in &dead {
        assert!(event.last_error.as_ref().unwrap().contains("MessageSizeTooLarge"), "{:?}", event.last_error);
    }
    let mut others = telling.outbox.events().await;
    others.retain(|event| event.status == Status::Delivered);
    assert_eq!(others.len(), 900);
    assert!(others.iter().all(|event| event.attempts == 1));
    let read = telling.read(QUOTES, super::by_quote(&others).keys()).await;
    for (quote, expected) in super::by_quote(&others) {
        assert_eq!(ids(&read[&quote]), expected);
    }
}
