//! The promises of `docs/delivery.md` as properties of each state.
//!
//! "Eventually" needs fairness: what has been begun goes on, a dead process is replaced, a lease and a hold end. Misfortunes are
//! bounded, and no schedule goes in circles (a test walks all of them), so each run comes to rest. What is to happen eventually must
//! have happened there: that is [`SETTLED`] and [`VOIDED`], as properties of the states in which nothing is left to do. `stateright`'s
//! own `eventually` looks at a state only on the first way to it, so it would miss some.

use stateright::{Model, Property};

use crate::{Delivery, Quote, QuoteStatus, State, Status, Step, Worker};

/// Promise 2.
pub const NO_FEE_LOST: &str = "2: a stored quote has its fee, a live or dead event that brings it, or was cancelled";
/// Promise 3, here.
pub const ONE_FEE_RECORD: &str = "3: a quote has at most one fee record, of a fee that the fee server made";
/// Promise 3, there.
pub const ONE_FEE: &str = "3: the fee server makes at most one fee for a quote";
/// Promise 4.
pub const NO_GHOST: &str = "4: nothing that was rolled back reaches the fee server";
/// Promise 5.
pub const TOGETHER: &str = "5: fee record, delivered and confirmed commit together";
/// Promise 6.
pub const IN_ORDER: &str = "6: events of one quote are delivered in their order";
/// Promise 7.
pub const FENCE: &str = "7: a worker that lost its lease changes nothing";
/// A quote that was cancelled stays so.
pub const STAYS_CANCELLED: &str = "a cancelled quote stays cancelled, and so do its events";
/// `retry.max_attempts`.
pub const COUNTED: &str = "no event is called more often than retry.max_attempts";
/// Under an open circuit.
pub const ONE_PROBE: &str = "while the circuit is open, one probe is under way at a time";
/// Holds.
pub const HOLD: &str = "no call begins while the destination is held";
/// Of runs with more attempts than misfortunes.
pub const NOTHING_DIES: &str = "with attempts enough nothing dies but what the fee server refuses";
/// Liveness.
pub const SETTLED: &str = "eventually each quote is settled, or an operator has its dead event";
/// Liveness, of cancelled quotes.
pub const VOIDED: &str = "eventually the fee of a cancelled quote is voided, or an operator has the dead event";

/// All of them.
#[must_use]
pub fn all() -> Vec<Property<Delivery>> {
    vec![
        Property::always(NO_FEE_LOST, |_, state: &State| state.quotes.iter().all(no_fee_lost)),
        Property::always(ONE_FEE_RECORD, |_, state: &State| {
            state.quotes.iter().all(|quote| quote.fee_record.is_none_or(|fee| usize::from(fee) < quote.fees.len()))
        }),
        Property::always(ONE_FEE, |_, state: &State| state.quotes.iter().all(|quote| quote.fees.len() <= 1)),
        Property::always(NO_GHOST, no_ghost),
        Property::always(TOGETHER, |_, state: &State| state.quotes.iter().all(together)),
        Property::always(IN_ORDER, |_, state: &State| !state.broken.contains(&IN_ORDER)),
        Property::always(FENCE, |_, state: &State| !state.broken.contains(&FENCE)),
        Property::always(STAYS_CANCELLED, |_, state: &State| !state.broken.contains(&STAYS_CANCELLED)),
        Property::always(COUNTED, |model: &Delivery, state: &State| {
            state.ids().all(|id| state.event(id).calls <= model.max_attempts)
        }),
        Property::always(ONE_PROBE, |_, state: &State| !state.broken.contains(&ONE_PROBE)),
        Property::always(HOLD, |_, state: &State| !state.broken.contains(&HOLD)),
        Property::always(NOTHING_DIES, |model: &Delivery, state: &State| {
            model.max_attempts <= model.misfortunes || state.quotes.iter().all(nothing_died)
        }),
        Property::always(SETTLED, |model: &Delivery, state: &State| {
            !is_at_rest(model, state) || state.quotes.iter().all(is_settled)
        }),
        Property::always(VOIDED, |model: &Delivery, state: &State| {
            !is_at_rest(model, state) || state.quotes.iter().all(is_voided)
        }),
    ]
}

/// Whether nothing is left to do that happens by itself.
fn is_at_rest(model: &Delivery, state: &State) -> bool {
    let mut actions = Vec::new();
    model.progress(state, &mut actions);
    actions.is_empty()
}

fn no_fee_lost(quote: &Quote) -> bool {
    let first = quote.events.first().map(|event| event.status);
    match quote.status {
        QuoteStatus::Pending => matches!(first, Some(Status::Pending | Status::Leased | Status::Dead)),
        QuoteStatus::Confirmed => quote.fee_record.is_some(),
        QuoteStatus::Rejected => first == Some(Status::Dead),
        _ => true,
    }
}

fn no_ghost(_: &Delivery, state: &State) -> bool {
    let is_called = |number: usize| {
        let of = |worker: &Worker| matches!(worker, Worker::Busy(it) if it.quote == number && it.step == Step::Called);
        state.workers.iter().any(of)
    };
    let mut quotes = state.quotes.iter().enumerate();
    quotes
        .all(|(number, quote)| quote.status != QuoteStatus::RolledBack || (quote.fees.is_empty() && !is_called(number)))
}

fn together(quote: &Quote) -> bool {
    let is_delivered = quote.events.first().is_some_and(|event| event.status == Status::Delivered);
    let has_fee = quote.fee_record.is_some();
    let accepted = matches!(quote.status, QuoteStatus::Confirmed | QuoteStatus::Cancelled);
    is_delivered == has_fee && (!has_fee || accepted)
}

fn nothing_died(quote: &Quote) -> bool {
    quote.status == QuoteStatus::Rejected || quote.events.iter().all(|event| event.status != Status::Dead)
}

fn is_settled(quote: &Quote) -> bool {
    let is_dead = quote.events.iter().any(|event| event.status == Status::Dead);
    !matches!(quote.status, QuoteStatus::Pending | QuoteStatus::Storing) || is_dead
}

fn is_voided(quote: &Quote) -> bool {
    let is_dead = quote.events.iter().any(|event| event.status == Status::Dead);
    quote.status != QuoteStatus::Cancelled || is_dead || quote.fees.iter().all(|fee| fee.voided)
}

/// The names of all promises.
#[must_use]
pub fn names() -> Vec<&'static str> {
    Delivery::default().properties().into_iter().map(|property| property.name).collect()
}
