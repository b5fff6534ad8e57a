//! The audit holds the outbox against the topics, both ways.

use std::time::Duration;

use chrono::Utc;
use entity::outbox_event::{self, Status};
use feebox::audit::{KafkaReport, Violation, audit_kafka};
use feebox::destination::kafka::KafkaLedger;
use feebox::quotes::QUOTE_SUBMITTED;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{PATIENT, Relayed, settings_for};
use super::{LIMIT, QUOTES, Telling, store};
use crate::support::{Engine, KafkaCluster, Process, TestOutbox, eventually};

const WEEK: Duration = Duration::from_hours(7 * 24);

impl Telling {
    pub(super) async fn audited(&self) -> (KafkaReport, Vec<Violation>) {
        let settings = settings_for(&self.brokers, &[]);
        let ledger = KafkaLedger::open(&settings.kafka, None).await.unwrap();
        let mut found = vec![];
        let tell = |violation| found.push(violation);
        let report = audit_kafka(&self.outbox.db, &ledger, WEEK, None, tell, |_| ()).await.unwrap();
        assert_eq!(report.report.violations, found.len() as u64);
        (report, found)
    }

    /// What an event's receipt says of its place.
    async fn set_receipt(&self, event: Uuid, receipt: Value) {
        let update = outbox_event::Entity::update_many().filter(outbox_event::Column::Id.eq(event));
        let update = update.col_expr(outbox_event::Column::Receipt, Expr::value(receipt));
        update.exec(self.outbox.db.connection()).await.unwrap();
    }
}

/// The headers of a record that calls Feebox its source.
fn ours(id: Uuid, created_at: &str) -> Vec<(&'static str, String)> {
    let (id, created_at) = (id.to_string(), created_at.to_owned());
    let rest = [("ce_type", "quote.submitted"), ("ce_source", "feebox")].map(|(key, value)| (key, value.to_owned()));
    [("ce_id", id), ("ce_time", created_at)].into_iter().chain(rest).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_and_what_the_topics_hold_are_compared_both_ways() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    for _ in 0..10 {
        telling.quote().await;
    }
    telling.fee().await;
    telling.all_are_delivered().await;
    let (report, found) = telling.audited().await;
    assert_eq!((found, report.report.checked, report.repeated, report.removed), (vec![], 31, 0, 0));

    // Records of others, of a time before all that is kept, and a repetition are no violations.
    let events = telling.with_status(Status::Delivered).await;
    let (now, nobody) = (Utc::now().to_rfc3339(), Uuid::now_v7());
    let mut submitted = events.iter().filter(|event| event.event_type == QUOTE_SUBMITTED.as_str());
    let repeated = submitted.next().unwrap();
    cluster.write(QUOTES, "another's", &[]).await;
    cluster.write(QUOTES, &nobody.to_string(), &ours(Uuid::now_v7(), "2026-01-01T00:00:00Z")).await;
    cluster.write(QUOTES, &repeated.aggregate_id.to_string(), &ours(repeated.id, &now)).await;
    let (report, found) = telling.audited().await;
    assert_eq!((found, report.of_others, report.without_event, report.repeated), (vec![], 1, 1, 1));

    // What nobody stored, or gave up before it was sent, or is another event, should not be there.
    cluster.write(QUOTES, &nobody.to_string(), &ours(Uuid::now_v7(), &now)).await;
    cluster.write(QUOTES, &nobody.to_string(), &ours(repeated.id, &now)).await;
    telling.outbox.pause("kafka").await;
    let cancelled = store(&telling.outbox, &[&QUOTE_SUBMITTED], json!({})).await;
    let event = telling.outbox.events_of(cancelled).await.remove(0);
    telling
        .outbox
        .texts("UPDATE outbox_event SET status = 'cancelled' WHERE status = 'pending' RETURNING status")
        .await;
    cluster.write(QUOTES, &cancelled.to_string(), &ours(event.id, &now)).await;
    let (_, mut found) = telling.audited().await;
    found.sort_by_key(|violation| violation.sentence.rsplit(": ").next().unwrap().to_owned());
    let wrong: Vec<_> = found.iter().map(|it| (it.promise, it.quote_id, it.sentence.as_str())).collect();
    assert_eq!(wrong.len(), 3, "{wrong:#?}");
    let of = |at: usize| (wrong[at].0, wrong[at].1);
    assert_eq!([of(0), of(1), of(2)], [(4, nobody), (4, cancelled), (4, nobody)], "{wrong:#?}");
    for (at, text) in [(0, "in the outbox it is"), (1, "it was cancelled before"), (2, "has no such event")] {
        assert!(wrong[at].2.contains(text), "{wrong:#?}");
    }

    // What was acknowledged and is not there is named with its place.
    let [elsewhere, beyond, unplaced] = [(); 3].map(|()| submitted.next().unwrap());
    let place_of = |event: &outbox_event::Model| event.receipt.clone().unwrap();
    telling.set_receipt(elsewhere.id, place_of(repeated)).await;
    let mut after_all = place_of(beyond);
    after_all["offset"] = 1_000_000.into();
    telling.set_receipt(beyond.id, after_all).await;
    let mut not_said = place_of(unplaced);
    not_said["offset"] = Value::Null;
    telling.set_receipt(unplaced.id, not_said).await;
    let (report, found) = telling.audited().await;
    let lost: Vec<_> = found.iter().filter(|it| it.promise == 2).map(|it| (it.quote_id, &it.sentence)).collect();
    assert_eq!((lost.len(), report.unplaced), (2, 0), "it was found without a place: {lost:#?}");
    for (event, instead) in
        [(elsewhere, format!("there is event {}", repeated.id)), (beyond, "there is nothing".into())]
    {
        let is_told = lost.iter().any(|(quote, text)| *quote == event.aggregate_id && text.ends_with(&instead));
        assert!(is_told, "{lost:#?}");
    }

    // What the topic's retention deletes is not missed.
    telling.set_receipt(elsewhere.id, place_of(elsewhere)).await;
    telling.set_receipt(beyond.id, place_of(beyond)).await;
    cluster.delete_records(QUOTES).await;
    let (report, found) = telling.audited().await;
    assert_eq!((found, report.report.checked, report.removed, report.unplaced), (vec![], 1, 29, 1));
    cluster.delete(QUOTES).await;
    let (_, found) = telling.audited().await;
    assert_eq!(found.len(), 29, "a topic that is gone has lost what it had");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_names_what_the_topic_has_and_the_outbox_denies_on_each_database() {
    let cluster = KafkaCluster::turn().await;
    for engine in [Engine::Sqlite, Engine::Postgres, Engine::MariaDb] {
        let relayed = Relayed::on(TestOutbox::open(engine).await, cluster.brokers(), PATIENT, &[]);
        relayed.submit(1).await;
        relayed.run_to_the_end().await;
        let ghost = Uuid::now_v7();
        cluster.write(QUOTES, &ghost.to_string(), &ours(ghost, &Utc::now().to_rfc3339())).await;
        let (code, said) = audit(&relayed, &["--kafka", "--json"]).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &said["kafka"]["checked"], &said["kafka"]["violations"]), (Some(3), &2.into(), &1.into()));
        assert_eq!(said["violations"][0]["quote_id"], ghost.to_string());
        assert_eq!((&said["local"]["checked"], &said["remote"]), (&1.into(), &Value::Null));
        if engine == Engine::Sqlite {
            let (code, said) = audit(&relayed, &["--kafka", "--created-after", "2999-01-01T00:00:00Z"]).await;
            assert!(code == Some(0) && said.contains("\n0 records in Kafka, 0 broken promises"), "{code:?} {said}");
            let (code, said) = audit(&relayed, &["--kafka", "--set=kafka.brokers="]).await;
            assert!(code == Some(2) && said.contains("kafka.brokers") && said.contains("is empty"), "{code:?} {said}");
        }
        cluster.delete_records(QUOTES).await;
    }
}

/// Exit code and output of `feebox audit ARGUMENTS…`.
async fn audit(relayed: &Relayed, arguments: &[&str]) -> (Option<i32>, String) {
    let brokers = relayed.settings.kafka.brokers.as_deref().unwrap();
    let [database, brokers] = [("database.url", relayed.outbox.database.url()), ("kafka.brokers", brokers)]
        .map(|(key, value)| format!("--set={key}={value}"));
    let process = Process::start(&[&["audit", &database, &brokers][..], arguments].concat(), &[]);
    let code = process.wait(LIMIT).await.code();
    (code, process.lines().join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_compacted_keeps_the_last_record_of_each_quote_and_none_is_missed() {
    let cluster = KafkaCluster::turn().await;
    let soon = [("cleanup.policy", "compact"), ("segment.ms", "500"), ("min.cleanable.dirty.ratio", "0.01")];
    cluster.configure(QUOTES, &soon).await;
    let telling = Telling::to(&cluster).await;
    for _ in 0..20 {
        telling.quote().await;
    }
    telling.all_are_delivered().await;
    // What is appended a moment later begins a new segment, and those before it are compacted.
    let removed = async || {
        telling.quote().await;
        telling.all_are_delivered().await;
        let (report, found) = telling.audited().await;
        assert_eq!(found, [], "what compaction removed is not missed");
        (report.removed > 0).then_some(report.removed)
    };
    let removed = eventually("the topic is compacted", LIMIT, removed).await;
    let events = telling.outbox.events().await;
    let recorded = super::by_quote(&events);
    let read = telling.read(QUOTES, recorded.keys()).await;
    for (quote, events) in &recorded {
        let last = read[quote].last().map(super::Record::event_id);
        assert_eq!(last.as_ref(), events.last(), "the last record of {quote} stays");
    }
    println!("compacted: {removed} of {} records removed", events.len());
}
