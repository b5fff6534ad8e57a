//! The circuits of a destination's lanes: what opens and closes them, and which are open.
//!
//! One failure opens a lane's circuit: the destination has said that the lane itself is unusable, which is no event's fault. Probes
//! work as for a destination: one event at a time, and the worker that moves `probe_at` forward has it.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use entity::destination::{ActiveModel, Circuit, Column, Entity, Model};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect,
};

use super::{DestinationChange, Permit, gate::take_probe, openings, without_wrong_clocks};
use crate::{
    clock::after,
    database::DatabaseTransaction,
    outbox::{Attempt, DestinationName, Lane, Outcome, Policy},
};

/// A lane whose circuit is open.
#[derive(Clone, Debug)]
pub(in crate::outbox) struct OpenLane {
    pub(in crate::outbox) lane: &'static Lane,
    /// When its next probe may go out, as it is stored.
    probe_at: Option<DateTime<Utc>>,
    /// The same without what a wrong clock has stored.
    pub(in crate::outbox) due_at: DateTime<Utc>,
}

impl OpenLane {
    /// Takes the lane's probe and puts the next one off until `until`, unless another worker was faster.
    pub(in crate::outbox) async fn take_probe(
        &self,
        txn: &DatabaseTransaction,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        Ok(matches!(take_probe(txn, &self.lane.name, self.probe_at, now, until).await?, Permit::Probe))
    }
}

/// Those of `lanes` whose circuits are open.
pub(in crate::outbox) async fn open_lanes(
    db: &impl ConnectionTrait,
    lanes: &'static [Lane],
    now: DateTime<Utc>,
) -> Result<Vec<OpenLane>, DbErr> {
    let rows = open(db, lanes).await?.into_iter().filter_map(|row| {
        let lane = lanes.iter().find(|lane| row.name == lane.name)?;
        let probe_at = row.probe_at;
        let due_at = without_wrong_clocks(row, now).probe_at.unwrap_or(now);
        Some(OpenLane { lane, probe_at, due_at })
    });
    Ok(rows.collect())
}

/// The names of those of `lanes` whose circuits are open: nothing but a probe may be sent there.
///
/// # Errors
/// Any database error.
pub async fn held_lanes(
    db: &impl ConnectionTrait,
    lanes: &'static [Lane],
) -> Result<Vec<&'static DestinationName>, DbErr> {
    let open = open(db, lanes).await?;
    let is_open = |lane: &&Lane| open.iter().any(|row| row.name == lane.name);
    Ok(lanes.iter().filter(is_open).map(|lane| &lane.name).collect())
}

async fn open(db: &impl ConnectionTrait, lanes: &'static [Lane]) -> Result<Vec<Model>, DbErr> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    Entity::find()
        .filter(Column::Name.is_in(lanes.iter().map(|lane| lane.name.as_str())))
        .filter(Column::Circuit.eq(Circuit::Open))
        .all(db)
        .await
}

/// What attempts say about the lanes of their destination.
#[derive(Debug, Default)]
pub(in crate::outbox) struct LaneHealth(BTreeMap<&'static str, News>);

/// What attempts say about one lane.
#[derive(Debug)]
struct News {
    name: &'static DestinationName,
    /// The lane is unusable, for this reason.
    failure: Option<String>,
    probe: Option<Probe>,
}

/// What became of a lane's probe.
#[derive(Debug)]
enum Probe {
    Succeeded,
    Failed(String),
    /// It was not sent.
    Inconclusive,
}

impl LaneHealth {
    /// Counts an outcome. `in_time`: its lease lasts. A probe that fails after its lease does not move the next one.
    pub(in crate::outbox) fn count<R>(&mut self, attempt: &Attempt<R>, in_time: bool) {
        let Some(name) = attempt.event.lane else { return };
        let outcome = &attempt.outcome;
        let has_succeeded = matches!(outcome, Outcome::Delivered(_) | Outcome::Refused(_));
        let is_probe = attempt.event.probe && (in_time || has_succeeded);
        let failure = match outcome {
            Outcome::LaneUnusable(error) => Some(error.clone()),
            _ => None,
        };
        if !is_probe && failure.is_none() {
            return;
        }
        let news = self.0.entry(name.as_str()).or_insert(News { name, failure: None, probe: None });
        if is_probe {
            news.probe = Some(match outcome {
                _ if has_succeeded => Probe::Succeeded,
                outcome if outcome.is_unsent() => Probe::Inconclusive,
                outcome => Probe::Failed(outcome.error().unwrap_or_default().to_owned()),
            });
        }
        news.failure = failure.or(news.failure.take());
    }

    /// Saves it for the fleet; returns what changed. Rows are locked in the order of their names, after the destination's own.
    pub(in crate::outbox) async fn save(
        self,
        txn: &DatabaseTransaction,
        destination: &str,
        policy: &Policy,
        now: DateTime<Utc>,
    ) -> Result<Vec<(&'static DestinationName, DestinationChange)>, DbErr> {
        let mut changes = Vec::new();
        for (name, news) in self.0 {
            let Some(before) = Entity::find_by_id(name).lock_exclusive().one(txn).await? else { continue };
            let before = without_wrong_clocks(before, now);
            let after = news.apply_to(before.clone(), policy.circuit.cool_down, now);
            if after == before {
                continue;
            }
            changes.extend(DestinationChange::between(&before, &after).map(|change| (news.name, change)));
            let transition = (before.circuit, after.circuit);
            let reason = after.circuit_reason.clone();
            Model { updated_at: now, ..after }.into_active_model().reset_all().update(txn).await?;
            openings::record(txn, name, transition, reason.as_deref(), now).await?;
            if transition == (Circuit::Open, Circuit::Closed) {
                // The time that its events waited does not count against them.
                let callable = ActiveModel { callable_since: Set(Some(now)), ..Default::default() };
                Entity::update_many().set(callable).filter(Column::Name.eq(destination)).exec(txn).await?;
            }
        }
        Ok(changes)
    }
}

impl News {
    /// The lane's row after this. Pure.
    fn apply_to(&self, mut row: Model, cool_down: Duration, now: DateTime<Utc>) -> Model {
        match (row.circuit, &self.probe, &self.failure) {
            (Circuit::Closed, _, Some(error)) => {
                row.circuit = Circuit::Open;
                row.circuit_opened_at = Some(now);
                row.circuit_reason = Some(error.clone());
                row.probe_at = Some(after(now, cool_down));
            }
            (Circuit::Open, Some(Probe::Succeeded), None) => {
                row.circuit = Circuit::Closed;
                row.circuit_opened_at = None;
                row.circuit_reason = None;
                row.probe_at = None;
                row.callable_since = Some(now);
            }
            (Circuit::Open, Some(Probe::Failed(error)), _) => {
                row.probe_at = Some(after(now, cool_down));
                row.circuit_reason = Some(error.clone());
            }
            (Circuit::Open, Some(Probe::Inconclusive), _) => row.probe_at = Some(now),
            _ => {}
        }
        row
    }
}
