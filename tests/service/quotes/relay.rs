//! What is told of a quote is stored with what it tells, and in its order.

use feebox::database::DatabaseTransaction;
use std::sync::Arc;
use std::time::Duration;

use entity::outbox_event::{Model, Status};
use feebox::audit::audit;
use feebox::destination::FeeServer;
use feebox::operator;
use feebox::outbox::Outcome;
use feebox::quotes::{FEE_SERVER, KAFKA, QuoteDestination, Relay};
use feebox::settings::{Settings, Sources};
use feebox::submission::{Listener, ListenerError, OutboxRecorder, Submission, Submitted};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    ANN, Cue, Scripted, TestOutbox, attempt, delivered, fee_server, new_quote, on_each_engine, with_fee,
    worker_settings,
};

on_each_engine!(
    a_submitted_quote_is_told_of_in_its_transaction,
    a_rolled_back_quote_is_not_told_of,
    a_fee_is_told_of_in_the_transaction_that_stores_it,
    a_late_answer_is_not_told_of,
    a_refused_quote_is_told_of_once,
    a_cancellation_is_told_of_and_withdraws_nothing_that_was_told,
    a_quote_that_an_operator_gives_up_is_told_of,
    a_fee_that_comes_after_the_cancellation_is_told_of_behind_it,
    cancellations_and_answers_side_by_side_never_take_the_same_place,
    nothing_is_told_without_brokers,
    the_fee_server_never_waits_for_kafka,
);

async fn a_submitted_quote_is_told_of_in_its_transaction(outbox: TestOutbox) {
    let quote = submit(&outbox, 1).await[0];
    let told = told(&outbox, quote).await;
    let row = outbox.quote(quote).await;
    assert_eq!(types(&told), ["quote.submitted"]);
    assert_eq!(told[0].trace_context.as_deref(), Some(TRACE));
    assert_eq!(told[0].created_at, row.submitted_at);
    let payload = json!({
        "quote_id": quote, "customer_id": "customer", "currency": "EUR", "amount_minor": 2_500,
        "lines": row.lines, "submitted_at": row.submitted_at,
    });
    assert_eq!(told[0].payload, payload);
}

struct Refusing;

#[async_trait::async_trait]
impl Listener for Refusing {
    async fn before_commit(&self, _: &DatabaseTransaction, _: &Submitted) -> Result<(), ListenerError> {
        Err(ListenerError::Refused("no".into()))
    }
}

async fn a_rolled_back_quote_is_not_told_of(outbox: TestOutbox) {
    let submission = Submission::new(outbox.db.clone(), handover(), vec![Arc::new(Refusing)]);
    submission.submit(&[new_quote()], None, None).await.unwrap_err();
    assert!(outbox.events().await.is_empty());
}

async fn a_fee_is_told_of_in_the_transaction_that_stores_it(outbox: TestOutbox) {
    let quotes = submit(&outbox, 3).await;
    let attempts: Vec<_> = outbox.claim("a", 3).await.iter().map(with_fee).collect();
    outbox.settle_at(&telling(), "a", &attempts).await;
    for fee in outbox.fee_records().await {
        let told = told(&outbox, fee.quote_id).await;
        assert_eq!(types(&told), ["quote.submitted", "fee.created"]);
        assert_eq!(told[1].trace_context.as_deref(), Some(TRACE));
        assert_eq!(told[1].created_at, fee.created_at);
        assert_eq!(told[1].payload["fee_id"], fee.fee_id);
        assert_eq!(told[1].payload["amount_minor"], fee.amount_minor);
    }
    assert_eq!(outbox.fee_records().await.len(), quotes.len());
}

async fn a_late_answer_is_not_told_of(outbox: TestOutbox) {
    let quote = submit(&outbox, 1).await[0];
    let late = outbox.claim("a", 1).await.remove(0);
    outbox.settle_one("a", &late, Outcome::NotSent("too slow".into())).await;
    outbox.settle_at(&telling(), "a", &[with_fee(&late)]).await;
    assert_eq!(types(&told(&outbox, quote).await), ["quote.submitted"]);
}

async fn a_refused_quote_is_told_of_once(outbox: TestOutbox) {
    let quote = submit(&outbox, 1).await[0];
    let event = outbox.claim("a", 1).await.remove(0);
    let refused = [attempt(&event, Outcome::Refused("422: no such customer".into()))];
    outbox.settle_at(&telling(), "a", &refused).await;
    outbox.settle_at(&telling(), "a", &refused).await;
    let told = told(&outbox, quote).await;
    assert_eq!(types(&told), ["quote.submitted", "quote.rejected"]);
    assert_eq!(told[1].payload["reason"], "422: no such customer");
}

async fn a_cancellation_is_told_of_and_withdraws_nothing_that_was_told(outbox: TestOutbox) {
    let quote = submit(&outbox, 1).await[0];
    let submission = submission(&outbox);
    submission.cancel(quote, Some("changed my mind"), None).await.unwrap();
    submission.cancel(quote, Some("twice"), None).await.unwrap();
    let told = told(&outbox, quote).await;
    assert_eq!(types(&told), ["quote.submitted", "quote.cancelled"]);
    assert!(told.iter().all(|event| event.status == Status::Pending));
    assert_eq!(told[1].payload["reason"], "changed my mind");
}

async fn a_quote_that_an_operator_gives_up_is_told_of(outbox: TestOutbox) {
    let quote = submit(&outbox, 1).await[0];
    let event = outbox.events_of(quote).await.into_iter().find(|event| event.destination == FEE_SERVER).unwrap();
    operator::cancel(&outbox.db, relay(), ANN, event.id).await.unwrap();
    assert_eq!(types(&told(&outbox, quote).await), ["quote.submitted", "quote.cancelled"]);
}

async fn a_fee_that_comes_after_the_cancellation_is_told_of_behind_it(outbox: TestOutbox) {
    let quote = submit(&outbox, 1).await[0];
    let event = outbox.claim("a", 1).await.remove(0);
    submission(&outbox).cancel(quote, None, None).await.unwrap();
    outbox.settle_at(&telling(), "a", &[with_fee(&event)]).await;
    assert_eq!(types(&told(&outbox, quote).await), ["quote.submitted", "quote.cancelled", "fee.created"]);
}

async fn cancellations_and_answers_side_by_side_never_take_the_same_place(outbox: TestOutbox) {
    let quotes = submit(&outbox, 20).await;
    let (submission, telling) = (submission(&outbox), telling());
    let claimed = outbox.claim("a", 20).await;
    let answers = async {
        for event in &claimed {
            outbox.settle_at(&telling, "a", &[with_fee(event)]).await;
        }
    };
    let cancellations = async {
        for quote in &quotes {
            submission.cancel(*quote, None, None).await.unwrap();
        }
    };
    tokio::join!(answers, cancellations);
    for quote in quotes {
        let told = told(&outbox, quote).await;
        assert_eq!(told.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(types(&told).contains(&"fee.created") && types(&told).contains(&"quote.cancelled"));
    }
    let mut violations = vec![];
    audit(&outbox.db, Duration::from_hours(24), |violation| violations.push(violation)).await.unwrap();
    assert_eq!(violations, []);
}

async fn nothing_is_told_without_brokers(outbox: TestOutbox) {
    outbox.submit(1).await;
    let event = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&event)]).await;
    outbox.submission.cancel(event.aggregate_id, None, None).await.unwrap();
    assert!(told(&outbox, event.aggregate_id).await.is_empty());
}

async fn the_fee_server_never_waits_for_kafka(outbox: TestOutbox) {
    submit(&outbox, 3).await;
    let dead = Arc::new(Scripted::new(&KAFKA, |_| Cue::Answer(Outcome::Refused("no".into()))));
    outbox.worker("a", &dead, worker_settings()).run_once().await.unwrap();
    let fees = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    assert_eq!(outbox.worker("a", &fees, worker_settings()).run_once().await.unwrap().delivered, 3);
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn relay() -> Relay {
    let mut settings = Settings::load(&Sources::default()).unwrap();
    settings.kafka.brokers = Some("nobody.invalid:9092".into());
    Relay::new(&settings)
}

fn telling() -> FeeServer {
    fee_server().relaying(relay())
}

fn submission(outbox: &TestOutbox) -> Submission {
    Submission::new(outbox.db.clone(), handover(), vec![])
}

fn handover() -> Arc<OutboxRecorder> {
    Arc::new(OutboxRecorder::new(QuoteDestination::FeeServer, relay()))
}

async fn submit(outbox: &TestOutbox, count: usize) -> Vec<Uuid> {
    let quotes: Vec<_> = (0..count).map(|_| new_quote()).collect();
    let receipt = submission(outbox).submit(&quotes, None, Some(TRACE.into())).await.unwrap();
    receipt.quotes.iter().map(|quote| quote.id).collect()
}

/// What Kafka is to be told of `quote`, in order.
async fn told(outbox: &TestOutbox, quote: Uuid) -> Vec<Model> {
    let mut told = outbox.events_of(quote).await;
    told.retain(|event| event.destination == KAFKA);
    told
}

fn types(told: &[Model]) -> Vec<&str> {
    told.iter().map(|event| event.event_type.as_str()).collect()
}
