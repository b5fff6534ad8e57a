//! The checks that need the tables alone. Each one selects only rows that violate a promise, among those of some quotes.
//!
//! Rows are found by their quote's id alone, so a check reads no more than the rows of these quotes: each status is a
//! [`found_status`].
//!
//! Promises 7 and 8 leave no trace in the tables. Unique keys ensure that a quote has at most one fee record, and that no two
//! events share a place: they need no check.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use entity::{
    fee_record::{Column as FeeColumn, Entity as Fee},
    outbox_event::{Column as EventColumn, Entity as Event, Status as EventStatus},
    quote::{Column as QuoteColumn, Entity as Quote, Status},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{
        Expr, Query, SelectStatement,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt},
    },
};
use uuid::Uuid;

use super::{Violation, scope::Scope};
use crate::{
    database::found_status,
    outbox::{EventType, an_earlier_unfinished_event},
    quotes::{FEE_SERVER, KAFKA, QUOTE_CANCELLED, QUOTE_SUBMITTED},
};

const UNFINISHED: [EventStatus; 3] = [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead];

/// One way to break a promise.
pub(super) struct Check {
    promise: u8,
    name: &'static str,
    rows: Rows,
    violated: Condition,
    /// What is wrong with the row; follows "quote …", "event … of quote …" or "the fee record of quote …".
    wrong: &'static str,
}

enum Rows {
    Quotes,
    Events,
    Fees,
}

/// All checks. Events that were settled before `kept_since` may have been deleted by retention.
pub(super) fn all(kept_since: DateTime<Utc>) -> Vec<Check> {
    [quotes(kept_since), events(), fees()].into_iter().flatten().collect()
}

/// The promises that they check.
pub(super) fn promises() -> BTreeSet<u8> {
    all(DateTime::<Utc>::MIN_UTC).iter().map(|check| check.promise).collect()
}

/// The names of all of them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    all(DateTime::<Utc>::MIN_UTC).into_iter().map(|check| check.name)
}

fn quotes(kept_since: DateTime<Utc>) -> Vec<Check> {
    let quote = |promise, violated, (name, wrong)| Check { promise, name, rows: Rows::Quotes, violated, wrong };
    vec![
        quote(
            2,
            Condition::all()
                .add(quote_is(Status::Pending))
                .add(Expr::exists(fee_of_quote()).not())
                .add(Expr::exists(hand_over_of_quote(&UNFINISHED)).not()),
            ("lost", "is pending, and there is no event left that could hand it to its destination: it is lost"),
        ),
        quote(
            2,
            Condition::all()
                .add(quote_is(Status::Rejected))
                .add(Expr::exists(hand_over_of_quote(&[EventStatus::Dead])).not()),
            ("no_dead_event", "was rejected, and there is no dead event left that an operator could retry"),
        ),
        quote(
            5,
            Condition::all()
                .add(quote_is(Status::Confirmed))
                .add(QuoteColumn::Destination.eq(FEE_SERVER.as_str()))
                .add(Expr::exists(fee_of_quote()).not()),
            ("no_fee_record", "is confirmed and has no fee record"),
        ),
        quote(
            5,
            Condition::all()
                .add(quote_is(Status::Confirmed))
                .add(QuoteColumn::Destination.eq(KAFKA.as_str()))
                .add(Expr::exists(hand_over_of_quote(&UNFINISHED))),
            ("not_acknowledged", "is confirmed, although the event that tells Kafka of it is not delivered"),
        ),
        quote(
            4,
            Condition::all()
                .add(quote_is(Status::Cancelled))
                .add(QuoteColumn::UpdatedAt.gte(kept_since))
                .add(Expr::exists(fee_of_quote()).or(Expr::exists(attempted_event_of_quote())))
                .add(Expr::exists(void_of_quote()).not()),
            (
                "not_voided",
                "was cancelled although its destination has or may have taken it, and no event takes that back",
            ),
        ),
    ]
}

fn events() -> Vec<Check> {
    let event = |promise, violated, (name, wrong)| Check { promise, name, rows: Rows::Events, violated, wrong };
    vec![
        event(
            1,
            Condition::all().add(Expr::exists(quote_of_event()).not()),
            ("event_without_quote", "was stored without its quote"),
        ),
        event(
            2,
            Condition::all()
                .add(event_is(&[EventStatus::Leased]))
                .add(EventColumn::LeaseToken.is_null().or(EventColumn::LeasedUntil.is_null())),
            ("endless_lease", "is leased without an end: no worker will ever take it back"),
        ),
        event(
            4,
            Condition::all()
                .add(EventColumn::EventType.eq(QUOTE_SUBMITTED.as_str()))
                .add(event_is(&UNFINISHED))
                .add(EventColumn::Withdrawn.eq(false))
                .add(Expr::exists(
                    quote_of_event().and_where(goes_there()).and_where(quote_is(Status::Cancelled)).take(),
                )),
            ("cancelled_and_live", "can still be delivered, although the quote was cancelled"),
        ),
        event(
            5,
            brings_the_fee()
                .add(event_is(&[EventStatus::Delivered]))
                .add(Expr::exists(fee_of_event()).not())
                // Of the others the missing record is told by their own status.
                .add(Expr::exists(quote_of_event().and_where(quote_is(Status::Cancelled)).take())),
            ("delivered_without_record", "was delivered and left no fee record"),
        ),
        event(
            6,
            Condition::all()
                .add(event_is(&[EventStatus::Delivered]))
                .add(EventColumn::Sequence.gt(1))
                .add(Expr::exists(an_earlier_unfinished_event())),
            ("out_of_order", "was delivered before an earlier event of its quote"),
        ),
    ]
}

fn fees() -> Vec<Check> {
    let fee = |promise, violated, (name, wrong)| Check { promise, name, rows: Rows::Fees, violated, wrong };
    let other_event = Expr::col((Event, EventColumn::AggregateId))
        .ne(Expr::col((Fee, FeeColumn::QuoteId)))
        .or(EventColumn::EventType.ne(QUOTE_SUBMITTED.as_str()));
    let other_currency = Expr::col((Quote, QuoteColumn::Currency)).ne(Expr::col((Fee, FeeColumn::Currency)));
    vec![
        fee(
            4,
            Condition::all().add(Expr::exists(quote_of_fee()).not()),
            ("fee_without_quote", "belongs to a quote that does not exist"),
        ),
        fee(
            3,
            Condition::all().add(Expr::exists(event_of_fee().and_where(other_event).take())),
            ("foreign_event", "came with an event that is not its quote's"),
        ),
        fee(
            3,
            Condition::any()
                .add(FeeColumn::AmountMinor.lt(0))
                .add(Expr::exists(quote_of_fee().and_where(other_currency).take())),
            ("foreign_fee", "cannot be this quote's: its currency is another, or its amount is negative"),
        ),
        fee(
            5,
            Condition::all().add(Expr::exists(
                quote_of_fee()
                    .and_where(found_status((Quote, QuoteColumn::Status), [Status::Pending, Status::Rejected]))
                    .take(),
            )),
            ("fee_of_unconfirmed_quote", "is there, although the quote is neither confirmed nor cancelled"),
        ),
        fee(
            5,
            Condition::all()
                .add(Expr::exists(event_of_fee().and_where(EventColumn::Status.ne(EventStatus::Delivered)).take())),
            ("fee_of_undelivered_event", "is there, although the event that brought it is not delivered"),
        ),
    ]
}

impl Check {
    /// Violations among the rows of the quotes `of`.
    pub async fn violations(&self, db: &impl ConnectionTrait, of: &Scope) -> Result<Vec<Violation>, DbErr> {
        let rows = db.query_all(&self.query(of)).await?;
        rows.iter().map(|row| Ok(self.violation(row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }

    /// The query that selects them: the row's id and its quote's.
    pub fn query(&self, of: &Scope) -> SelectStatement {
        match self.rows {
            Rows::Quotes => self.select::<Quote>(QuoteColumn::Id, QuoteColumn::Id, of),
            Rows::Events => self
                .select::<Event>(EventColumn::Id, EventColumn::AggregateId, of)
                .force_index("outbox_event_order", IndexHintScope::All)
                .take(),
            Rows::Fees => self.select::<Fee>(FeeColumn::Id, FeeColumn::QuoteId, of),
        }
    }

    fn select<E: EntityTrait>(&self, id: E::Column, quote_id: E::Column, of: &Scope) -> SelectStatement {
        E::find()
            .select_only()
            .expr_as(id.into_expr(), "row")
            .expr_as(quote_id.into_expr(), "quote")
            .filter(of.condition(quote_id))
            .filter(self.violated.clone())
            .into_query()
    }

    fn violation(&self, id: Uuid, quote_id: Uuid) -> Violation {
        let wrong = self.wrong;
        let sentence = match self.rows {
            Rows::Quotes => format!("quote {quote_id} {wrong}"),
            Rows::Events => format!("event {id} of quote {quote_id} {wrong}"),
            Rows::Fees => format!("the fee record of quote {quote_id} {wrong}"),
        };
        Violation { promise: self.promise, check: self.name, quote_id, sentence }
    }
}

/// Whether there is one, looked up by an index for each row, whatever the planner estimates: with the stale statistics of a
/// growing table, `PostgreSQL` would join the tables in a loop and take hours. An offset prevents that.
fn one<E: EntityTrait>(entity: E) -> SelectStatement {
    Query::select().expr(Expr::val(1)).from(entity).limit(1).offset(0).to_owned()
}

fn quote_is(status: Status) -> Expr {
    found_status((Quote, QuoteColumn::Status), [status])
}

fn event_is(statuses: &[EventStatus]) -> Expr {
    found_status((Event, EventColumn::Status), statuses.iter().copied())
}

fn brings_the_fee() -> Condition {
    Condition::all()
        .add(EventColumn::Destination.eq(FEE_SERVER.as_str()))
        .add(EventColumn::EventType.eq(QUOTE_SUBMITTED.as_str()))
}

fn event_of_quote(event_type: &EventType) -> SelectStatement {
    one(Event)
        .and_where(Expr::col((Event, EventColumn::AggregateId)).equals((Quote, QuoteColumn::Id)))
        .and_where(goes_there())
        .and_where(EventColumn::EventType.eq(event_type.as_str()))
        .take()
}

/// The event goes to its quote's destination: it is not just news about the quote.
fn goes_there() -> Expr {
    Expr::col((Event, EventColumn::Destination)).equals((Quote, QuoteColumn::Destination))
}

fn hand_over_of_quote(statuses: &[EventStatus]) -> SelectStatement {
    event_of_quote(&QUOTE_SUBMITTED).and_where(event_is(statuses)).take()
}

/// An attempt because of which the cancellation stored an event that takes the quote back at its destination.
fn attempted_event_of_quote() -> SelectStatement {
    let attempted = Condition::any()
        .add(event_is(&[EventStatus::Leased, EventStatus::Delivered]))
        .add(EventColumn::Attempts.gt(0))
        .add(EventColumn::OutcomeUnknown.eq(true))
        .add(EventColumn::LastError.is_not_null());
    event_of_quote(&QUOTE_SUBMITTED).cond_where(attempted).take()
}

/// In any status: one that an operator gave up was given up on purpose.
fn void_of_quote() -> SelectStatement {
    event_of_quote(&QUOTE_CANCELLED)
}

fn fee_of_quote() -> SelectStatement {
    one(Fee).and_where(Expr::col((Fee, FeeColumn::QuoteId)).equals((Quote, QuoteColumn::Id))).take()
}

fn fee_of_event() -> SelectStatement {
    one(Fee).and_where(Expr::col((Fee, FeeColumn::QuoteId)).equals((Event, EventColumn::AggregateId))).take()
}

fn quote_of_event() -> SelectStatement {
    one(Quote).and_where(Expr::col((Quote, QuoteColumn::Id)).equals((Event, EventColumn::AggregateId))).take()
}

fn quote_of_fee() -> SelectStatement {
    one(Quote).and_where(Expr::col((Quote, QuoteColumn::Id)).equals((Fee, FeeColumn::QuoteId))).take()
}

fn event_of_fee() -> SelectStatement {
    one(Event).and_where(Expr::col((Event, EventColumn::Id)).equals((Fee, FeeColumn::EventId))).take()
}
