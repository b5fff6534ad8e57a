//! Quotes that Kafka has to take, and no fee server.

use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::audit::audit;
use feebox::destination::{Kafka, KafkaReceipt};
use feebox::operator;
use feebox::outbox::{Attempt, Disposition, LeasedEvent, Outcome};
use feebox::quotes::{self, KAFKA, QuoteDestination, Relay};
use feebox::settings::Settings;
use feebox::submission::{OutboxRecorder, Submission};
use sea_orm::ConnectionTrait;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use super::{QUOTES, TRACE, settings_for};
use crate::support::{ANN, TestOutbox, attempt, new_quote, on_each_engine};

on_each_engine!(
    a_quote_is_confirmed_when_kafka_has_it,
    a_quote_that_kafka_refuses_is_rejected_and_comes_back_with_its_event,
    a_quote_that_never_reached_kafka_needs_no_cancellation,
    a_quote_that_may_have_reached_kafka_is_cancelled_after_it,
    giving_up_the_event_gives_up_the_quote,
    a_relayed_event_changes_no_quote,
    the_audit_names_a_quote_that_nothing_hands_over,
);

async fn a_quote_is_confirmed_when_kafka_has_it(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    let quote = shop.submit().await;
    assert_eq!(kinds(&outbox, quote).await, [("quote.submitted".into(), EventStatus::Pending)]);
    let found = quotes::get(outbox.db.connection(), quote).await.unwrap().unwrap();
    assert!(found.event.is_some_and(|event| event.destination == KAFKA), "its delivery can be followed");
    assert_eq!(shop.deliver(stored()).await, Disposition::Delivered);
    assert_eq!(outbox.quote(quote).await.status, Status::Confirmed);
    assert!(outbox.fee_records().await.is_empty());
    shop.audit_is_silent().await;
}

async fn a_quote_that_kafka_refuses_is_rejected_and_comes_back_with_its_event(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    let quote = shop.submit().await;
    shop.deliver(Outcome::Refused("TopicAuthorizationFailed".into())).await;
    let rejected = outbox.quote(quote).await;
    assert_eq!(
        (rejected.status, rejected.status_reason.as_deref()),
        (Status::Rejected, Some("TopicAuthorizationFailed"))
    );
    shop.audit_is_silent().await;
    operator::retry(&outbox.db, ANN, outbox.events_of(quote).await[0].id).await.unwrap();
    assert_eq!(outbox.quote(quote).await.status, Status::Pending);
    shop.deliver(stored()).await;
    assert_eq!(outbox.quote(quote).await.status, Status::Confirmed);
}

async fn a_quote_that_never_reached_kafka_needs_no_cancellation(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    let quote = shop.submit().await;
    shop.submission.cancel(quote, None, None).await.unwrap();
    assert_eq!(kinds(&outbox, quote).await, [("quote.submitted".into(), EventStatus::Cancelled)]);
    shop.audit_is_silent().await;
}

async fn a_quote_that_may_have_reached_kafka_is_cancelled_after_it(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    for outcome in [stored(), Outcome::Unknown("MessageTimedOut".into())] {
        let quote = shop.submit().await;
        shop.deliver(outcome).await;
        shop.submission.cancel(quote, Some("a mistake"), None).await.unwrap();
        let cancellation = outbox.events_of(quote).await.remove(1);
        assert_eq!(
            (cancellation.event_type.as_str(), cancellation.destination.as_str()),
            ("quote.cancelled", KAFKA.as_str())
        );
        assert_eq!(cancellation.payload["reason"], "a mistake");
        shop.audit_is_silent().await;
        shop.deliver(stored()).await;
        assert_eq!(outbox.quote(quote).await.status, Status::Cancelled);
    }
}

async fn giving_up_the_event_gives_up_the_quote(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    let quote = shop.submit().await;
    let event = outbox.events_of(quote).await.remove(0);
    operator::cancel(&outbox.db, shop.relay, ANN, event.id).await.unwrap();
    assert_eq!(outbox.quote(quote).await.status, Status::Cancelled);
    shop.audit_is_silent().await;
}

/// The same event is the fate of one quote and mere news of another: one that has its fee made.
async fn a_relayed_event_changes_no_quote(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    let telling = Submission::new(
        outbox.db.clone(),
        Arc::new(OutboxRecorder::new(QuoteDestination::FeeServer, shop.relay)),
        vec![],
    );
    for outcome in [stored(), Outcome::Refused("no".into())] {
        let quote = telling.submit(&[new_quote()], None, None).await.unwrap().quotes[0].id;
        shop.deliver(outcome).await;
        assert_eq!(outbox.quote(quote).await.status, Status::Pending);
        let news = outbox.events_of(quote).await.into_iter().find(|event| event.destination == KAFKA).unwrap();
        if news.status == EventStatus::Dead {
            operator::cancel(&outbox.db, shop.relay, ANN, news.id).await.unwrap();
            assert_eq!(outbox.quote(quote).await.status, Status::Pending, "its fee is still to come");
        }
        outbox.deliver("a", crate::support::delivered()).await;
    }
}

async fn the_audit_names_a_quote_that_nothing_hands_over(outbox: TestOutbox) {
    let shop = Shop::open(&outbox);
    for (falsify, wrong) in [
        ("DELETE FROM outbox_event", "it is lost"),
        ("UPDATE quote SET status = 'confirmed' WHERE status = 'pending'", "is not delivered"),
        ("UPDATE quote SET status = 'rejected' WHERE status = 'pending'", "no dead event left"),
    ] {
        let quote = shop.submit().await;
        outbox.db.connection().execute_unprepared(falsify).await.unwrap();
        let mut found = vec![];
        audit(&outbox.db, Duration::from_hours(1), |violation| found.push(violation)).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].quote_id == quote && found[0].sentence.contains(wrong), "{found:?}");
        outbox.db.connection().execute_unprepared("DELETE FROM outbox_event").await.unwrap();
        outbox.db.connection().execute_unprepared("DELETE FROM quote").await.unwrap();
    }
}

/// Submits quotes to Kafka, whose answers the test makes up.
struct Shop<'a> {
    outbox: &'a TestOutbox,
    submission: Submission,
    relay: Relay,
    kafka: Kafka,
}

impl Shop<'_> {
    fn open(outbox: &TestOutbox) -> Shop<'_> {
        let settings: Settings = settings_for("nobody.invalid:9092", &[("submission.destination", "kafka")]);
        let relay = Relay::new(&settings);
        let handover = Arc::new(OutboxRecorder::configured(&settings));
        let submission = Submission::new(outbox.db.clone(), handover, vec![]);
        Shop { outbox, submission, relay, kafka: Kafka::new(&settings.kafka).unwrap() }
    }

    async fn submit(&self) -> Uuid {
        self.submission.submit(&[new_quote()], None, Some(TRACE.into())).await.unwrap().quotes[0].id
    }

    async fn deliver(&self, outcome: Outcome<KafkaReceipt>) -> Disposition {
        let claimed: LeasedEvent = self.outbox.claim_of(&KAFKA, "a", 1, TestOutbox::LEASE).await.events.remove(0);
        let attempts: [Attempt<KafkaReceipt>; 1] = [attempt(&claimed, outcome)];
        self.outbox.settle_at(&self.kafka, "a", &attempts).await.remove(0)
    }

    async fn audit_is_silent(&self) {
        let mut found = vec![];
        audit(&self.outbox.db, Duration::from_hours(1), |violation| found.push(violation)).await.unwrap();
        assert_eq!(found, []);
    }
}

fn stored() -> Outcome<KafkaReceipt> {
    Outcome::Delivered(KafkaReceipt { topic: QUOTES, partition: 0, offset: Some(0) })
}

async fn kinds(outbox: &TestOutbox, quote: Uuid) -> Vec<(String, EventStatus)> {
    outbox.events_of(quote).await.into_iter().map(|event| (event.event_type, event.status)).collect()
}
