//! `feebox audit --kafka`

use crate::{
    audit::KafkaReport,
    settings::{InvalidSetting, Origin, Settings, SettingsError},
};

/// Without brokers there is nothing to compare with.
pub(super) fn refuse_without_brokers(settings: &Settings) -> Result<(), SettingsError> {
    if settings.kafka.brokers.is_some() {
        return Ok(());
    }
    let invalid = InvalidSetting {
        key: "kafka.brokers".to_owned(),
        origin: Origin::Default,
        problem: "is empty, and --kafka compares with what they hold".to_owned(),
        advice: "name the brokers, as the fleet's settings do".to_owned(),
    };
    Err(SettingsError { invalid: vec![invalid] })
}

#[cfg(feature = "kafka")]
pub(super) async fn compare(
    db: &crate::database::Database,
    settings: &Settings,
    created_after: Option<chrono::DateTime<chrono::Utc>>,
    report: &mut impl FnMut(crate::audit::Violation),
) -> anyhow::Result<KafkaReport> {
    use std::time::Instant;

    use crate::{audit, destination::kafka::KafkaLedger};

    let ledger = KafkaLedger::open(&settings.kafka, created_after).await?;
    let mut shown = Instant::now();
    let show = |audit::KafkaProgress { read, of }| {
        if shown.elapsed() >= super::SHOWN_EVERY {
            shown = Instant::now();
            eprintln!("{read} of up to {of} records compared");
        }
    };
    let delivered_for = settings.retention.delivered_for;
    Ok(audit::audit_kafka(db, &ledger, delivered_for, created_after, report, show).await?)
}

#[cfg(not(feature = "kafka"))]
pub(super) async fn compare(
    _db: &crate::database::Database,
    _settings: &Settings,
    _created_after: Option<chrono::DateTime<chrono::Utc>>,
    _report: &mut impl FnMut(crate::audit::Violation),
) -> anyhow::Result<KafkaReport> {
    std::future::ready(()).await;
    anyhow::bail!("this feebox was built without Kafka: cargo build --features kafka")
}

pub(super) fn print(kafka: &KafkaReport) {
    let KafkaReport { report, of_others, repeated, without_event, removed, unplaced } = kafka;
    say!("{} records in Kafka, {} broken promises", report.checked, report.violations);
    for (count, what) in [
        (repeated, "records repeat an event, with the same ce_id"),
        (without_event, "records are of events that retention has deleted, or were sent without an outbox"),
        (removed, "delivered events have no record any more: the topic's retention or compaction has removed it"),
        (unplaced, "delivered events were not found, and the brokers did not say where they stored them"),
        (of_others, "records are of others"),
    ] {
        if *count > 0 {
            say!("{count} {what}");
        }
    }
}
