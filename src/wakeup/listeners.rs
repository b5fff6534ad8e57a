//! The processes that can be woken, as the database knows them.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};
use entity::process::{ActiveModel, Column, Entity, Model};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{clock::after, database::Database};

/// How often a process says that it lives.
pub(super) const PULSE: Duration = Duration::from_secs(20);
/// One that has not said so for as long is not woken.
const SILENT_MAX: Duration = Duration::from_mins(1);
/// One that has not said so for as long is forgotten.
const DEAD_AFTER: Duration = Duration::from_hours(1);

/// Where a process takes wake-ups, and what they must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) token: Uuid,
}

/// This process among those that can be woken.
pub(super) struct Registration<'a> {
    pub(super) id: Uuid,
    pub(super) name: &'a str,
    pub(super) listener: Listener,
}

impl Registration<'_> {
    /// Makes it known, and forgets those that died.
    pub(super) async fn register(&self, db: &Database) -> Result<(), DbErr> {
        let now = db.now(db.connection()).await?;
        forget(db, before(now, DEAD_AFTER)).await?;
        let row = ActiveModel {
            id: Set(self.id),
            name: Set(self.name.to_owned()),
            wake_address: Set(Some(self.listener.address.to_string())),
            wake_token: Set(Some(self.listener.token)),
            started_at: Set(now),
            seen_at: Set(now),
        };
        Entity::insert(row).exec_without_returning(db.connection()).await.map(drop)
    }

    /// Says that it lives. Returns whether it is still known.
    pub(super) async fn renew(&self, db: &Database) -> Result<bool, DbErr> {
        let now = db.clock().as_sql(db.connection().get_database_backend());
        let renewed = Entity::update_many()
            .col_expr(Column::SeenAt, now)
            .filter(Column::Id.eq(self.id))
            .exec(db.connection())
            .await?;
        Ok(renewed.rows_affected > 0)
    }

    /// It listens no longer.
    pub(super) async fn withdraw(&self, db: &Database) -> Result<(), DbErr> {
        Entity::delete_many().filter(Column::Id.eq(self.id)).exec(db.connection()).await.map(drop)
    }
}

/// Those that live.
pub(super) async fn listeners(db: &Database) -> Result<Vec<Listener>, DbErr> {
    let now = db.now(db.connection()).await?;
    let lives = Condition::all().add(Column::SeenAt.gt(before(now, SILENT_MAX))).add(Column::WakeAddress.is_not_null());
    let rows = Entity::find().filter(lives).all(db.connection()).await?;
    Ok(rows.into_iter().filter_map(listener).collect())
}

fn listener(row: Model) -> Option<Listener> {
    Some(Listener { address: row.wake_address?.parse().ok()?, token: row.wake_token? })
}

/// Those that were not seen since `time`, or that a clock which ran ahead has seen.
async fn forget(db: &Database, time: DateTime<Utc>) -> Result<(), DbErr> {
    let dead = Condition::any().add(Column::SeenAt.lt(time)).add(Column::SeenAt.gt(after(time, 2 * DEAD_AFTER)));
    Entity::delete_many().filter(dead).exec(db.connection()).await.map(drop)
}

fn before(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    now - by
}
