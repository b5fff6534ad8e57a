//! Failures by cause: how many events and quotes, and how much money, each of them holds up.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use entity::{
    outbox_event::{Column, Entity},
    quote,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, QueryTrait, Select,
    sea_query::{
        Alias, Asterisk, Expr, ExprTrait, Func, Query, SelectStatement,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt},
    },
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{list::has_cause, stats::known_names};
use crate::{
    database::{Database, padded, with_value},
    outbox::{EventStatus, destinations, parts_of_cause, status_in},
    quotes::Money,
    series,
};

/// The most causes for each destination and status.
const CAUSES_MAX: usize = 200;
/// The most events that are counted: the newest ones of a cause, destination and status. `MariaDB` has no index of causes (ADR 38): there
/// they are those of a destination and status, and of what waits the oldest, because these have been tried.
pub const COUNTED_MAX: u64 = 5_000;
/// Amounts are summed in two halves, each of which fits into 64 bits.
const HALF: u32 = 20;

/// Failures by cause.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Causes {
    /// Those that hold up most events first.
    pub causes: Vec<CauseGroup>,
    /// Nothing was left out. Otherwise there are more events than are counted, or more causes than are shown.
    pub is_complete: bool,
    /// When the first number of each trend begins: a day ago.
    pub trend_from: DateTime<Utc>,
    /// How long a number of a trend counts: 600 seconds.
    pub trend_step_seconds: i64,
    /// Read from a replica whose state has what was committed by then; the header `Age` says how long ago that is. Left out if all was
    /// read from the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub as_of: Option<DateTime<Utc>>,
}

/// Events that failed for one cause.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Cause)]
pub struct CauseGroup {
    /// Outcome, HTTP status, and the error without ids and numbers: the filter `cause` of the list of events.
    pub cause: String,
    /// The error of one of them.
    pub sample: Option<String>,
    /// `retry`, `unknown`, `refused`, `broken` or `unauthorised`.
    pub outcome: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How many events.
    pub events: u64,
    /// How many of them are dead.
    pub dead: u64,
    /// How many quotes.
    pub quotes: u64,
    /// Whose quotes these are: at most so many customers, because one counts for each currency and each status of the events.
    pub customers: u64,
    /// What these quotes amount to.
    pub money: Vec<Money>,
    /// When the first of them failed.
    pub first_seen: Option<DateTime<Utc>>,
    /// When the last of them failed.
    pub last_seen: Option<DateTime<Utc>>,
    /// How many attempts failed for it in each step of the last day, the oldest first; delivered events, too. It comes up to ten
    /// seconds late, and may miss causes that are rare.
    pub trend: Vec<u64>,
}

/// Groups the events that failed and are neither delivered nor cancelled, or those of one status.
///
/// # Errors
/// Any database error.
pub async fn causes(db: &Database, status: Option<EventStatus>, destination: Option<&str>) -> Result<Causes, DbErr> {
    let connection = db.connection();
    let statuses = match status {
        Some(status) => vec![status],
        None => vec![EventStatus::Dead, EventStatus::Pending, EventStatus::Leased],
    };
    let names = match destination {
        Some(name) => vec![name.to_owned()],
        None => known_names(destinations(connection).await?.iter()),
    };
    let mut groups = Groups { by_cause: BTreeMap::new(), latest: BTreeMap::new(), is_complete: true };
    for name in &names {
        for status in &statuses {
            groups.read(connection, *status, name).await?;
        }
    }
    groups.read_samples(connection).await?;
    let mut causes: Vec<_> = groups.by_cause.into_values().collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.events));
    let trends = series::trends(db, destination).await?;
    for group in &mut causes {
        group.trend = trends.of(&group.cause);
    }
    let (trend_from, trend_step_seconds) = (trends.from, series::TREND_STEP.num_seconds());
    Ok(Causes { causes, is_complete: groups.is_complete, trend_from, trend_step_seconds, as_of: None })
}

struct Groups {
    by_cause: BTreeMap<String, CauseGroup>,
    /// The event of each cause whose error is shown, where the count does not bring it.
    latest: BTreeMap<String, Uuid>,
    is_complete: bool,
}

impl Groups {
    async fn read(&mut self, db: &impl ConnectionTrait, status: EventStatus, name: &str) -> Result<(), DbErr> {
        let backend = db.get_database_backend();
        if backend == DbBackend::MySql || !is_unsettled(status) {
            return self.count(db, status, name, None).await;
        }
        let mut cause = String::new();
        for _ in 0..CAUSES_MAX {
            let Some(row) = db.query_one(next_cause(status, name, &cause).as_query()).await? else { return Ok(()) };
            cause = row.try_get_by_index(0)?;
            self.count(db, status, name, Some(&cause)).await?;
        }
        self.is_complete = false;
        Ok(())
    }

    async fn count(
        &mut self,
        db: &impl ConnectionTrait,
        status: EventStatus,
        name: &str,
        cause: Option<&str>,
    ) -> Result<(), DbErr> {
        let mut counted = 0;
        let backend = db.get_database_backend();
        for row in db.query_all(&counted_by_cause(backend, status, name, cause)).await? {
            counted += self.add(backend, &row, status)?;
        }
        self.is_complete &= counted < COUNTED_MAX;
        Ok(())
    }

    /// Adds a row of [`counted_by_cause`]; returns how many events it is about, with or without a cause.
    fn add(&mut self, backend: DbBackend, row: &QueryResult, status: EventStatus) -> Result<u64, DbErr> {
        let events = unsigned(row.try_get_by_index(2)?);
        let Some(cause) = row.try_get_by_index::<Option<String>>(0)? else { return Ok(events) };
        let (outcome, answer) = parts_of_cause(&cause);
        let group = self.by_cause.entry(cause.clone()).or_insert_with(|| CauseGroup {
            sample: None,
            outcome: outcome.to_owned(),
            status: answer,
            events: 0,
            dead: 0,
            quotes: 0,
            customers: 0,
            money: Vec::new(),
            first_seen: None,
            last_seen: None,
            trend: Vec::new(),
            cause: cause.clone(),
        });
        group.events += events;
        group.dead += if status == EventStatus::Dead { events } else { 0 };
        group.quotes += unsigned(row.try_get_by_index(3)?);
        group.customers += unsigned(row.try_get_by_index(9)?);
        let (high, low): (Option<i64>, Option<i64>) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
        if let (Some(currency), Some(high), Some(low)) = (row.try_get_by_index::<Option<String>>(1)?, high, low) {
            let sum = (i128::from(high) << HALF) + i128::from(low);
            let amount = i64::try_from(sum).unwrap_or(i64::MAX);
            match group.money.iter_mut().find(|money| money.currency == currency) {
                Some(money) => money.amount_minor = money.amount_minor.saturating_add(amount),
                None => group.money.push(Money::new(currency, amount)),
            }
        }
        let (first, last): (Option<DateTime<Utc>>, Option<DateTime<Utc>>) =
            (row.try_get_by_index(6)?, row.try_get_by_index(7)?);
        if last >= group.last_seen {
            if backend == DbBackend::MySql {
                self.latest.insert(cause, row.try_get_by_index(8)?);
            } else {
                group.sample = row.try_get_by_index(8)?;
            }
        }
        group.first_seen = [group.first_seen, first].into_iter().flatten().min();
        group.last_seen = Ord::max(group.last_seen, last);
        Ok(events)
    }

    async fn read_samples(&mut self, db: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.latest.is_empty() {
            return Ok(());
        }
        let errors: Vec<(Uuid, Option<String>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::LastError])
            .filter(Column::Id.is_in(padded(self.latest.values().copied())))
            .into_tuple()
            .all(db)
            .await?;
        let mut errors: HashMap<_, _> = errors.into_iter().collect();
        for (cause, id) in &self.latest {
            if let Some(group) = self.by_cause.get_mut(cause) {
                group.sample = errors.remove(id).flatten();
            }
        }
        Ok(())
    }
}

/// The cause that follows `after` in the index of causes. Public so that tests can ask databases for its plan.
#[must_use]
pub fn next_cause(status: EventStatus, destination: &str, after: &str) -> Select<Entity> {
    Entity::find()
        .select_only()
        .column(Column::Cause)
        .filter(has_cause(status, destination))
        .filter(Column::Cause.gt(after))
        .order_by_asc(Column::Cause)
        .limit(1)
}

/// The query that counts events of a destination and status, by cause and currency. Public so that tests can ask databases for its plan.
#[must_use]
pub fn counted_by_cause(
    backend: DbBackend,
    status: EventStatus,
    destination: &str,
    cause: Option<&str>,
) -> SelectStatement {
    let is_mariadb = backend == DbBackend::MySql;
    let columns = [Column::Id, Column::AggregateId, Column::Cause, Column::FailedAt];
    // With texts of any length, MariaDB would write the rows to its disk.
    let rows = Entity::find().select_only().columns(columns).columns((!is_mariadb).then_some(Column::LastError));
    let rows = match cause {
        Some(cause) => rows
            .filter(has_cause(status, destination))
            .filter(Column::Cause.between(cause, cause))
            .order_by_desc(Column::Cause),
        None => with_value(rows.filter(status_in(&[status])), backend, Column::Destination, destination),
    };
    let waits = matches!(status, EventStatus::Pending | EventStatus::Leased);
    let rows = if is_mariadb && waits { rows.order_by_asc(Column::Id) } else { rows.order_by_desc(Column::Id) };
    let mut some = rows.limit(COUNTED_MAX).into_query();
    if is_mariadb {
        some.force_index("outbox_event_dead", IndexHintScope::All);
    }
    let of = |column: Column| Expr::col(("some", column));
    let of_quote = |column: quote::Column| Expr::col((quote::Entity, column));
    let integer = match backend {
        DbBackend::Postgres => "bigint",
        DbBackend::MySql => "signed",
        _ => "integer",
    };
    let sum = |half: Expr| Expr::expr(Func::sum(half)).cast_as(Alias::new(integer));
    let mut its_quote = Condition::all().add(of_quote(quote::Column::Id).equals(("some", Column::AggregateId)));
    if is_mariadb {
        // Of what only waits no quote is looked up.
        its_quote = its_quote.add(of(Column::Cause).is_not_null());
    }
    // An event that has failed holds back the later ones of its quote: until it is settled, no other of them has a cause.
    let all = Func::count(Expr::col(Asterisk));
    let sample = if is_mariadb { Column::Id } else { Column::LastError };
    Query::select()
        .expr(of(Column::Cause))
        .expr(of_quote(quote::Column::Currency))
        .expr(all.clone())
        .expr(if is_unsettled(status) { all.into() } else { of(Column::AggregateId).count_distinct() })
        .expr(sum(of_quote(quote::Column::AmountMinor).right_shift(Expr::cust(HALF.to_string()))))
        .expr(sum(of_quote(quote::Column::AmountMinor).modulo(1_u32 << HALF)))
        .expr(Func::min(of(Column::FailedAt)))
        .expr(Func::max(of(Column::FailedAt)))
        .expr(Func::max(of(sample)))
        .expr(of_quote(quote::Column::CustomerId).count_distinct())
        .from_subquery(some, "some")
        .left_join(quote::Entity, its_quote)
        .group_by_columns([("some", Column::Cause)])
        .add_group_by([of_quote(quote::Column::Currency)])
        .take()
}

fn is_unsettled(status: EventStatus) -> bool {
    matches!(status, EventStatus::Dead | EventStatus::Pending | EventStatus::Leased)
}

fn unsigned(count: i64) -> u64 {
    count.try_into().unwrap_or(0)
}
