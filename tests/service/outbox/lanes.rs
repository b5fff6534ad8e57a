//! Parts of a destination with circuits of their own: at Kafka, its topics.

use std::time::Duration;

use entity::destination::{self, Circuit};
use entity::outbox_event::Status;
use feebox::outbox::{self, Claim, Disposition, EventType, LeasedEvent, Outcome};
use feebox::quotes::{FEE_CREATED, KAFKA, QUOTE_CANCELLED, QUOTE_SUBMITTED, TOPICS};
use sea_orm::EntityTrait;
use uuid::Uuid;

use crate::support::{TestOutbox, attempt, delivered, on_each_engine, refused, retry, unknown};

on_each_engine!(
    an_unusable_lane_holds_back_its_own_events_and_no_others,
    an_unusable_lane_spends_no_attempt_and_kills_no_event,
    later_events_of_a_quote_wait_for_its_event_in_an_unusable_lane,
    a_probe_that_is_delivered_or_refused_closes_the_circuit_of_its_lane,
    a_probe_that_fails_keeps_the_circuit_of_its_lane_open,
    one_worker_of_the_fleet_has_the_probe_of_a_lane,
    a_probe_of_a_lane_that_finds_nothing_is_not_used_up,
    an_unusable_lane_shows_that_its_destination_answers,
    what_is_put_off_spends_nothing_and_is_due_later,
);

const COOL_DOWN: Duration = Duration::from_secs(15);
const NO_TOPIC: &str = "UnknownTopic";

async fn an_unusable_lane_holds_back_its_own_events_and_no_others(outbox: TestOutbox) {
    outbox.record_of(&QUOTE_SUBMITTED, 3).await;
    let fees = outbox.record_of(&FEE_CREATED, 2).await;
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&first, unusable()).await;
    assert_eq!(outbox.circuits().await, [Circuit::Closed, Circuit::Open, Circuit::Closed]);

    let claim = outbox.claim_kafka("b", 10).await;
    assert_eq!(ids(&claim), fees);
    assert_eq!((claim.hold, claim.held_lanes), (None, vec![&TOPICS[0].name]));
    assert!(claim.lane_remaining.is_some_and(|wait| wait <= COOL_DOWN), "{:?}", claim.lane_remaining);
    assert!(!claim.events.iter().any(|event| event.probe));
}

async fn an_unusable_lane_spends_no_attempt_and_kills_no_event(outbox: TestOutbox) {
    let quote = outbox.record_of(&QUOTE_SUBMITTED, 1).await[0];
    for round in 0..30 {
        let claim = outbox.claim_kafka("a", 1).await;
        assert_eq!((ids(&claim), claim.events[0].probe), (vec![quote], round > 0));
        assert!(matches!(outbox.settle_kafka(&claim.events[0], unusable()).await, Disposition::Pending(_)));
        outbox.advance(COOL_DOWN);
    }
    let event = outbox.event(quote).await;
    assert_eq!((event.status, event.attempts, event.outcome_unknown), (Status::Pending, 0, false));
    assert_eq!(event.last_error.as_deref(), Some(NO_TOPIC));
}

async fn later_events_of_a_quote_wait_for_its_event_in_an_unusable_lane(outbox: TestOutbox) {
    let quote = Uuid::now_v7();
    outbox.record_at(quote, &QUOTE_SUBMITTED, 1).await;
    outbox.record_at(quote, &FEE_CREATED, 2).await;
    let other = outbox.record_of(&FEE_CREATED, 1).await;
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&first, unusable()).await;
    assert_eq!(ids(&outbox.claim_kafka("a", 10).await), other);
}

async fn a_probe_that_is_delivered_or_refused_closes_the_circuit_of_its_lane(outbox: TestOutbox) {
    for outcome in [delivered(), refused()] {
        outbox.record_of(&QUOTE_SUBMITTED, 3).await;
        let first = outbox.claim_kafka("a", 1).await.events.remove(0);
        outbox.settle_kafka(&first, unusable()).await;
        assert_eq!(outbox.claim_kafka("a", 10).await.events.len(), 0);
        outbox.advance(COOL_DOWN);
        let probe = outbox.claim_kafka("a", 10).await.events;
        assert!(probe.len() == 1 && probe[0].probe, "{probe:?}");
        outbox.settle_kafka(&probe[0], outcome).await;
        assert_eq!(outbox.circuits().await, [Circuit::Closed; 3]);
        let rest = outbox.claim_kafka("a", 10).await;
        assert!(!rest.events.is_empty() && rest.held_lanes.is_empty());
        for event in &rest.events {
            outbox.settle_kafka(event, delivered()).await;
        }
    }
}

async fn a_probe_that_fails_keeps_the_circuit_of_its_lane_open(outbox: TestOutbox) {
    outbox.record_of(&QUOTE_SUBMITTED, 6).await;
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&first, unusable()).await;
    for outcome in [unusable(), retry(), unknown()] {
        outbox.advance(COOL_DOWN);
        let probe = outbox.claim_kafka("a", 10).await.events.remove(0);
        let (error, before) = (outcome.error().unwrap().to_owned(), outbox.now().await);
        outbox.settle_kafka(&probe, outcome).await;
        let row = outbox.circuit_of(TOPICS[0].name.as_str()).await;
        assert_eq!((row.circuit, row.circuit_reason), (Circuit::Open, Some(error)));
        assert!(row.probe_at.unwrap() >= before + COOL_DOWN);
        assert_eq!(outbox.claim_kafka("a", 10).await.events.len(), 0);
    }
}

async fn one_worker_of_the_fleet_has_the_probe_of_a_lane(outbox: TestOutbox) {
    outbox.record_of(&QUOTE_SUBMITTED, 5).await;
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&first, unusable()).await;
    outbox.advance(COOL_DOWN);
    let probe = outbox.claim_kafka("a", 10).await.events;
    assert_eq!(probe.len(), 1);
    assert_eq!(outbox.claim_kafka("b", 10).await.events.len(), 0);
    // Handed back, it says nothing: another one may go at once.
    outbox.settle_kafka(&probe[0], Outcome::NotSent("drained".into())).await;
    assert_eq!(outbox.claim_kafka("b", 10).await.events.len(), 1);
}

async fn a_probe_of_a_lane_that_finds_nothing_is_not_used_up(outbox: TestOutbox) {
    let quote = outbox.record_of(&QUOTE_CANCELLED, 1).await[0];
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&first, unusable()).await;
    outbox.record_of(&FEE_CREATED, 1).await;
    let cooled_down = outbox.circuit_of(TOPICS[0].name.as_str()).await.probe_at;
    assert_eq!(outbox.claim_kafka("a", 10).await.events.len(), 1);
    assert_eq!(outbox.circuit_of(TOPICS[0].name.as_str()).await.probe_at, cooled_down);
    outbox.advance(COOL_DOWN);
    assert_eq!(ids(&outbox.claim_kafka("a", 10).await), [quote]);
}

async fn an_unusable_lane_shows_that_its_destination_answers(outbox: TestOutbox) {
    outbox.record_of(&QUOTE_SUBMITTED, 2).await;
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&first, Outcome::Unauthorised("login".into())).await;
    assert_eq!(outbox.circuits().await, [Circuit::Open, Circuit::Closed, Circuit::Closed]);
    outbox.advance(COOL_DOWN);
    let probe = outbox.claim_kafka("a", 10).await.events.remove(0);
    outbox.settle_kafka(&probe, unusable()).await;
    assert_eq!(outbox.circuits().await, [Circuit::Closed, Circuit::Open, Circuit::Closed]);
}

async fn what_is_put_off_spends_nothing_and_is_due_later(outbox: TestOutbox) {
    let quote = outbox.record_of(&QUOTE_SUBMITTED, 1).await[0];
    let first = outbox.claim_kafka("a", 1).await.events.remove(0);
    let wait = Duration::from_secs(1);
    outbox.settle_kafka(&first, Outcome::PutOff("its partition stands still".into(), wait)).await;
    let event = outbox.event(quote).await;
    assert_eq!((event.status, event.attempts, event.lease_token), (Status::Pending, 0, None));
    assert_eq!(outbox.claim_kafka("a", 1).await.events.len(), 0);
    outbox.advance(wait);
    assert_eq!(ids(&outbox.claim_kafka("a", 1).await), [quote]);
}

fn unusable() -> Outcome<()> {
    Outcome::LaneUnusable(NO_TOPIC.into())
}

fn ids(claim: &Claim) -> Vec<Uuid> {
    claim.events.iter().map(|event| event.id).collect()
}

impl TestOutbox {
    /// Stores an event of this type for Kafka.
    async fn record_at(&self, quote: Uuid, event_type: &EventType, sequence: i32) -> Uuid {
        outbox::ensure_destinations(&self.db, &[&KAFKA, &TOPICS[0].name, &TOPICS[1].name]).await.unwrap();
        self.record_as(event_type, quote, &KAFKA, sequence).await
    }

    pub(super) async fn record_of(&self, event_type: &EventType, count: usize) -> Vec<Uuid> {
        let mut recorded = vec![];
        for _ in 0..count {
            recorded.push(self.record_at(Uuid::now_v7(), event_type, 1).await);
        }
        recorded
    }

    pub(super) async fn claim_kafka(&self, worker: &str, limit: usize) -> Claim {
        self.claim_of(&KAFKA, worker, limit, Self::LEASE).await
    }

    pub(super) async fn settle_kafka(&self, event: &LeasedEvent, outcome: Outcome<()>) -> Disposition {
        let txn = self.db.begin().await.unwrap();
        let attempts = [attempt(event, outcome)];
        let settling = outbox::settle(&txn, self.db.clock(), &KAFKA, "a", &self.policy, &attempts).await.unwrap();
        txn.commit().await.unwrap();
        settling.dispositions.into_iter().next().unwrap()
    }

    async fn circuit_of(&self, name: &str) -> destination::Model {
        destination::Entity::find_by_id(name).one(self.db.connection()).await.unwrap().unwrap()
    }

    /// Of Kafka, of the topic of quotes, and of that of fees.
    async fn circuits(&self) -> [Circuit; 3] {
        let [quotes, fees] = [0, 1].map(|topic: usize| TOPICS[topic].name.as_str());
        [
            self.circuit_of(KAFKA.as_str()).await.circuit,
            self.circuit_of(quotes).await.circuit,
            self.circuit_of(fees).await.circuit,
        ]
    }
}
