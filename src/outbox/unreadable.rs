//! Events that exist but cannot be read. One of them would keep a worker from all others that it claims or rescues in the
//! same batch. They become dead one by one, where an operator sees them, and the others go on.

use chrono::{DateTime, Utc};
use entity::outbox_event::{ActiveModel, Column, Entity, Model, Status};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, Iden, Iterable, QueryFilter,
    QuerySelect, QueryTrait, Select, Statement,
};
use uuid::Uuid;

use super::cause::cause;
use crate::database::{Database, DatabaseTransaction, Listed, read_rows};

/// What could be read, and how many rows could not.
pub(super) struct Readable {
    pub rows: Vec<Model>,
    pub given_up: usize,
}

/// The rows that `select` finds and locks. Those that cannot be read become dead and are left out.
pub(super) async fn readable(
    txn: &DatabaseTransaction,
    select: Select<Entity>,
    now: DateTime<Utc>,
) -> Result<Readable, DbErr> {
    let ids = select.clone().select_only().column(Column::Id).into_tuple().all(txn);
    found(txn, read_rows(select.all(txn), ids, |id| Entity::find_by_id(id).one(txn)).await?, now).await
}

/// The same for a statement that selects the columns that it is given.
pub(super) async fn readable_by(
    txn: &DatabaseTransaction,
    select: impl Fn(&str) -> Statement,
    now: DateTime<Utc>,
) -> Result<Readable, DbErr> {
    let rows = Entity::find().from_raw_sql(select(&columns()));
    let ids = async { txn.query_all_raw(select("e.id")).await?.iter().map(|row| row.try_get_by_index(0)).collect() };
    found(txn, read_rows(rows.all(txn), ids, |id| Entity::find_by_id(id).one(txn)).await?, now).await
}

/// The columns of event `e`. They are named: a migration may add some while this process keeps a statement prepared.
pub(super) fn columns() -> String {
    Column::iter().map(|column| format!("e.{}", Iden::unquoted(&column))).collect::<Vec<_>>().join(", ")
}

/// The same for several `selects`: in one statement on `MariaDB`, where each costs a round trip.
pub(super) async fn readable_together(
    txn: &DatabaseTransaction,
    selects: Vec<Select<Entity>>,
    now: DateTime<Utc>,
) -> Result<Readable, DbErr> {
    let backend = txn.get_database_backend();
    if backend != DbBackend::MySql || selects.len() < 2 {
        let mut all = Readable { rows: Vec::new(), given_up: 0 };
        for select in selects {
            let Readable { rows, given_up } = readable(txn, select, now).await?;
            all.rows.extend(rows);
            all.given_up += given_up;
        }
        return Ok(all);
    }
    let ids = together(selects.iter().cloned().map(|select| select.select_only().column(Column::Id)));
    let ids = async { txn.query_all_raw(ids).await?.iter().map(|row| row.try_get_by_index(0)).collect() };
    let rows = Entity::find().from_raw_sql(together(selects.into_iter()));
    found(txn, read_rows(rows.all(txn), ids, |id| Entity::find_by_id(id).one(txn)).await?, now).await
}

/// `MariaDB`'s statement for the rows of all `selects`, each of which keeps its order, its limit and its locks. Public so that tests can
/// read its query plan.
pub fn together(selects: impl Iterator<Item = Select<Entity>>) -> Statement {
    let backend = DbBackend::MySql;
    let statements: Vec<_> = selects.map(|select| select.build(backend)).collect();
    let sql = statements.iter().map(|statement| format!("({})", statement.sql)).collect::<Vec<_>>().join(" UNION ALL ");
    let values = statements.into_iter().filter_map(|statement| statement.values).flat_map(|values| values.0);
    Statement::from_sql_and_values(backend, sql, values)
}

async fn found(txn: &DatabaseTransaction, listed: Vec<Listed<Model>>, now: DateTime<Utc>) -> Result<Readable, DbErr> {
    let (mut rows, mut given_up) = (Vec::new(), 0);
    for found in listed {
        match found {
            Listed::Read(row) => rows.push(row),
            Listed::Unreadable(id) => {
                give_up(txn, id, now).await?;
                given_up += 1;
            }
        }
    }
    Ok(Readable { rows, given_up })
}

/// Makes events dead that cannot be read.
pub(super) async fn give_up_all(db: &Database, ids: &[Uuid]) -> Result<(), DbErr> {
    let giving_up = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.begun_at(&txn);
            for id in ids {
                tracing::error!(%id, "gave up an unreadable event");
                give_up(&txn, *id, now).await?;
            }
            Ok(())
        })
    });
    giving_up.await
}

/// Rewrites every column that may be unreadable, except for those that say what the event is about.
async fn give_up(txn: &DatabaseTransaction, id: Uuid, now: DateTime<Utc>) -> Result<(), DbErr> {
    let error = "this row cannot be read: something other than Feebox changed it";
    let dead = ActiveModel {
        status: Set(Status::Dead),
        due_at: Set(now),
        settled_at: Set(Some(now)),
        lease_token: Set(None),
        leased_until: Set(None),
        last_error: Set(Some(error.into())),
        cause: Set(Some(cause("broken", error))),
        failed_at: Set(Some(now)),
        ..Default::default()
    };
    Entity::update_many().set(dead).filter(Column::Id.eq(id)).exec(txn).await.map(drop)
}
