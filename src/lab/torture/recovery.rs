//! Coming to rest: once the last fault has ended, the fleet takes submissions again and settles all that was stored until
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

use super::{COOL_DOWN, LEASE, RETRY_AFTER_MAX, RETRY_INTERVAL_MAX, TICK, clients, ingress::POISON, scene::Scene};
use crate::database::Database;

/// Rescue, the fee, the void behind it, and what settles them: each may wait for a tick.
const STAGES: u32 = 4;
/// For how long it is watched, at most.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);
/// How long the submission that asks whether any is accepted waits for its answer.
const CANARY_TIMEOUT: Duration = Duration::from_secs(3);

/// How the fleet came to rest.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    /// From the end of the last fault; nothing if it did not come.
    pub took: Option<Duration>,
    /// What was waited for when it should have come: some of it, in words.
    pub waiting: Vec<String>,
}

/// A lease that a dead worker held, an open circuit, the longest backoff with its spread, the longest wait that the fee
/// server asked for, and a tick a stage.
pub(super) fn bound() -> Duration {
    LEASE + COOL_DOWN + RETRY_INTERVAL_MAX * 3 / 2 + RETRY_AFTER_MAX + TICK * STAGES
}

/// Waits until a submission is accepted, and all that is stored by now is settled, while clients submit further quotes.
///
/// # Errors
/// A process could not be started again.
pub(super) async fn come(scene: &mut Scene<'_>) -> anyhow::Result<Rest> {
    let begun = Instant::now();
    let (mut stored_by, mut refused) = (None, Some("no answer yet".to_owned()));
    let mut waiting = Vec::new();
    loop {
        scene.fleet.revive()?;
        if refused.is_some() {
            refused = submit(&scene.client, scene.fleet.api()).await;
        }
        let db = scene.sabotage.db();
        // A connection of our own may have been cut: then it is looked again.
        if let Ok(unsettled) = look(db, &mut stored_by).await {
            let took = begun.elapsed();
            if unsettled == 0 && refused.is_none() {
                return Ok(Rest { took: Some(took), waiting });
            }
            if took > bound() && waiting.is_empty() {
                waiting = describe(db, unsettled).await.unwrap_or_default();
                waiting.extend(refused.iter().map(|error| format!("no submission is accepted: {error}")));
            }
        }
        if begun.elapsed() > PATIENCE {
            return Ok(Rest { took: None, waiting });
        }
        sleep(LOOK).await;
    }
}

/// Why a quote was not accepted, if it was not.
async fn submit(client: &Client, api: &str) -> Option<String> {
    let call = client.post(format!("{api}/v1/quotes")).timeout(CANARY_TIMEOUT).json(&clients::quote("canary"));
    match call.send().await {
        Ok(answer) if answer.status() == StatusCode::CREATED => None,
        Ok(answer) => Some(answer.status().to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// How much is not settled of what was stored when this was called first. A quote that is pending without a live event is
/// the judge's matter.
async fn look(db: &Database, stored_by: &mut Option<DateTime<Utc>>) -> Result<u64, DbErr> {
    let by = match *stored_by {
        Some(by) => by,
        None => *stored_by.insert(db.now(db.connection()).await?),
    };
    let live = live().add(outbox_event::Column::CreatedAt.lte(by));
    outbox_event::Entity::find().filter(live).count(db.connection()).await
}

/// Events that are to be settled by now.
fn live() -> Condition {
    let innocent = quote::Entity::find().select_only().column(quote::Column::Id).filter(innocent()).into_query();
    Condition::all()
        .add(outbox_event::Column::Status.is_in([Status::Pending, Status::Leased]))
        .add(outbox_event::Column::AggregateId.in_subquery(innocent))
}

/// Poison may be tried for as long as it likes.
fn innocent() -> Expr {
    quote::Column::CustomerId.not_like(format!("{POISON}%"))
}

/// The oldest of what is not settled.
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
    Ok([format!("{unsettled} wait")].into_iter().chain(events).collect())
}

/// Pages of the API's lists that are not answered: a single row must not be able to do that.
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
                _ => unreadable.push(format!("GET {page} is answered by {status}")),
            }
        }
    }
    unreadable
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.took {
            Some(took) => write!(f, "came to rest after {took:.1?}")?,
            None => write!(f, "did not come to rest within {PATIENCE:.0?}")?,
        }
        if self.waiting.is_empty() { Ok(()) } else { write!(f, " ({})", self.waiting.join("; ")) }
    }
}
