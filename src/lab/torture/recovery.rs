//! Recovery: after the last fault has ended, the fleet must accept submissions again and settle everything stored by
//! then, by itself and in time.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use entity::{
    outbox_event::{self, Status},
    quote,
};
use reqwest::{Client, StatusCode};
use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::Expr,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    COOL_DOWN, KAFKA_TIMEOUT, LEASE, RETRY_AFTER_MAX, RETRY_INTERVAL_MAX, TICK, ingress::POISON, setup::Setup,
};
use crate::{database::Database, lab::testbed};

/// Rescue, the fee, its void, and settling them: each may wait for a tick.
const STAGES: u32 = 4;
/// How often a worker looks for times that a wrong clock has stored.
const CLOCK_TICK: Duration = Duration::from_secs(20);
/// How long to wait for a recovery at most.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long the test submission waits for its answer.
const CANARY_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub(super) struct Recovery {
    /// From the end of the last fault; `None` if it did not recover.
    pub took: Option<Duration>,
    /// What was still unsettled when the time was over, in words.
    pub waiting: Vec<String>,
}

/// The lease of a dead worker, an open circuit, the longest backoff with its spread, the longest Retry-After, and a
/// tick per stage. Where processes stamp times by wrong clocks, the tick that finds such times is one of them.
pub(super) fn bound(wrong_clocks: bool) -> Duration {
    let clock_tick = if wrong_clocks { CLOCK_TICK } else { Duration::ZERO };
    LEASE + COOL_DOWN + RETRY_INTERVAL_MAX * 3 / 2 + RETRY_AFTER_MAX + TICK * STAGES + clock_tick
}

/// What comes to it with Kafka: events are leased for longer, an unanswered record waits as long as it may, and its next attempt comes
/// after a backoff.
pub(super) fn of_kafka() -> Duration {
    (KAFKA_TIMEOUT * 3 / 2).saturating_sub(LEASE) + KAFKA_TIMEOUT + TICK * STAGES
}

/// Waits until a submission is accepted and everything stored by now is settled, while clients go on submitting.
///
/// # Errors
/// If a process could not be restarted.
pub(super) async fn wait(setup: &mut Setup<'_>) -> anyhow::Result<Recovery> {
    let begun = Instant::now();
    let (mut stored_by, mut refused) = (None, Some("no answer yet".to_owned()));
    let mut waiting = Vec::new();
    loop {
        setup.fleet.restart_ended()?;
        if refused.is_some() {
            refused = submit(&setup.client, setup.fleet.api()).await;
        }
        let db = setup.database_faults.db();
        // Our own connection may have been cut; then the next round asks again.
        if let Ok(unsettled) = look(db, &mut stored_by).await {
            let took = begun.elapsed();
            if unsettled == 0 && refused.is_none() {
                return Ok(Recovery { took: Some(took), waiting });
            }
            if took > bound(true) && waiting.is_empty() {
                waiting = describe(db, unsettled).await.unwrap_or_default();
                waiting.extend(refused.iter().map(|error| format!("submissions are not accepted: {error}")));
            }
        }
        if begun.elapsed() > PATIENCE {
            return Ok(Recovery { took: None, waiting });
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Submits a quote and returns why it was not accepted, if it was not.
async fn submit(client: &Client, api: &str) -> Option<String> {
    let call = client.post(format!("{api}/v1/quotes")).timeout(CANARY_TIMEOUT).json(&testbed::quote("canary"));
    match call.send().await {
        Ok(answer) if answer.status() == StatusCode::CREATED => None,
        Ok(answer) => Some(answer.status().to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Counts the unsettled events among those that were stored at the first call. A pending quote without a live event is
/// left to the judge.
async fn look(db: &Database, stored_by: &mut Option<DateTime<Utc>>) -> Result<u64, DbErr> {
    let by = match *stored_by {
        Some(by) => by,
        None => *stored_by.insert(db.now(db.connection()).await?),
    };
    let live = live().add(outbox_event::Column::CreatedAt.lte(by));
    outbox_event::Entity::find().filter(live).count(db.connection()).await
}

/// Events that must be settled by now.
fn live() -> Condition {
    let innocent = quote::Entity::find().select_only().column(quote::Column::Id).filter(innocent()).into_query();
    Condition::all()
        .add(outbox_event::Column::Status.is_in([Status::Pending, Status::Leased]))
        .add(outbox_event::Column::AggregateId.in_subquery(innocent))
}

/// Poison events may be retried for as long as they like.
fn innocent() -> Expr {
    quote::Column::CustomerId.not_like(format!("{POISON}%"))
}

/// Describes the oldest unsettled events.
async fn describe(db: &Database, unsettled: u64) -> Result<Vec<String>, DbErr> {
    let oldest = outbox_event::Entity::find().filter(live()).order_by_asc(outbox_event::Column::Id).limit(3);
    let event = |event: outbox_event::Model| {
        let outbox_event::Model { id, event_type, status, attempts, due_at, leased_until, .. } = event;
        let error = event.last_error.unwrap_or_default();
        format!(
            "{event_type} {id}, {status:?}, attempts {attempts}, due {due_at}, leased until {leased_until:?}: {error}"
        )
    };
    let events = oldest.all(db.connection()).await?.into_iter().map(event);
    Ok([format!("{unsettled} events unsettled")].into_iter().chain(events).collect())
}

/// Pages of the API's lists that cannot be read. A single row must not cause that.
pub(super) async fn unreadable_lists(client: &Client, api: &str) -> Vec<String> {
    let mut unreadable = Vec::new();
    for list in ["quotes", "outbox"] {
        let mut url = Some(format!("{api}/v1/{list}?limit=200"));
        while let Some(page) = url.take() {
            let answer = client.get(&page).send().await;
            let status = answer.as_ref().map_or(StatusCode::SERVICE_UNAVAILABLE, reqwest::Response::status);
            match answer {
                Ok(answer) if status.is_success() => {
                    let body = answer.json::<Value>().await.unwrap_or_default();
                    url = body["next"].as_str().map(|next| format!("{api}/v1/{list}?limit=200&cursor={next}"));
                }
                _ => unreadable.push(format!("GET {page} was answered with {status}")),
            }
        }
    }
    unreadable
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.took {
            Some(took) => write!(f, "recovered after {took:.1?}")?,
            None => write!(f, "did not recover within {PATIENCE:.0?}")?,
        }
        if self.waiting.is_empty() { Ok(()) } else { write!(f, " ({})", self.waiting.join("; ")) }
    }
}
