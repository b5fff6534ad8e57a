//! Sending to Kafka without an outbox, as the second field report does it: what each way does well, and how it breaks.

use feebox::database::DatabaseTransaction;
use feebox::fleet::{Member, Role};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use entity::quote::Status;
use feebox::app::Workers;
use feebox::audit::audit;
use feebox::quotes::Relay;
use feebox::settings::{self, Settings, SweepAction};
use feebox::strategy::{self, Configured};
use feebox::submission::{Listener, ListenerError, Submission, SubmissionError, Submitted};
use feebox::sweeper::sweep;
use feebox::worker::Signal;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Error};
use sea_orm::EntityTrait;
use uuid::Uuid;

use super::{QUOTES, Record, TRACE, read_of, settings_for};
use crate::support::{
    Engine, Process, Proxy, Server, TestOutbox, a_quote, eventually, free_port, http_client, new_quote,
};

const ROUNDS: usize = 200;
const LEAD_STEP: Duration = Duration::from_micros(300);
const SETTINGS: &[(&str, &str)] =
    &[("submission.destination", "kafka"), ("kafka.delivery_timeout", "2s"), ("worker.lease", "12s")];
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn after_commit_the_record_is_the_one_that_the_outbox_would_send() {
    let broker = Server::shared_kafka();
    let direct = Direct::start("after-commit", broker.url()).await;
    let quote = direct.submit().await.unwrap();
    assert_eq!(direct.outbox.quote(quote).await.status, Status::Pending, "nobody waits for the broker");
    direct.drain().await;
    let confirmed = direct.outbox.quote(quote).await;
    assert_eq!(confirmed.status, Status::Confirmed);
    assert!(direct.outbox.events().await.is_empty(), "no outbox");

    let read = told_of(broker.url(), quote);
    let [record] = &read[..] else { panic!("one record: {read:?}") };
    assert_eq!(record.payload["customer_id"], confirmed.customer_id);
    assert_eq!(record.payload["lines"], confirmed.lines);
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_type", "quote.submitted"),
        ("ce_source", "feebox"),
        ("ce_subject", &quote.to_string()),
        ("content-type", "application/json"),
    ] {
        assert_eq!(record.headers[name], value, "{name}");
    }
    assert_eq!(record.headers["traceparent"][..36], TRACE[..36]);
    let time: chrono::DateTime<chrono::Utc> = record.headers["ce_time"].parse().unwrap();
    assert_eq!(time, confirmed.submitted_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_transaction_a_quote_is_confirmed_when_it_is_accepted_and_refused_while_the_broker_is_unavailable() {
    let broker = Server::own_kafka();
    let direct = Direct::start("in-transaction", broker.url()).await;
    let quote = direct.submit().await.unwrap();
    assert_eq!(direct.outbox.quote(quote).await.status, Status::Confirmed);
    assert_eq!(told_of(broker.url(), quote).len(), 1);
    broker.stop();
    let refused = direct.submit().await;
    assert!(
        matches!(&refused, Err(SubmissionError::Unavailable(why)) if why.contains("kafka did not take")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_after_the_call_leaves_a_ghost_unless_the_call_comes_after_the_commit() {
    let broker = Server::own_kafka();
    Direct::start("in-transaction", broker.url()).await.submit().await.expect("the topic comes to be");
    for (strategy, ghosts) in [("in-transaction", 1), ("before-commit-async", 1), ("after-commit", 0), ("outbox", 0)] {
        let direct = Direct::start(strategy, broker.url()).await.with_listener(Arc::new(AnError));
        let before = super::read(broker.url(), QUOTES).len();
        assert!(matches!(direct.submit().await, Err(SubmissionError::Refused(_))));
        direct.drain().await;
        direct.relay_all().await;
        assert_eq!(super::read(broker.url(), QUOTES).len() - before, ghosts, "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_commit_a_topic_without_write_access_cancels_the_quote_and_relays_nothing() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(QUOTES, 1, 1).unwrap();
    let direct = Direct::start("after-commit", &mock.bootstrap_servers()).await;
    mock.request_errors(Api::Produce, &[Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let quote = direct.submit().await.unwrap();
    direct.drain().await;
    let cancelled = direct.outbox.quote(quote).await;
    assert_eq!(cancelled.status, Status::Cancelled);
    assert!(cancelled.status_reason.unwrap().contains("kafka did not take it: TopicAuthorizationFailed"));
    assert!(direct.outbox.events().await.is_empty(), "nobody was told of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_commit_an_unavailable_broker_cancels_the_quote_and_the_cancellation_is_relayed() {
    let broker = Server::own_kafka();
    let direct = Direct::start("after-commit", broker.url()).await;
    direct.submit().await.unwrap();
    direct.drain().await;
    broker.stop();
    let quote = direct.submit().await.unwrap();
    direct.drain().await;
    let cancelled = direct.outbox.quote(quote).await;
    assert_eq!(cancelled.status, Status::Cancelled);
    assert!(cancelled.status_reason.unwrap().contains("MessageTimedOut"));
    broker.start();
    direct.relay_all().await;
    assert_eq!(types(&told_of(broker.url(), quote)), ["quote.cancelled"]);
    direct.nothing_but_losses_is_found().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_commit_a_record_whose_acknowledgement_is_lost_for_good_is_cancelled_after_it() {
    let broker = Server::shared_kafka();
    let proxy = Proxy::before_kafka(broker.addr()).await;
    let direct = Direct::start("after-commit", &proxy.addr().to_string()).await;
    direct.submit().await.unwrap();
    direct.drain().await;
    proxy.lose_answers();
    let quote = direct.submit().await.unwrap();
    direct.drain().await;
    assert_eq!(direct.outbox.quote(quote).await.status, Status::Cancelled);
    proxy.resume();
    proxy.cut();
    direct.relay_all().await;
    assert_eq!(types(&told_of(broker.url(), quote)), ["quote.submitted", "quote.cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_commit_a_record_that_arrives_after_its_cancellation_is_cancelled_once_more() {
    let broker = Server::shared_kafka();
    let proxy = Proxy::before_kafka(broker.addr()).await;
    let mut direct = Direct::start("after-commit", &proxy.addr().to_string()).await;
    direct.submit().await.unwrap();
    eventually("the first is confirmed", LIMIT, async || (direct.in_flight() == 0).then_some(())).await;
    proxy.pause();
    let quote = direct.submit().await.unwrap();
    direct.submission.cancel(quote, None, None).await.unwrap();
    // The worker has a way of its own.
    direct.settings = settings_for(broker.url(), SETTINGS);
    direct.relay_all().await;
    proxy.resume();
    direct.drain().await;
    direct.relay_all().await;
    let expected = ["quote.cancelled", "quote.submitted", "quote.cancelled"];
    assert_eq!(types(&told_of(broker.url(), quote)), expected);
    assert_eq!(direct.outbox.quote(quote).await.status, Status::Cancelled);
}

/// The gap that the second report leaves to its watchman: the commit is done, and nothing was sent yet.
#[tokio::test(flavor = "multi_thread")]
async fn after_commit_a_process_that_dies_before_it_sends_leaves_the_quote_to_the_sweeper() {
    let broker = Server::shared_kafka();
    let direct = Direct::start("after-commit", broker.url()).await;
    let bind = format!("127.0.0.1:{}", free_port());
    let service = Process::start(
        &["serve", "--bind", &bind, "--set=submission.strategy=after-commit", "--set=submission.destination=kafka"],
        &[
            ("DATABASE_URL", direct.outbox.database.url()),
            ("FEEBOX__KAFKA__BROKERS", broker.url()),
            ("FEEBOX_CRASH_AT", "after-commit"),
        ],
    );
    let base_url = format!("http://{bind}");
    service.wait_ready(&base_url, LIMIT).await;
    let unanswered = http_client().post(format!("{base_url}/v1/quotes")).json(&a_quote()).send().await;
    assert!(unanswered.is_err() && !service.wait(LIMIT).await.success());

    let quote = entity::quote::Entity::find().one(direct.outbox.db.connection()).await.unwrap().unwrap().id;
    assert_eq!(direct.outbox.quote(quote).await.status, Status::Pending, "nobody remembers the call");
    let sweeper =
        settings::Sweeper { schedule: String::new(), stale_after: Duration::ZERO, action: SweepAction::Cancel };
    assert_eq!(sweep(&direct.outbox.db, &sweeper, direct.relay()).await.unwrap().cancelled, 1);
    // The sweeper cannot know that nothing was sent, and has it taken back.
    direct.relay_all().await;
    assert_eq!(types(&told_of(broker.url(), quote)), ["quote.cancelled"]);
    direct.nothing_but_losses_is_found().await;
}

/// Of an acknowledgement that is stored and a sweep at the same moment one is first. If it is the sweep, whoever reads the
/// topic reads the cancellation last, however late the record came.
#[tokio::test(flavor = "multi_thread")]
async fn a_quote_is_never_confirmed_and_cancelled_however_late_its_acknowledgement_comes() {
    let broker = Server::own_kafka();
    let direct = Direct::start("after-commit", broker.url()).await;
    let sweeper =
        settings::Sweeper { schedule: String::new(), stale_after: Duration::ZERO, action: SweepAction::Cancel };
    let mut quotes = vec![];
    // How much earlier the acknowledgement is on its way. Whoever was first gives some of its lead away, so that they meet,
    // however fast the machine is.
    let mut lead = Duration::ZERO;
    for _ in 0..ROUNDS {
        let quote = direct.submit().await.unwrap();
        let begun = Instant::now();
        while begun.elapsed() < lead {
            tokio::task::yield_now().await;
        }
        sweep(&direct.outbox.db, &sweeper, direct.relay()).await.unwrap();
        let was_late = direct.outbox.quote(quote).await.status == Status::Cancelled;
        lead = if was_late { lead + LEAD_STEP } else { lead.saturating_sub(LEAD_STEP) };
        quotes.push(quote);
    }
    direct.drain().await;
    direct.relay_all().await;
    let read = read_of(broker.url(), QUOTES, &quotes);
    let (mut confirmed, mut cancelled) = (0, 0);
    for quote in quotes {
        let types = types(&read[&quote]);
        match direct.outbox.quote(quote).await.status {
            Status::Confirmed => {
                confirmed += 1;
                assert_eq!(types, ["quote.submitted"]);
            }
            Status::Cancelled => {
                cancelled += 1;
                assert_eq!(types.last(), Some(&"quote.cancelled"), "never silent: {types:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{confirmed} confirmed, {cancelled} cancelled, the acknowledgement {lead:.1?} ahead");
    assert!(confirmed > 0 && cancelled > 0, "no race: {confirmed} confirmed, {cancelled} cancelled");
}

/// A strategy on a database, and the brokers that it calls.
struct Direct {
    outbox: TestOutbox,
    settings: Settings,
    strategy: Configured,
    submission: Submission,
}

impl Direct {
    async fn start(strategy: &str, brokers: &str) -> Direct {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let outbox = TestOutbox::open(Engine::Sqlite).await;
        let settings = settings_for(brokers, &[SETTINGS, &[("submission.strategy", strategy)]].concat());
        let strategy = strategy::configured(&settings, &outbox.db, &Signal::default()).unwrap();
        let submission = Submission::new(outbox.db.clone(), Arc::clone(&strategy.handover), vec![]);
        Direct { outbox, settings, strategy, submission }
    }

    fn with_listener(mut self, listener: Arc<dyn Listener>) -> Direct {
        let handover = Arc::clone(&self.strategy.handover);
        self.submission = Submission::new(self.outbox.db.clone(), handover, vec![listener]);
        self
    }

    fn relay(&self) -> Relay {
        Relay::new(&self.settings)
    }

    async fn submit(&self) -> Result<Uuid, SubmissionError> {
        Ok(self.submission.submit(&[new_quote()], None, Some(TRACE.into())).await?.quotes[0].id)
    }

    fn in_flight(&self) -> usize {
        self.strategy.sender.as_ref().map_or(0, strategy::Sender::in_flight)
    }

    /// Returns when everything in flight has ended.
    async fn drain(&self) {
        if let Some(sender) = &self.strategy.sender {
            sender.drain().await;
        }
    }

    /// Delivers what stands in the outbox, as a worker does.
    async fn relay_all(&self) {
        let signals = feebox::worker::Signals::default();
        let workers = Workers::new(
            &self.settings,
            &self.outbox.db,
            &Member::new("a".into(), Role::Once, &self.settings),
            &signals,
        )
        .unwrap();
        workers.run_once().await.unwrap();
        let events = self.outbox.events().await;
        assert!(events.iter().all(|event| event.settled_at.is_some()), "{events:#?}");
    }

    async fn nothing_but_losses_is_found(&self) {
        let mut found = vec![];
        audit(&self.outbox.db, Duration::from_hours(1), |violation| found.push(violation)).await.unwrap();
        assert!(found.iter().all(|violation| violation.promise == 2), "{found:?}");
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

fn told_of(brokers: &str, quote: Uuid) -> Vec<Record> {
    read_of(brokers, QUOTES, [&quote]).remove(&quote).unwrap()
}

fn types(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.headers["ce_type"].as_str()).collect()
}
