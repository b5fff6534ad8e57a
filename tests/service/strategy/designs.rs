//! The designs without an outbox: what each does well, and how each breaks.

use feebox::database::DatabaseTransaction;
use feebox::fleet::{Member, Role};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use entity::{outbox_event, quote::Status};
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer};
use feebox::quotes::Relay;
use feebox::settings::{self, Settings, Sources, SweepAction};
use feebox::strategy::{self, Configured};
use feebox::submission::{Listener, ListenerError, Submission, SubmissionError, Submitted};
use feebox::sweeper::sweep;
use feebox::worker::Signal;
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait, EntityTrait};
use uuid::Uuid;

use crate::support::{Engine, TestOutbox, eventually, new_quote, on_each_engine};

const SLOW: Duration = Duration::from_millis(300);

on_each_engine!(
    in_transaction_a_quote_is_confirmed_when_it_is_accepted,
    in_transaction_a_fee_server_that_fails_refuses_the_submission,
    before_commit_async_the_submission_waits_for_nobody,
    after_commit_the_submission_waits_for_nobody,
    after_commit_a_refusal_cancels_the_quote_with_its_reason,
    after_commit_a_fee_that_may_have_been_made_is_voided,
    after_commit_a_quote_that_was_cancelled_meanwhile_gets_its_fee_voided,
    after_commit_a_sweep_at_the_same_moment_leaves_no_ghost,
    after_commit_a_fee_server_that_asks_to_be_left_alone_is_left_alone,
);

async fn in_transaction_a_quote_is_confirmed_when_it_is_accepted(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["in-transaction"], slow()).await;
    let begun = Instant::now();
    let quote = design.submit().await.unwrap();
    assert!(begun.elapsed() >= SLOW, "the submission waits for the fee server");
    assert_eq!(outbox.quote(quote).await.status, Status::Confirmed);
    assert_eq!(outbox.fee_records().await[0].quote_id, quote);
    assert!(outbox.events().await.is_empty());
}

async fn in_transaction_a_fee_server_that_fails_refuses_the_submission(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["in-transaction"], failing(StatusCode::SERVICE_UNAVAILABLE)).await;
    let refused = design.submit().await;
    assert!(matches!(&refused, Err(SubmissionError::Unavailable(why)) if why.contains("503")), "{refused:?}");
    assert!(stored(&outbox).await.is_empty());
}

async fn before_commit_async_the_submission_waits_for_nobody(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["before-commit-async"], slow()).await;
    let quote = design.submit().await.unwrap();
    assert_eq!(outbox.quote(quote).await.status, Status::Pending);
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Confirmed);
    assert_eq!(outbox.fee_records().await[0].quote_id, quote);
}

async fn after_commit_the_submission_waits_for_nobody(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["after-commit"], slow()).await;
    let quote = design.submit().await.unwrap();
    assert_eq!(outbox.quote(quote).await.status, Status::Pending);
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Confirmed);
    assert_eq!(outbox.fee_records().await[0].quote_id, quote);
    assert!(outbox.events().await.is_empty());
}

async fn after_commit_a_refusal_cancels_the_quote_with_its_reason(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["after-commit"], failing(StatusCode::UNPROCESSABLE_ENTITY)).await;
    let quote = design.submit().await.unwrap();
    design.drain().await;
    let quote = outbox.quote(quote).await;
    assert_eq!(quote.status, Status::Cancelled);
    assert!(quote.status_reason.unwrap().contains("422"));
    assert!(outbox.events().await.is_empty(), "no fee was made: there is nothing to void");
}

async fn after_commit_a_fee_that_may_have_been_made_is_voided(outbox: TestOutbox) {
    let cut = Faults { commit_reset_rate: 1.0, no_lookup: true, ..Faults::default() };
    let design = Design::start(&outbox, &["after-commit"], cut).await;
    let quote = design.submit().await.unwrap();
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Cancelled);
    assert_eq!(design.fee_server.fees_in_force().len(), 1);
    design.fee_server.set_faults(Faults::default());
    design.deliver_voids().await;
    assert!(design.fee_server.fees_in_force().is_empty());
}

async fn after_commit_a_quote_that_was_cancelled_meanwhile_gets_its_fee_voided(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["after-commit"], slow()).await;
    let quote = design.submit().await.unwrap();
    design.submission.cancel(quote, None, None).await.unwrap();
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Cancelled);
    design.deliver_voids().await;
    assert!(design.fee_server.fees_in_force().is_empty());
    assert!(outbox.events().await.iter().all(|event| event.event_type == "quote.cancelled"));
}

async fn after_commit_a_sweep_at_the_same_moment_leaves_no_ghost(outbox: TestOutbox) {
    let design = Design::start(&outbox, &["after-commit"], Faults::default()).await;
    let sweeper =
        settings::Sweeper { schedule: String::new(), stale_after: Duration::ZERO, action: SweepAction::Cancel };
    let mut quotes = vec![];
    for _ in 0..100 {
        quotes.push(design.submit().await.unwrap());
        sweep(&outbox.db, &sweeper, Relay::default()).await.unwrap();
    }
    design.drain().await;
    design.deliver_voids().await;
    let in_force: Vec<_> = design.fee_server.fees_in_force().into_iter().map(|fee| fee.quote_id).collect();
    for quote in quotes {
        match outbox.quote(quote).await.status {
            Status::Confirmed => assert!(in_force.contains(&quote) && outbox.events_of(quote).await.is_empty()),
            Status::Cancelled => assert!(!in_force.contains(&quote), "a fee for a quote that was taken back"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_rollback_after_the_call_leaves_a_ghost_unless_the_call_comes_after_the_commit() {
    for (strategy, ghosts) in [("in-transaction", 1), ("before-commit-async", 1), ("after-commit", 0), ("outbox", 0)] {
        let outbox = TestOutbox::open(Engine::Sqlite).await;
        let design = Design::start(&outbox, &[strategy], Faults::default()).await.with_listener(Arc::new(AnError));
        assert!(matches!(design.submit().await, Err(SubmissionError::Refused(_))));
        design.drain().await;
        design.deliver_voids().await;
        assert!(stored(&outbox).await.is_empty());
        assert_eq!(design.fee_server.fees_in_force().len(), ghosts, "{strategy}");
    }
}

#[tokio::test]
async fn without_compensation_a_quote_whose_fee_cannot_be_made_stays_pending() {
    let outbox = TestOutbox::open(Engine::Sqlite).await;
    let settings = ["after-commit", "submission.compensate=false"];
    let design = Design::start(&outbox, &settings, failing(StatusCode::UNPROCESSABLE_ENTITY)).await;
    let quote = design.submit().await.unwrap();
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Pending);
}

#[tokio::test]
async fn a_call_that_fails_for_the_moment_is_made_again() {
    let outbox = TestOutbox::open(Engine::Sqlite).await;
    let design = Design::start(&outbox, &["after-commit", "retry.initial_interval=300ms"], Faults::default()).await;
    design.fee_server.down().await.unwrap();
    let quote = design.submit().await.unwrap();
    design.fee_server.up().await.unwrap();
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Confirmed);
}

#[tokio::test]
async fn a_compensation_that_fails_is_counted_and_made_again() {
    let outbox = TestOutbox::open(Engine::Sqlite).await;
    let refusing = Faults { latency: SLOW, ..failing(StatusCode::UNPROCESSABLE_ENTITY) };
    let design = Design::start(&outbox, &["after-commit"], refusing).await;
    let failed_before = failed_compensations();
    let quote = design.submit().await.unwrap();
    let execute = async |sql: &str| outbox.db.connection().execute_unprepared(sql).await.unwrap();
    execute("ALTER TABLE quote RENAME TO quote_out_of_reach").await;
    let failed = async || (failed_compensations() > failed_before).then_some(());
    eventually("a compensation that fails", Duration::from_secs(10), failed).await;
    execute("ALTER TABLE quote_out_of_reach RENAME TO quote").await;
    design.drain().await;
    assert_eq!(outbox.quote(quote).await.status, Status::Cancelled);
}

/// The relay stays an outbox, whichever way the fee is asked for.
#[cfg(feature = "kafka")]
#[tokio::test]
async fn whatever_the_strategy_kafka_is_told_of_what_was_stored() {
    let refusing = || failing(StatusCode::UNPROCESSABLE_ENTITY);
    for (strategy, faults, last) in [
        ("in-transaction", Faults::default(), "fee.created"),
        ("before-commit-async", slow(), "fee.created"),
        ("after-commit", slow(), "fee.created"),
        ("after-commit", refusing(), "quote.cancelled"),
    ] {
        let outbox = TestOutbox::open(Engine::Sqlite).await;
        let design = Design::start(&outbox, &[strategy, "kafka.brokers=nobody.invalid:9092"], faults).await;
        let quote = design.submit().await.unwrap();
        design.drain().await;
        let told = outbox.events_of(quote).await;
        let types: Vec<_> = told.iter().map(|event| (event.sequence, event.event_type.as_str())).collect();
        assert_eq!(types, [(1, "quote.submitted"), (2, last)], "{strategy}");
    }
}

async fn after_commit_a_fee_server_that_asks_to_be_left_alone_is_left_alone(outbox: TestOutbox) {
    let hold = Faults { retry_after: Some(Duration::from_mins(1)), ..failing(StatusCode::TOO_MANY_REQUESTS) };
    let design = Design::start(&outbox, &["after-commit"], hold).await;
    for _ in 0..3 {
        let quote = design.submit().await.unwrap();
        let settled = async || (outbox.quote(quote).await.status == Status::Cancelled).then_some(());
        eventually("the quote is given up", Duration::from_secs(30), settled).await;
    }
    assert_eq!(design.fee_server.stats().requests, 1, "no call after the one that was asked to wait");
}

/// A design on a database, and the fee server that it calls.
struct Design {
    submission: Submission,
    outbox: feebox::database::Database,
    settings: Settings,
    strategy: Configured,
    fee_server: SampleFeeServer,
}

impl Design {
    /// The first of `settings` is the strategy.
    async fn start(outbox: &TestOutbox, settings: &[&str], faults: Faults) -> Design {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await.unwrap();
        let base_url = fee_server.base_url();
        let mut overrides = vec![
            ("submission.strategy", settings[0]),
            ("fee_server.base_url", base_url.as_str()),
            ("retry.initial_interval", "10ms"),
        ];
        overrides.extend(settings[1..].iter().filter_map(|setting| setting.split_once('=')));
        let settings = Settings::load(&Sources::overrides(overrides)).unwrap();
        let strategy = strategy::configured(&settings, &outbox.db, &Signal::default()).unwrap();
        let submission = Submission::new(outbox.db.clone(), Arc::clone(&strategy.handover), vec![]);
        Design { submission, outbox: outbox.db.clone(), settings, strategy, fee_server }
    }

    fn with_listener(mut self, listener: Arc<dyn Listener>) -> Design {
        let handover = Arc::clone(&self.strategy.handover);
        self.submission = Submission::new(self.outbox.clone(), handover, vec![listener]);
        self
    }

    async fn submit(&self) -> Result<Uuid, SubmissionError> {
        Ok(self.submission.submit(&[new_quote()], None, None).await?.quotes[0].id)
    }

    /// Returns when everything in flight has ended.
    async fn drain(&self) {
        if let Some(sender) = &self.strategy.sender {
            sender.drain().await;
        }
    }

    /// Delivers what stands in the outbox, as a worker does.
    async fn deliver_voids(&self) {
        let signals = feebox::worker::Signals::default();
        let workers = feebox::app::Workers::new(
            &self.settings,
            &self.outbox,
            &Member::new("a".into(), Role::Once, &self.settings),
            &signals,
        )
        .unwrap();
        workers.run_once().await.unwrap();
        let unsettled = outbox_event::Entity::find().all(self.outbox.connection()).await.unwrap();
        assert!(unsettled.iter().all(|event| event.settled_at.is_some()), "{unsettled:#?}");
    }
}

/// Fails late in the transaction, after the others have run.
struct AnError;

#[async_trait]
impl Listener for AnError {
    async fn before_commit(&self, _txn: &DatabaseTransaction, _submitted: &Submitted) -> Result<(), ListenerError> {
        Err(ListenerError::Refused("something else went wrong".into()))
    }
}

fn slow() -> Faults {
    Faults { latency: SLOW, ..Faults::default() }
}

fn failing(fail_status: StatusCode) -> Faults {
    Faults { fail_rate: 1.0, fail_status, ..Faults::default() }
}

async fn stored(outbox: &TestOutbox) -> Vec<entity::quote::Model> {
    entity::quote::Entity::find().all(outbox.db.connection()).await.unwrap()
}

fn failed_compensations() -> u64 {
    let page = feebox::telemetry::install_metrics().render();
    let line = page.lines().find(|line| line.starts_with(r#"feebox_compensations_total{result="failed"}"#)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
