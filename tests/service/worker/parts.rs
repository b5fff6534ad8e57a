//! Destinations whose parts fail or wait by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use entity::destination::{self, Circuit};
use entity::outbox_event::Status;
use feebox::database::DatabaseTransaction;
use feebox::destination::Destination;
use feebox::outbox::{DestinationName, Lane, LeasedEvent, Outcome, Settled};
use feebox::quotes::{FEE_CREATED, KAFKA, QUOTE_SUBMITTED, TOPICS};
use feebox::settings;
use sea_orm::{DbErr, EntityTrait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Cue, LIMIT, Scripted, TestOutbox, delivered, eventually, on_each_engine, worker_settings};

on_each_engine!(
    an_unusable_lane_gets_nothing_more_in_a_run_that_goes_on_with_the_others,
    a_delivery_that_waits_for_long_leaves_its_place_where_that_is_permitted,
    no_more_than_twice_as_many_deliveries_as_places_are_under_way,
    events_are_leased_for_half_as_long_again_as_a_delivery_may_wait,
);

const PATIENCE: Duration = Duration::from_mins(1);

/// A destination with two lanes, where waiting costs nothing.
struct InParts(Scripted);

async fn an_unusable_lane_gets_nothing_more_in_a_run_that_goes_on_with_the_others(outbox: TestOutbox) {
    let (mut quotes, mut fees) = (vec![], vec![]);
    for _ in 0..10 {
        quotes.push(outbox.record_as(&QUOTE_SUBMITTED, Uuid::now_v7(), &KAFKA, 1).await);
        fees.push(outbox.record_as(&FEE_CREATED, Uuid::now_v7(), &KAFKA, 1).await);
    }
    let destination = in_parts(|event| {
        let is_quote = event.event_type == QUOTE_SUBMITTED;
        Cue::Answer(if is_quote { Outcome::LaneUnusable("no topic".into()) } else { delivered() })
    });
    let settings = settings::Worker { concurrency: 2, ..worker_settings() };
    let report = outbox.worker("a", &destination, settings).run_once().await.unwrap();
    assert_eq!(outbox.statuses(&fees).await, [Status::Delivered; 10], "{report}");
    let tried = destination.0.calls().iter().filter(|call| quotes.contains(&call.event.id)).count();
    assert!(tried <= 2, "{tried}");
    for event in outbox.events().await.iter().filter(|event| quotes.contains(&event.id)) {
        assert_eq!((event.status, event.attempts), (Status::Pending, 0));
    }
    let circuit = destination::Entity::find_by_id(TOPICS[0].name.as_str()).one(outbox.db.connection()).await.unwrap();
    assert_eq!(circuit.unwrap().circuit, Circuit::Open);
}

async fn a_delivery_that_waits_for_long_leaves_its_place_where_that_is_permitted(outbox: TestOutbox) {
    let mut events = vec![];
    for _ in 0..6 {
        events.push(outbox.record(Uuid::now_v7(), &KAFKA, 1).await);
    }
    let (first, answered) = (events[0], CancellationToken::new());
    let token = answered.clone();
    let destination = in_parts(move |event| {
        if event.id == first { Cue::AnswerAfter(token.clone(), delivered()) } else { Cue::Answer(delivered()) }
    });
    let settings = settings::Worker { concurrency: 1, ..worker_settings() };
    let worker = outbox.worker("a", &destination, settings);
    let watching = async {
        eventually("the others are delivered", LIMIT, async || {
            outbox.statuses(&events[1..]).await.iter().all(|status| *status == Status::Delivered).then_some(())
        })
        .await;
        answered.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap().delivered, 6);
}

async fn no_more_than_twice_as_many_deliveries_as_places_are_under_way(outbox: TestOutbox) {
    for _ in 0..8 {
        outbox.record(Uuid::now_v7(), &KAFKA, 1).await;
    }
    let answered = CancellationToken::new();
    let token = answered.clone();
    let destination = in_parts(move |_| Cue::AnswerAfter(token.clone(), delivered()));
    let settings = settings::Worker { concurrency: 2, ..worker_settings() };
    let worker = outbox.worker("a", &destination, settings);
    let watching = async {
        destination.0.begun(4).await;
        let begun = Instant::now();
        eventually("all are late", LIMIT, async || (begun.elapsed() > 4 * LATE).then_some(())).await;
        assert_eq!(destination.0.calls().len(), 4);
        answered.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap().delivered, 8);
}

async fn events_are_leased_for_half_as_long_again_as_a_delivery_may_wait(outbox: TestOutbox) {
    let event = outbox.record(Uuid::now_v7(), &KAFKA, 1).await;
    let answered = CancellationToken::new();
    let token = answered.clone();
    let destination = in_parts(move |_| Cue::AnswerAfter(token.clone(), delivered()));
    let worker = outbox.worker("a", &destination, worker_settings());
    let before = outbox.now().await;
    let watching = async {
        destination.0.begun(1).await;
        let until = outbox.event(event).await.leased_until.unwrap();
        assert!(until >= before + PATIENCE * 3 / 2 && until <= outbox.now().await + PATIENCE * 3 / 2, "{until}");
        answered.cancel();
    };
    tokio::join!(worker.run_once(), watching).0.unwrap();
}

const LATE: Duration = Duration::from_millis(50);

fn in_parts(script: impl Fn(&LeasedEvent) -> Cue + Send + Sync + 'static) -> Arc<InParts> {
    Arc::new(InParts(Scripted::new(&KAFKA, script)))
}

#[async_trait]
impl Destination for InParts {
    type Receipt = ();

    fn name(&self) -> &'static DestinationName {
        &KAFKA
    }

    fn lanes(&self) -> &'static [Lane] {
        &TOPICS
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn gives_way_after(&self) -> Option<Duration> {
        Some(LATE)
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<()> {
        self.0.deliver(event).await
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, ()>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        self.0.apply(txn, settled, now).await
    }
}
