//! Pages of lists, each read along an index and no further than [`SCANNED_MAX`] rows.
//!
//! Where an index holds the rows of a list and no others, in the order of the list, a page reads as many rows as it has.
//! Where none does, a page reads a bounded piece of an index that holds others, too, keeps what it looks for, and says where
//! the next page goes on: it may have fewer rows than were asked for, or none, although more follow.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryTrait,
    Select, Value,
    sea_query::{
        Order, Query, SelectStatement,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt},
    },
};
use uuid::Uuid;

/// Up to how many rows a page passes over.
pub const SCANNED_MAX: u64 = 5_000;

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Older rows may follow: those before this id.
    pub next: Option<Uuid>,
}

/// A piece of an index in which the rows of a page are.
#[derive(Clone, Debug)]
pub struct Scan {
    rows: SelectStatement,
    kept: Option<Condition>,
    order: &'static [&'static str],
}

impl Scan {
    /// Along the order of `rows`, which selects the column `id` first. All rows belong to the list.
    pub fn of<E: EntityTrait>(rows: Select<E>) -> Self {
        Self { rows: rows.into_query(), kept: None, order: &["id"] }
    }

    /// Along this index. `MariaDB` has to be told: it would rather sort what it finds. The other databases take no hint.
    #[must_use]
    pub fn by_index(mut self, name: &'static str) -> Self {
        self.rows.force_index(name, IndexHintScope::All);
        self
    }

    /// Only those of its rows that `kept` is true of belong to the list. It names columns that are selected.
    #[must_use]
    pub fn keeping(self, kept: Condition) -> Self {
        let kept = if kept.is_empty() { None } else { Some(kept) };
        Self { kept, ..self }
    }

    /// The list has another order than that of ids.
    #[must_use]
    pub fn ordered_by(self, order: &'static [&'static str]) -> Self {
        Self { order, ..self }
    }

    /// The question for up to `limit` ids. Public so that databases can be asked for its plan.
    #[must_use]
    pub fn ids(&self, limit: u64) -> SelectStatement {
        let mut rows = self.rows.clone();
        let Some(kept) = &self.kept else {
            return rows.limit(limit).take();
        };
        let mut question = Query::select();
        question.column("id").from_subquery(rows.limit(SCANNED_MAX).take(), "scanned").cond_where(kept.clone());
        for column in self.order {
            question.order_by(*column, Order::Desc);
        }
        question.limit(limit).take()
    }

    /// The question for the last id that the other one scans, if it stops there. Public so that databases can be asked for its
    /// plan.
    #[must_use]
    pub fn end(&self) -> SelectStatement {
        self.rows.clone().limit(1).offset(SCANNED_MAX - 1).take()
    }

    /// Up to `limit` ids, and the last one that was scanned if there may be more behind it.
    async fn read(&self, db: &impl ConnectionTrait, limit: u64) -> Result<(Vec<Uuid>, Option<Uuid>), DbErr> {
        let found = ids(db, &self.ids(limit)).await?;
        if self.kept.is_none() || found.len() as u64 >= limit {
            return Ok((found, None));
        }
        Ok((found, ids(db, &self.end()).await?.pop()))
    }
}

/// Those of `rows` with this value of `column`, in an order that begins with that. On `PostgreSQL` and `SQLite` the condition is
/// a range with two ends, so that no index but the intended one has this order; `MariaDB` turns such a range into an equality
/// without its order, and sorts.
pub fn with_value<E: EntityTrait>(
    rows: Select<E>,
    backend: DbBackend,
    column: E::Column,
    value: impl Into<Value>,
) -> Select<E> {
    let value = value.into();
    let rows = match backend {
        DbBackend::MySql => rows.filter(column.eq(value)),
        _ => rows.filter(column.between(value.clone(), value)),
    };
    rows.order_by_desc(column)
}

/// The ids of a page of up to `limit` rows, which are in one of `scans` each.
///
/// # Errors
/// Any database error.
pub async fn page(db: &impl ConnectionTrait, scans: &[Scan], limit: u64) -> Result<Page<Uuid>, DbErr> {
    let (mut rows, mut floor) = (Vec::new(), None);
    for scan in scans {
        // One more than asked for tells whether there is a next page.
        let (found, end) = scan.read(db, limit + 1).await?;
        rows.extend(found);
        floor = floor.max(end);
    }
    if scans.len() > 1 {
        rows.sort_unstable_by(|one, next| next.cmp(one));
    }
    if let Some(floor) = floor {
        // What is older is known of some scans only.
        rows.retain(|id| *id >= floor);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return Ok(Page { rows, next: floor });
    }
    rows.truncate(limit);
    let next = rows.last().copied();
    Ok(Page { rows, next })
}

async fn ids(db: &impl ConnectionTrait, question: &SelectStatement) -> Result<Vec<Uuid>, DbErr> {
    let rows = db.query_all(question).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
