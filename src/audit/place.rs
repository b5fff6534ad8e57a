//! How far the fleet has come on each way through the quotes, so that another process can go on from there.

use chrono::{DateTime, Utc};
use entity::audit_progress::{ActiveModel, Column, Entity, Model};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, sea_query::OnConflict};
use uuid::Uuid;

use crate::database::{Database, DatabaseTransaction};

/// A place on one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(Model);

impl Place {
    /// Where the fleet is on the way `name`.
    pub async fn of(db: &Database, name: &'static str) -> Result<Self, DbErr> {
        let connection = db.connection();
        if let Some(row) = Entity::find_by_id(name).one(connection).await? {
            return Ok(Self(row));
        }
        let once = OnConflict::column(Column::Name).do_nothing_on([Column::Name]).to_owned();
        let first = ActiveModel { name: Set(name.into()), slices: Set(0), ..Default::default() };
        Entity::insert(first).on_conflict(once).exec_without_returning(connection).await?;
        let row = Entity::find_by_id(name).one(connection).await?;
        row.map(Self).ok_or_else(|| DbErr::RecordNotFound(format!("the place of {name}")))
    }

    /// When the end of the way `name` was last reached.
    pub async fn completed_at(db: &impl ConnectionTrait, name: &str) -> Result<Option<DateTime<Utc>>, DbErr> {
        Ok(Entity::find_by_id(name).one(db).await?.and_then(|row| row.completed_at))
    }

    /// Quotes up to this id were checked.
    pub fn quote_id(&self) -> Option<Uuid> {
        self.0.quote_id
    }

    /// Quotes whose events settled up to this time were checked.
    pub fn settled_at(&self) -> Option<DateTime<Utc>> {
        self.0.settled_at
    }

    /// The place after a slice.
    pub fn at_quote(&self, id: Option<Uuid>) -> Self {
        Self(Model { quote_id: id, ..self.next() })
    }

    /// The place after events that settled up to this time.
    pub fn at_time(&self, settled_at: DateTime<Utc>) -> Self {
        Self(Model { settled_at: Some(settled_at), ..self.next() })
    }

    fn completed(self, at: DateTime<Utc>) -> Self {
        Self(Model { completed_at: Some(at), ..self.0 })
    }

    /// The end was reached at this time, if `is_end`.
    pub fn completed_if(self, is_end: bool, at: DateTime<Utc>) -> Self {
        if is_end { self.completed(at) } else { self }
    }

    fn next(&self) -> Model {
        Model { slices: self.0.slices + 1, ..self.0.clone() }
    }

    /// Moves from here to `next`; false if another process did so first, and goes on from its own place.
    pub async fn advance(&self, txn: &DatabaseTransaction, next: &Self) -> Result<bool, DbErr> {
        let Model { slices, quote_id, settled_at, completed_at, .. } = next.0;
        let to = ActiveModel {
            slices: Set(slices),
            quote_id: Set(quote_id),
            settled_at: Set(settled_at),
            completed_at: Set(completed_at),
            ..Default::default()
        };
        let update = Entity::update_many().set(to);
        let update = update.filter(Column::Name.eq(&self.0.name)).filter(Column::Slices.eq(self.0.slices));
        Ok(update.exec(txn).await?.rows_affected > 0)
    }
}
