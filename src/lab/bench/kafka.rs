//! How fast a backlog is told to Kafka.

use super::{Bench, contestant::Contestant, sample::Sample, stage::Stage};

#[cfg(not(feature = "kafka"))]
pub(super) async fn backlog(_: &Stage, _: &Bench, _: &Contestant, _: bool) -> anyhow::Result<Option<Sample>> {
    std::future::ready(()).await;
    anyhow::bail!("this feebox was built without Kafka: cargo build --features kafka")
}

/// Events a second, from the start of the worker's process until the last event is settled, or from the making of the bare producer
/// until all its records are acknowledged. Where statistics `are_stale`, they are those of empty tables.
#[cfg(feature = "kafka")]
pub(super) async fn backlog(
    stage: &Stage,
    bench: &Bench,
    contestant: &Contestant,
    are_stale: bool,
) -> anyhow::Result<Option<Sample>> {
    use anyhow::Context;
    use chrono::{DateTime, Utc};
    use entity::outbox_event::{Column, Entity};
    use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
    use serde_json::json;

    use super::{
        question::store_backlog_with,
        sample::{Figure, count_as_f64},
    };
    use crate::{
        destination::kafka::send_bare,
        lab::testbed::connect,
        settings::{Settings, Sources},
    };

    let brokers = bench.kafka_brokers.as_deref().context("--kafka-brokers names no brokers")?;
    if are_stale && !stage.is_postgres() {
        return Ok(None);
    }
    let (events, mut sample) = (bench.events, Sample::default());
    match contestant {
        Contestant::Producer => {
            let settings = Settings::load(&Sources::overrides([("kafka.brokers", brokers)]))?;
            // As large as those of the backlog.
            let line = json!({ "description": "Consulting, one day", "quantity": 3, "unit_price_minor": 95_000 });
            let payload = json!({
                "quote_id": "01900000-0000-7000-8000-000000000000",
                "customer_id": "customer-7",
                "currency": "EUR",
                "amount_minor": 285_000,
                "lines": [line],
                "submitted_at": "2026-01-01T00:00:00.000000Z",
            });
            let took = send_bare(&settings.kafka, events, &payload).await?;
            sample.note(Figure::PerSecond, count_as_f64(events) / took.as_secs_f64());
        }
        Contestant::Feebox { .. } => {
            let settings = ["submission.destination=kafka".to_owned(), format!("kafka.brokers={brokers}")];
            if are_stale {
                stage.tidy().await?;
                for table in ["quote", "outbox_event"] {
                    stage.execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await?;
                }
            }
            store_backlog_with(stage, bench, events, &settings).await?;
            stage.put_off_audit().await?;
            if !are_stale {
                stage.tidy().await?;
            }
            let db = connect(stage.url()).await?;
            let begun = db.clock().now(db.connection()).await?;
            let (cpu, memory) = stage.drain(&settings).await?;
            let settled_at =
                Entity::find().select_only().column(Column::SettledAt).filter(Column::SettledAt.is_not_null());
            let settled_at = settled_at.order_by_desc(Column::SettledAt).into_tuple::<DateTime<Utc>>();
            let last = settled_at.one(db.connection()).await?.context("nothing was settled")?;
            db.close().await?;
            let took = (last - begun).to_std()?;
            let all = stage.number("SELECT count(*) AS number FROM outbox_event WHERE status = 'delivered'").await?;
            anyhow::ensure!(all >= count_as_f64(events), "{all} of {events} events were told");
            sample.note(Figure::PerSecond, all / took.as_secs_f64());
            sample.each(Figure::FeeboxCpuMs, cpu * 1e3, events);
            sample.note_if(Figure::ResidentMib, memory);
        }
        Contestant::ByHand | Contestant::ByHandInSteps | Contestant::ByHandTogether => return Ok(None),
    }
    Ok(Some(sample))
}
