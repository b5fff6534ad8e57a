//! What a claim may take while circuits of lanes are open: all events of other lanes, and one of each open lane as its probe.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity, Model};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, QueryFilter, Select};

use super::{
    ClaimRequest, DestinationName,
    claim::due,
    destinations::{OpenLane, open_lanes},
    unreadable::readable,
};
use crate::{clock::after, database::DatabaseTransaction};

/// The lanes of a claim whose circuits are open.
#[derive(Default)]
pub(super) struct HeldLanes(Vec<OpenLane>);

impl HeldLanes {
    pub(super) async fn read(
        txn: &DatabaseTransaction,
        request: &ClaimRequest<'_>,
        now: DateTime<Utc>,
    ) -> Result<Self, DbErr> {
        open_lanes(txn, request.lanes, now).await.map(Self)
    }

    pub(super) fn names(&self) -> Vec<&'static DestinationName> {
        self.0.iter().map(|held| &held.lane.name).collect()
    }

    /// How long until the next probe may go out.
    pub(super) fn remaining(&self, now: DateTime<Utc>) -> Option<Duration> {
        let later = self.0.iter().filter(|held| held.due_at > now);
        later.map(|held| (held.due_at - now).to_std().unwrap_or_default()).min()
    }

    /// The event types that go to them.
    pub(super) fn types(&self) -> Vec<&'static str> {
        self.0.iter().flat_map(types).collect()
    }

    /// Those of `events` that no open circuit holds back.
    pub(super) fn pass(&self, events: Select<Entity>) -> Select<Entity> {
        self.0.iter().fold(events, |events, held| events.filter(Column::EventType.is_not_in(types(held))))
    }

    /// One event of each lane whose probe is due. The event is locked before the probe is taken, so that no probe is taken for
    /// nothing: where none is due, the next claim looks again.
    pub(super) async fn probes(
        &self,
        txn: &DatabaseTransaction,
        request: &ClaimRequest<'_>,
        partners: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<Model>, DbErr> {
        let mut probes = Vec::new();
        for held in self.0.iter().filter(|held| held.due_at <= now) {
            for partner in partners {
                let first = due(txn.get_database_backend(), request.destination, partner, now, 1);
                let first = first.filter(Column::EventType.is_in(types(held)));
                let Some(event) = readable(txn, first, now).await?.rows.pop() else { continue };
                if held.take_probe(txn, now, after(now, request.lease)).await? {
                    probes.push(event);
                }
                break;
            }
        }
        Ok(probes)
    }
}

fn types(held: &OpenLane) -> impl Iterator<Item = &'static str> {
    held.lane.event_types.iter().map(|event_type| event_type.as_str())
}
