//! Pages of lists, each read along an index and no further than [`SCANNED_MAX`] rows.
//!
//! If an index holds exactly the rows of a list, in the list's order, a page reads only the rows that it shows. Otherwise a page
//! reads a bounded piece of a larger index, keeps the rows of the list, and returns where the next page continues. Such a page
//! can be short or empty although more rows follow.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryTrait,
    Select, Value,
    sea_query::{
        Asterisk, CaseStatement, Expr, Func, Order, Query, SelectStatement,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt},
    },
};
use uuid::Uuid;

/// The most rows that a page scans.
pub const SCANNED_MAX: u64 = 5_000;

/// A page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// At most `limit` rows.
    pub rows: Vec<T>,
    /// Older rows may follow. They come before this id.
    pub next: Option<Uuid>,
}

/// A piece of an index that holds the rows of a page.
#[derive(Clone, Debug)]
pub struct Scan {
    rows: SelectStatement,
    kept: Option<Condition>,
    scanned_max: u64,
    order: &'static [&'static str],
}

impl Scan {
    /// Along the order of `rows`, which selects the column `id` first. All rows belong to the list.
    #[must_use]
    pub fn of<E: EntityTrait>(rows: Select<E>) -> Self {
        Self { rows: rows.into_query(), kept: None, scanned_max: SCANNED_MAX, order: &["id"] }
    }

    /// Along this index. `MariaDB` needs the hint, because it prefers another index and a sort. The other databases ignore it.
    #[must_use]
    pub fn by_index(mut self, name: &'static str) -> Self {
        self.rows.force_index(name, IndexHintScope::All);
        self
    }

    /// Only the rows that match `kept` belong to the list. `kept` uses selected columns.
    #[must_use]
    pub fn keeping(self, kept: Condition) -> Self {
        if kept.is_empty() { self } else { Self { kept: Some(kept), ..self } }
    }

    /// A page scans at most `rows`, fewer than [`SCANNED_MAX`] because each of them costs more.
    #[must_use]
    pub fn scanning(self, rows: u64) -> Self {
        Self { scanned_max: rows.min(SCANNED_MAX), ..self }
    }

    /// The list is ordered by these columns instead of by id, descending.
    #[must_use]
    pub fn ordered_by(self, order: &'static [&'static str]) -> Self {
        Self { order, ..self }
    }

    /// The query for up to `limit` ids. Public so that tests can ask databases for its plan.
    #[must_use]
    pub fn ids(&self, limit: u64) -> SelectStatement {
        let mut rows = self.rows();
        let Some(kept) = &self.kept else {
            return rows.limit(limit).take();
        };
        let mut query = Query::select();
        query.column("id").from_subquery(rows.limit(self.scanned_max).take(), "scanned").cond_where(kept.clone());
        for column in self.order {
            query.order_by(*column, Order::Desc);
        }
        query.limit(limit).take()
    }

    /// The query for the last id of a full scan; no row if the scan ends earlier. Public so that tests can ask databases for its
    /// plan.
    #[must_use]
    pub fn end(&self) -> SelectStatement {
        self.rows().limit(1).offset(self.scanned_max - 1).take()
    }

    /// How many rows of the list there are, up to `limit`, and whether there are no others. No more than `limit` rows are scanned.
    ///
    /// # Errors
    /// Any database error.
    pub async fn count(&self, db: &impl ConnectionTrait, limit: u64) -> Result<(u64, bool), DbErr> {
        let count = self.number(limit);
        let row = db.query_one(&count).await?;
        let (scanned, kept): (i64, i64) = match row {
            Some(row) => (row.try_get_by_index(0)?, row.try_get_by_index(1)?),
            None => (0, 0),
        };
        Ok((kept.try_into().unwrap_or(0), u64::try_from(scanned).unwrap_or(0) < self.counted_max(limit)))
    }

    /// The query for the number of rows scanned, and of those that belong to the list. Public so that tests can ask databases for
    /// its plan.
    #[must_use]
    pub fn number(&self, limit: u64) -> SelectStatement {
        let some = self.rows().limit(self.counted_max(limit)).take();
        let all = Func::count(Expr::col(Asterisk));
        let kept = match &self.kept {
            None => all.clone(),
            Some(kept) => Func::count(CaseStatement::new().case(kept.clone(), Expr::val(1))),
        };
        Query::select().expr(all).expr(kept).from_subquery(some, "scanned").take()
    }

    /// The rows with what `kept` needs. If all of them belong to the list, they are ids alone, which an index may answer without the table.
    fn rows(&self) -> SelectStatement {
        let mut rows = self.rows.clone();
        if self.kept.is_none() {
            rows.clear_selects().column("id");
        }
        rows
    }

    /// What costs more for a row than reading it is counted no further than a page goes.
    fn counted_max(&self, limit: u64) -> u64 {
        if self.scanned_max < SCANNED_MAX { limit.min(self.scanned_max) } else { limit }
    }

    /// Up to `limit` ids, and the last scanned id if more may follow it.
    async fn read(&self, db: &impl ConnectionTrait, limit: u64) -> Result<(Vec<Uuid>, Option<Uuid>), DbErr> {
        let found = ids(db, &self.ids(limit)).await?;
        if self.kept.is_none() || found.len() as u64 >= limit {
            return Ok((found, None));
        }
        Ok((found, ids(db, &self.end()).await?.pop()))
    }
}

/// The `rows` with this value of `column`. On `PostgreSQL` and `SQLite` the condition is a range with two ends, by which the rows
/// are ordered first, so that only the intended index has this order. `MariaDB` turns such a range into an equality and then
/// sorts, so there it is an equality, and no order: a text of another collation than the column's is no constant to it, and it
/// would sort by the column although all values are equal.
pub fn with_value<E: EntityTrait>(
    rows: Select<E>,
    backend: DbBackend,
    column: E::Column,
    value: impl Into<Value>,
) -> Select<E> {
    let value = value.into();
    match backend {
        DbBackend::MySql => rows.filter(column.eq(value)),
        _ => rows.filter(column.between(value.clone(), value)).order_by_desc(column),
    }
}

/// The ids of a page of up to `limit` rows. Each row of the list is in exactly one of `scans`.
///
/// # Errors
/// Any database error.
pub async fn page(db: &impl ConnectionTrait, scans: &[Scan], limit: u64) -> Result<Page<Uuid>, DbErr> {
    let (mut rows, mut floor) = (Vec::new(), None);
    for scan in scans {
        // One row more than asked for shows whether there is a next page.
        let (found, end) = scan.read(db, limit + 1).await?;
        rows.extend(found);
        floor = floor.max(end);
    }
    if scans.len() > 1 {
        rows.sort_unstable_by(|one, next| next.cmp(one));
        if let Some(floor) = floor {
            // A scan ends here: older rows of the others would leave gaps.
            rows.retain(|id| *id >= floor);
        }
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return Ok(Page { rows, next: floor });
    }
    rows.truncate(limit);
    let next = rows.last().copied();
    Ok(Page { rows, next })
}

async fn ids(db: &impl ConnectionTrait, query: &SelectStatement) -> Result<Vec<Uuid>, DbErr> {
    let rows = db.query_all(query).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
