//! The processes that can be woken, as the database knows them.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, Utc};
use entity::process::{ActiveModel, Column, Entity, Model};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, SqlErr};
use uuid::Uuid;

use crate::{
    database::Database,
    fleet::{DEAD_AFTER, SILENT_MAX, forget},
};

/// How often a process makes sure that its row still says where it listens. That it lives its heartbeat says.
pub(super) const PULSE: Duration = Duration::from_mins(1);

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
        forget(db, now - DEAD_AFTER).await?;
        let row = ActiveModel {
            id: Set(self.id),
            name: Set(self.name.to_owned()),
            started_at: Set(now),
            ..self.listens(now)
        };
        match Entity::insert(row).exec_without_returning(db.connection()).await {
            // The process has said already that it lives.
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
                self.update(db, self.listens(now)).await.map(drop)
            }
            inserted => inserted.map(drop),
        }
    }

    /// Says where it listens. Returns whether it is still known.
    pub(super) async fn renew(&self, db: &Database) -> Result<bool, DbErr> {
        let known = Condition::all().add(Column::Id.eq(self.id)).add(Column::WakeToken.eq(self.listener.token));
        let now = db.clock().as_sql(db.connection().get_database_backend());
        let renewed = Entity::update_many().col_expr(Column::SeenAt, now).filter(known).exec(db.connection()).await?;
        Ok(renewed.rows_affected > 0)
    }

    /// It listens no longer.
    pub(super) async fn withdraw(&self, db: &Database) -> Result<(), DbErr> {
        let nowhere = ActiveModel { wake_address: Set(None), wake_token: Set(None), ..Default::default() };
        self.update(db, nowhere).await.map(drop)
    }

    fn listens(&self, now: DateTime<Utc>) -> ActiveModel {
        ActiveModel {
            wake_address: Set(Some(self.listener.address.to_string())),
            wake_token: Set(Some(self.listener.token)),
            seen_at: Set(now),
            ..Default::default()
        }
    }

    async fn update(&self, db: &Database, row: ActiveModel) -> Result<bool, DbErr> {
        let updated = Entity::update_many().set(row).filter(Column::Id.eq(self.id)).exec(db.connection()).await?;
        Ok(updated.rows_affected > 0)
    }
}

/// Those that live.
pub(super) async fn listeners(db: &Database) -> Result<Vec<Listener>, DbErr> {
    let now = db.now(db.connection()).await?;
    let lives = Condition::all().add(Column::SeenAt.gt(now - SILENT_MAX)).add(Column::WakeAddress.is_not_null());
    let rows = Entity::find().filter(lives).all(db.connection()).await?;
    Ok(rows.into_iter().filter_map(listener).collect())
}

fn listener(row: Model) -> Option<Listener> {
    Some(Listener { address: row.wake_address?.parse().ok()?, token: row.wake_token? })
}
