//! Whose turn it is: partners that have something due take turns, so that the backlog of one does not delay the others.
//!
//! The index `outbox_event_turn` holds what is pending by destination, partner and due time. A walk over it reads an entry or two
//! of each partner, however long their backlogs are.

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    Select, Statement,
    sea_query::{
        Expr, ExprTrait,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt},
    },
};
use uuid::Uuid;

use super::{DestinationName, EventStatus, EventType, claim::status_in};

const INDEX: &str = "outbox_event_turn";

/// The most partners that one claim serves. The next claim goes on with those behind them.
pub(crate) const PARTNERS_MAX: usize = 32;
/// So many of them are served at once where others wait for their turn anyway, but on `PostgreSQL`: the fewer they are, the more
/// neighbours in the table a claim takes, and the fewer pages it touches.
const OF_MANY: usize = 16;
/// The most partners that one claim looks at on `MariaDB`, where one with a backlog costs a statement.
const LOOKED_AT_MAX: usize = 4 * PARTNERS_MAX;
/// The entries of the index that such a statement reads: a thousand partners with a few events each cost a few statements.
const HEADS_READ: usize = 256;

/// Where in the circle of partners the next claim begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// At this partner, or the first one behind it. The empty text is the first of all: that of events that are nobody's.
    from: String,
    /// Claims of this circle have brought events: those that they served may have more.
    has_brought: bool,
}

impl Turn {
    /// Behind `partner`. No name has a control character, so none lies between.
    fn behind(partner: &str) -> String {
        format!("{partner}\u{1}")
    }

    /// The turn of the partners behind `partner`.
    pub(super) fn after(partner: &str) -> Self {
        Self { from: Self::behind(partner), has_brought: false }
    }

    /// So many partners share a claim at least.
    pub(super) fn partners_min(&self) -> usize {
        if self.from.is_empty() { 1 } else { PARTNERS_MAX }
    }

    /// Where it begins, for a statement.
    pub(super) fn from(&self) -> &str {
        &self.from
    }

    /// Whether `brought` events leave any for another claim, and where that begins. `last` is the last partner that was looked at
    /// if others may follow; `hungry` says whether one of them may have more than it got.
    pub(super) fn next(&self, last: Option<&str>, brought: bool, hungry: bool) -> (bool, Self) {
        let has_brought = self.has_brought || brought;
        match last {
            Some(last) => (true, Self { from: Self::behind(last), has_brought }),
            // The circle is closed. What a claim brought that began it shows by itself whether there is more.
            None => (hungry || (has_brought && !self.from.is_empty()), Self::default()),
        }
    }

    /// How many of `limit` events each of so many `partners`, at most `limit`, gets at least: all of these shares fit into it, so
    /// that nobody's turn passes without one. At the end of a circle few partners are left: they get no more than the others.
    pub(super) fn share(&self, limit: usize, partners: usize) -> usize {
        (limit / partners.max(self.partners_min().min(OF_MANY))).max(1)
    }
}

/// Partners that have something due, in their order.
#[derive(Debug, Default)]
pub(crate) struct Partners {
    pub names: Vec<String>,
    /// The last one that was looked at, if others may follow.
    pub last: Option<String>,
}

impl Partners {
    /// Those that one claim serves: all, or some of many. One that wants few events finds no more partners than that, and serves them
    /// all, with an event each.
    pub(super) fn served(mut self) -> Self {
        if self.last.is_some() && self.names.len() >= PARTNERS_MAX {
            self.names.truncate(OF_MANY);
            self.last = self.names.last().cloned();
        }
        self
    }
}

/// Up to `limit` partners, from `turn` on, that have events for `destination` that are due `now`.
pub(crate) async fn partners(
    db: &impl ConnectionTrait,
    destination: &str,
    now: DateTime<Utc>,
    turn: &Turn,
    limit: usize,
) -> Result<Partners, DbErr> {
    let mut names = Vec::new();
    if db.get_database_backend() != DbBackend::MySql {
        // One more than asked for shows whether others follow.
        for row in db.query_all_raw(walk(db.get_database_backend(), destination, now, turn, limit + 1)).await? {
            names.push(row.try_get_by_index(0)?);
        }
        let is_cut = names.len() > limit;
        names.truncate(limit);
        let last = names.last().filter(|_| is_cut).cloned();
        return Ok(Partners { names, last });
    }
    let (mut from, mut looked_at) = (turn.from.clone(), 0);
    while looked_at < LOOKED_AT_MAX {
        let heads = heads(destination, &from).into_tuple::<(String, DateTime<Utc>)>().all(db).await?;
        let is_last = heads.len() < HEADS_READ;
        for (name, due_at) in heads {
            // Of each partner the first entry is the longest due.
            if *name < *from {
                continue;
            }
            from = Turn::behind(&name);
            looked_at += 1;
            if due_at <= now && names.len() == limit {
                let last = names.last().cloned();
                return Ok(Partners { names, last });
            }
            if due_at <= now {
                names.push(name);
            }
        }
        if is_last {
            return Ok(Partners { names, last: None });
        }
    }
    let last = from.trim_end_matches('\u{1}').to_owned();
    Ok(Partners { names, last: Some(last) })
}

/// How many events of `partner` and of this type wait for `destination`, those under a lease, too; counted up to one above `most`.
///
/// # Errors
/// Any database error.
pub async fn waiting_of(
    db: &impl ConnectionTrait,
    destination: &DestinationName,
    event_type: &EventType,
    partner: &str,
    most: usize,
) -> Result<usize, DbErr> {
    let limit = u64::try_from(most.saturating_add(1)).unwrap_or(u64::MAX);
    let mut waiting = 0;
    for status in [EventStatus::Pending, EventStatus::Leased] {
        let mut rows = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Destination.eq(destination.as_str()))
            .filter(status_in(&[status]))
            .filter(Column::Partner.eq(partner))
            .filter(Column::EventType.eq(event_type.as_str()))
            .limit(limit);
        if db.get_database_backend() == DbBackend::MySql && status == EventStatus::Pending {
            QueryTrait::query(&mut rows).force_index(INDEX, IndexHintScope::All);
        }
        waiting += rows.into_tuple::<Uuid>().all(db).await?.len();
    }
    Ok(waiting)
}

/// What is pending of `partner` and due until `until`, the longest due first, along the index of turns. On `PostgreSQL` and `SQLite`
/// a range of pairs and this order keep to that index, and end with what is due; `MariaDB` is told.
pub(super) fn pending_of(backend: DbBackend, destination: &str, partner: &str, until: DateTime<Utc>) -> Select<Entity> {
    let rows = Entity::find().filter(Column::Destination.eq(destination)).filter(status_in(&[EventStatus::Pending]));
    if backend != DbBackend::MySql {
        let last = Expr::tuple([Expr::val(partner), Expr::val(until)]);
        let pair = Expr::tuple([Expr::col(Column::Partner), Expr::col(Column::DueAt)]);
        let rows = rows.filter(Column::Partner.gte(partner)).filter(pair.lte(last));
        return rows.order_by_asc(Column::Partner).order_by_asc(Column::DueAt);
    }
    let mut rows =
        rows.filter(Column::Partner.eq(partner)).filter(Column::DueAt.lte(until)).order_by_asc(Column::DueAt);
    QueryTrait::query(&mut rows).force_index(INDEX, IndexHintScope::All);
    rows
}

/// The first partners from `from` on that have something pending, and when it is due: on `MariaDB`, which reads whole backlogs if one
/// statement walks from partner to partner. Public so that tests can read its query plan.
#[must_use]
pub fn heads(destination: &str, from: &str) -> Select<Entity> {
    let mut heads = Entity::find()
        .select_only()
        .columns([Column::Partner, Column::DueAt])
        .filter(Column::Destination.eq(destination))
        .filter(status_in(&[EventStatus::Pending]))
        .filter(Column::Partner.gte(from))
        .order_by_asc(Column::Partner)
        .order_by_asc(Column::DueAt)
        .limit(HEADS_READ as u64);
    QueryTrait::query(&mut heads).force_index(INDEX, IndexHintScope::All);
    heads
}

/// The walk over partners on the other databases, in one statement. Public so that tests can read its query plan.
#[must_use]
pub fn walk(backend: DbBackend, destination: &str, now: DateTime<Utc>, turn: &Turn, limit: usize) -> Statement {
    let sql = format!(
        "WITH RECURSIVE {WALK} SELECT partner FROM walk WHERE partner IS NOT NULL AND EXISTS (\
             SELECT 1 FROM outbox_event due WHERE due.destination = $1 AND due.status = 'pending' \
                 AND due.partner >= walk.partner AND (due.partner, due.due_at) <= (walk.partner, $3) \
             ORDER BY due.partner, due.due_at LIMIT 1 OFFSET 0) LIMIT $4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Statement::from_sql_and_values(backend, sql, [destination.into(), turn.from().into(), now.into(), limit.into()])
}

/// All partners from `$2` on that have events for destination `$1` pending, and a last row without one.
pub(super) const WALK: &str = "walk (partner) AS (\
     SELECT (SELECT e.partner FROM outbox_event e WHERE e.destination = $1 AND e.status = 'pending' AND e.partner >= $2 \
         ORDER BY e.destination, e.partner LIMIT 1) \
     UNION ALL \
     SELECT (SELECT e.partner FROM outbox_event e WHERE e.destination = $1 AND e.status = 'pending' \
         AND e.partner > walk.partner ORDER BY e.destination, e.partner LIMIT 1) \
     FROM walk WHERE walk.partner IS NOT NULL)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_goes_on_until_it_brings_nothing() {
        let first = Turn::default();
        assert_eq!(first.next(None, true, false), (false, Turn::default()), "all that is due was brought");
        assert_eq!(first.next(None, true, true), (true, Turn::default()), "one of them may have more");
        let (goes_on, second) = first.next(Some("m"), true, false);
        assert!(goes_on && "m" < second.from() && second.from() < "m " && second.from() < "ma");
        // Those before it may have more: they come again, once more in vain.
        assert_eq!(second.next(None, false, false), (true, Turn::default()));
        let (_, second) = first.next(Some("m"), false, false);
        assert_eq!(second.next(None, false, false), (false, Turn::default()));
    }

    #[test]
    fn some_of_many_partners_are_served_and_all_of_those_that_fit_into_one_claim() {
        let served = |found: usize, others_follow: bool| {
            let names: Vec<_> = (0..found).map(|number| format!("{number:02}")).collect();
            let last = names.last().filter(|_| others_follow).cloned();
            let served = Partners { names, last }.served();
            (served.names.len(), served.last)
        };
        assert_eq!(served(PARTNERS_MAX, false), (PARTNERS_MAX, None));
        assert_eq!(served(PARTNERS_MAX, true), (OF_MANY, Some("15".into())));
        assert_eq!(served(PARTNERS_MAX - 1, true), (PARTNERS_MAX - 1, Some("30".into())), "a claim of as many events");
    }

    #[test]
    fn shares_are_equal_also_at_the_end_of_a_circle() {
        let (first, behind) = (Turn::default(), Turn { from: "m".into(), has_brought: true });
        assert_eq!((first.share(500, 1), first.share(500, 3), first.share(33, 32)), (500, 166, 1));
        assert_eq!((behind.share(500, 1), behind.share(5, 3)), (500 / OF_MANY, 1));
    }
}
