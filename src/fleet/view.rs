//! The fleet as operators see it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use entity::process::{Column, Entity, Model};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{DEAD_AFTER, Role, SILENT_MAX};
use crate::database::Database;

/// The processes of the fleet.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Workers {
    /// How many of them deliver, and are alive.
    pub workers_alive: u64,
    /// Those of the last hour, the youngest first.
    pub processes: Vec<Process>,
    /// Settings that differ among those that are alive: each should be the same in the whole fleet.
    pub differing_settings: Vec<String>,
}

/// A process.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Process {
    /// New at each start.
    pub id: Uuid,
    /// Host and process, as on its leases.
    pub name: String,
    /// `serve`, `worker`, `dev`, or `once` for a worker that ends by itself; null if an older version runs there.
    pub role: Option<String>,
    /// Of Feebox.
    pub version: Option<String>,
    /// The name of its host.
    pub host: Option<String>,
    /// It was seen in the last minute; `once` in the last hour.
    pub alive: bool,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it last said that it lives, every 20 seconds.
    pub seen_at: DateTime<Utc>,
    /// When its cron schedule last fired.
    pub last_tick_at: Option<DateTime<Utc>>,
    /// Deliveries that it had begun and not ended when it was last seen.
    pub in_flight: Option<i32>,
    /// How many it permitted itself.
    pub limit: Option<i32>,
    /// Its values of the settings that differ within the fleet.
    pub differs: BTreeMap<String, String>,
}

/// The processes that were seen in the last hour.
///
/// # Errors
/// Any database error.
pub async fn workers(db: &Database) -> Result<Workers, DbErr> {
    let now = db.now(db.connection()).await?;
    let rows = seen(db.connection(), now).await?;
    let settings = |row: &Model| -> BTreeMap<String, String> {
        let all = row.settings.as_ref().and_then(|settings| settings.as_object());
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        all.into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
    };
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_alive(row, now)) {
        for (key, value) in settings(row) {
            values.entry(key).or_default().insert(value);
        }
    }
    values.retain(|_, values| values.len() > 1);
    let process = |row: Model| {
        let mut differs = settings(&row);
        differs.retain(|key, _| values.contains_key(key));
        Process {
            alive: is_alive(&row, now),
            id: row.id,
            name: row.name,
            role: row.role,
            version: row.version,
            host: row.host,
            started_at: row.started_at,
            seen_at: row.seen_at,
            last_tick_at: row.last_tick_at,
            in_flight: row.in_flight,
            limit: row.in_flight_limit,
            differs,
        }
    };
    let workers_alive = rows.iter().filter(|row| delivers(row) && is_alive(row, now)).count() as u64;
    let processes = rows.into_iter().map(process).collect();
    Ok(Workers { workers_alive, processes, differing_settings: values.into_keys().collect() })
}

/// How many processes that deliver are alive.
///
/// # Errors
/// Any database error.
pub async fn workers_alive(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let rows = seen(db, now).await?;
    Ok(rows.iter().filter(|row| delivers(row) && is_alive(row, now)).count() as u64)
}

async fn seen(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<Vec<Model>, DbErr> {
    let rows = Entity::find().filter(Column::SeenAt.gt(now - DEAD_AFTER)).order_by_desc(Column::StartedAt);
    rows.all(db).await
}

fn is_alive(row: &Model, now: DateTime<Utc>) -> bool {
    // Whatever starts a worker that ends does so less often.
    let silent_max = if row.role.as_deref() == Some(Role::Once.name()) { DEAD_AFTER } else { SILENT_MAX };
    row.seen_at > now - silent_max
}

/// An older version says no role, and only if it delivers.
fn delivers(row: &Model) -> bool {
    row.role.as_deref() != Some(Role::Serve.name())
}
