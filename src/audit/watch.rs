//! The audit of the fleet, a bounded piece at each tick.
//!
//! A tick checks again what has violations, then the quotes that were submitted and those whose events settled since the
//! last tick, then goes on with a pass over all quotes. It stores its place and what it found with each slice: whichever
//! process takes the next tick goes on from there, and a violation stays counted until its quote passes a check.

use std::{
    collections::HashSet,
    ops::{Bound, RangeBounds},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use entity::outbox_event::{Column as EventColumn, Entity as Event, Status as EventStatus};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::{Checker, FutureTimes, Slice, Violation, delayed, found, found::Known, future_times, place::Place, slice};
use crate::{
    clock::first_id,
    database::{Database, StaleReads},
    outbox::{settled_statuses, status_in},
};

/// A transaction that takes longer from its times to its commit is overlooked, until the pass over all quotes comes by.
const COMMITTED_WITHIN: Duration = Duration::from_mins(5);
/// Quotes that a statement names.
const NAMED_MAX: usize = 1_000;
/// So many of the quotes that a tick has checked by name are remembered. Beyond them one may be checked twice.
const REMEMBERED_MAX: usize = 100_000;

/// How much a tick does.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most quotes of a slice.
    pub rows: u64,
    /// How long it checks what has changed. One slice of each kind is always checked.
    pub changed: Duration,
    /// How long it goes on with the pass over all quotes.
    pub all: Duration,
    /// That pass goes on until each quote was checked once, and not to its end only.
    pub round: bool,
}

impl Limits {
    /// What an operator asks for: all quotes.
    pub(super) const OF_A_REQUEST: Self =
        Self { rows: slice::ROWS_MAX, changed: Duration::from_mins(2), all: Duration::from_mins(10), round: true };
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: slice::ROWS_MAX, changed: Duration::from_mins(2), all: Duration::from_mins(1), round: false }
    }
}

/// What a tick came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Quotes that were checked because they had changed, or had violations.
    pub changed: u64,
    /// Quotes that the pass over all quotes has checked, each once.
    pub quotes: u64,
    /// Violations that are known now, of all ticks.
    pub violations: u64,
    /// Rows with times in the future.
    pub ahead: FutureTimes,
    /// Whether all that has changed was checked.
    pub is_up_to_date: bool,
    /// Whether the pass over all quotes came to its end.
    pub is_whole: bool,
}

/// Does what is due at a tick, and passes to `tell` each violation that is new or was found again. `delivered_for` is how long
/// retention keeps settled events.
///
/// # Errors
/// Any database error; what was stored until then stays, and the next tick goes on from there.
pub async fn watch(
    reads: impl Into<StaleReads>,
    delivered_for: Duration,
    limits: Limits,
    tell: impl FnMut(&Violation) + Send,
) -> Result<Watched, DbErr> {
    let reads = reads.into();
    let db = reads.primary();
    let now = db.now(db.connection()).await?;
    let checker = Checker::new(reads.clone(), delivered_for, limits.rows);
    // A replica that is read has what was committed so long ago.
    let until = now - COMMITTED_WITHIN - reads.age_max();
    let mut watch = Watch { db, checker, now, until, tell, quotes: 0, named: HashSet::new() };
    let deadline = Instant::now() + limits.changed;
    watch.times().await?;
    watch.violations(deadline).await?;
    let (mut is_up_to_date, submitted) = watch.submitted(deadline).await?;
    is_up_to_date &= watch.settled(deadline, submitted).await?;
    let changed = std::mem::take(&mut watch.quotes);
    let is_whole = watch.all(Instant::now() + limits.all, limits.round).await?;
    let (quotes, violations) = (watch.quotes, found::count(db.connection()).await?);
    let ahead = future_times::find(db.connection(), now).await?;
    Ok(Watched { changed, quotes, violations, ahead, is_up_to_date, is_whole })
}

/// Ids that were checked in this tick.
type Checked = (Bound<Uuid>, Bound<Uuid>);

struct Watch<'a, F> {
    db: &'a Database,
    checker: Checker,
    now: DateTime<Utc>,
    /// What is older is committed, and is seen wherever it is read.
    until: DateTime<Utc>,
    tell: F,
    /// Quotes that were checked so far.
    quotes: u64,
    /// Those among them that were checked by name.
    named: HashSet<Uuid>,
}

impl<F: FnMut(&Violation) + Send> Watch<'_, F> {
    /// Events that wait for a time in the future.
    async fn times(&mut self) -> Result<(), DbErr> {
        let place = Place::of(self.db, "violations").await?;
        let violations = delayed(self.db.connection(), self.now).await?;
        let next = place.at_quote(place.quote_id());
        if self.store(&place, &next, Some((found::of_times(), Known::Go)), &violations).await?.is_some() {
            violations.iter().for_each(&mut self.tell);
        }
        Ok(())
    }

    /// Quotes whose violations are known: they may have been repaired.
    async fn violations(&mut self, deadline: Instant) -> Result<(), DbErr> {
        let mut place = Place::of(self.db, "violations").await?;
        loop {
            let after = place.quote_id().unwrap_or_default();
            let limit = self.checker.rows().min(NAMED_MAX as u64);
            let ids = found::quotes(self.db.connection(), after, limit).await?;
            if ids.is_empty() && place.quote_id().is_none() {
                return Ok(());
            }
            // At its end the next tick begins anew.
            let more = ids.last().copied().filter(|_| ids.len() as u64 == limit);
            let next = place.at_quote(more).completed_if(more.is_none(), self.now);
            // A replica may not have seen them yet.
            let slice = self.checker.these_now(ids.clone()).await?;
            self.remember(ids);
            let stored = self.keep(&place, &next, &slice, true).await?;
            if more.is_none() || !stored || Instant::now() >= deadline {
                return Ok(());
            }
            place = next;
        }
    }

    /// Checks these quotes. What settles from now on is left to the next tick, so they need no second check in this one.
    async fn check_named(&mut self, ids: Vec<Uuid>) -> Result<Slice, DbErr> {
        let slice = self.checker.these(ids.clone()).await?;
        self.remember(ids);
        Ok(slice)
    }

    fn remember(&mut self, ids: Vec<Uuid>) {
        let room = REMEMBERED_MAX.saturating_sub(self.named.len());
        self.named.extend(ids.into_iter().take(room));
    }

    /// Quotes that were submitted since the last tick; whether all were checked, and which.
    async fn submitted(&mut self, deadline: Instant) -> Result<(bool, Checked), DbErr> {
        let mut place = Place::of(self.db, "submitted").await?;
        // Smaller ids may still be committed. A place ahead of it was stored by a wrong clock.
        let end = first_id(self.until);
        let begin = place.quote_id().unwrap_or(end).min(end);
        let mut after = begin;
        loop {
            let slice = self.checker.following(after).await?;
            let through = slice.scope.through();
            let next =
                place.at_quote(Some(through.map_or(end, |id| id.min(end)))).completed_if(through.is_none(), self.now);
            let stored = self.keep(&place, &next, &slice, false).await?;
            let checked = (Bound::Excluded(begin), through.map_or(Bound::Unbounded, Bound::Included));
            match through {
                None => return Ok((true, checked)),
                Some(_) if !stored || Instant::now() >= deadline => return Ok((false, checked)),
                Some(through) => (place, after) = (next, through),
            }
        }
    }

    /// Quotes whose events were delivered or cancelled since the last tick, but for those that were `checked` a moment ago;
    /// whether all were checked.
    async fn settled(&mut self, deadline: Instant, checked: Checked) -> Result<bool, DbErr> {
        let mut place = Place::of(self.db, "settled").await?;
        // As with those that were submitted.
        let until = self.until;
        loop {
            let after = place.settled_at().unwrap_or(until).min(until);
            let end = end_of_settled(self.db.connection(), after, until, self.checker.rows()).await?;
            let ids = quotes_settled(self.db.connection(), after, end.unwrap_or(until)).await?;
            let is_checked = |id: &Uuid| checked.contains(id) || self.named.contains(id);
            let ids: Vec<_> = ids.into_iter().filter(|id| !is_checked(id)).collect();
            for ids in ids.chunks(NAMED_MAX) {
                let slice = self.check_named(ids.to_vec()).await?;
                // The place stays until all that settled up to `end` are checked.
                let next = place.at_time(after);
                if !self.keep(&place, &next, &slice, false).await? {
                    return Ok(false);
                }
                place = next;
            }
            let next = place.at_time(end.unwrap_or(until)).completed_if(end.is_none(), self.now);
            let stored = self.store(&place, &next, None, &[]).await?.is_some();
            if end.is_none() || !stored || Instant::now() >= deadline {
                return Ok(end.is_none());
            }
            place = next;
        }
    }

    /// The pass over all quotes; whether it came to its end or, on a `round`, to where it began.
    async fn all(&mut self, deadline: Instant, round: bool) -> Result<bool, DbErr> {
        let mut place = Place::of(self.db, "all").await?;
        let begin = place.quote_id().filter(|_| round);
        let mut was_at_end = begin.is_none();
        loop {
            let after = place.quote_id().unwrap_or_default();
            // On a round the last slice ends where the first one began.
            let end = begin.filter(|_| was_at_end);
            let slice = self.checker.following_up_to(after, end).await?;
            let through = slice.scope.through();
            let next = place.at_quote(through).completed_if(through.is_none(), self.now);
            let stored = self.keep(&place, &next, &slice, false).await?;
            let is_whole = was_at_end && (through.is_none() || begin.is_some_and(|begin| through >= Some(begin)));
            if is_whole || !stored || Instant::now() >= deadline {
                return Ok(is_whole);
            }
            was_at_end |= through.is_none();
            place = next;
        }
    }

    /// Stores what a slice found, unless another process was faster, and tells what is new, or everything found `again`.
    async fn keep(&mut self, from: &Place, to: &Place, slice: &Slice, again: bool) -> Result<bool, DbErr> {
        // What a replica does not show may be newer than its state: only the primary clears a violation.
        let fate = if slice.as_of.is_some() { Known::Stay } else { Known::Go };
        let before = Some((found::of_quotes(&slice.scope), fate));
        let Some(new) = self.store(from, to, before, &slice.violations).await? else {
            return Ok(false);
        };
        self.quotes += slice.quotes;
        (if again { &slice.violations } else { &new }).iter().for_each(&mut self.tell);
        Ok(true)
    }

    /// Moves `from` a place `to` another, and keeps these violations instead of those `before`. Returns the new ones, or none if
    /// another process was faster.
    async fn store(
        &self,
        from: &Place,
        to: &Place,
        before: Option<(Condition, Known)>,
        violations: &[Violation],
    ) -> Result<Option<Vec<Violation>>, DbErr> {
        let (before, now) = (&before, self.now);
        let stored = self.db.transaction(|txn| {
            Box::pin(async move {
                if !from.advance(&txn, to).await? {
                    return Ok::<_, DbErr>(None);
                }
                match before {
                    None => Ok(Some(Vec::new())),
                    Some((before, known)) => {
                        found::replace(&txn, before.clone(), *known, violations, now).await.map(Some)
                    }
                }
            })
        });
        stored.await
    }
}

/// Events that settled after `after` and up to `until`, of each index over them.
fn settled(db: &impl ConnectionTrait, after: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Select<Event>> {
    let of = |statuses: &&[EventStatus]| {
        Event::find()
            .select_only()
            .filter(status_in(statuses))
            .filter(EventColumn::SettledAt.gt(after))
            .filter(EventColumn::SettledAt.lte(until))
            .order_by_asc(EventColumn::SettledAt)
    };
    settled_statuses(db.get_database_backend()).iter().map(of).collect()
}

/// When the last of the next `rows` events settled; none if fewer are left.
async fn end_of_settled(
    db: &impl ConnectionTrait,
    after: DateTime<Utc>,
    until: DateTime<Utc>,
    rows: u64,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    let mut end: Option<DateTime<Utc>> = None;
    for events in settled(db, after, until) {
        let last = events.column(EventColumn::SettledAt).limit(1).offset(rows - 1);
        end = [end, last.into_tuple().one(db).await?].into_iter().flatten().min();
    }
    Ok(end)
}

async fn quotes_settled(
    db: &impl ConnectionTrait,
    after: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Uuid>, DbErr> {
    let mut ids: Vec<Uuid> = Vec::new();
    for events in settled(db, after, until) {
        ids.extend(events.column(EventColumn::AggregateId).into_tuple::<Uuid>().all(db).await?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
