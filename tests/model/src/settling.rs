//! What follows an attempt: `outbox::settle`, `Destination::apply`, `outbox::rescue`, and the destination's health.

use crate::{Circuit, Delivery, Guard, Lease, Leased, Outcome, QuoteStatus, State, Status, Step, promises};

/// What a failed attempt is blamed on: `destinations::Blame`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Event,
    Destination,
}

impl Delivery {
    /// Settles what a worker has in hand. Returns what is left to do, which is nothing as long as all commits together.
    pub(crate) fn settle(&self, state: &mut State, worker: usize) -> Option<Step> {
        let leased = state.leased(worker)?.clone();
        let Step::Ended(outcome) = leased.step else { return None };
        let (is_held, own) =
            (state.is_held_by(&leased), state.event(leased.id()).lease_token == Some(leased.lease_token));
        let is_fenced = self.has(Guard::Fence) && !own;
        let is_settled = self.has(Guard::SettledOnce) && state.event(leased.id()).leased_until.is_none();
        // Without the fence, what another worker holds is settled, too.
        if is_fenced || (is_settled && (own || self.has(Guard::Fence))) {
            return None;
        }
        let before = state.event(leased.id()).clone();
        let step = self.store(state, &leased, outcome);
        if !is_held && *state.event(leased.id()) != before {
            state.breaks(promises::FENCE);
        }
        step
    }

    /// `settle::next`, and what `Ended` writes.
    fn store(&self, state: &mut State, leased: &Leased, outcome: Outcome) -> Option<Step> {
        let (id, blame) = (leased.id(), self.count(state, leased, outcome));
        let (max_attempts, counts) = (self.max_attempts, self.has(Guard::CountedFirst));
        let row = state.event_mut(id);
        let is_spent = match outcome {
            Outcome::Delivered(_) | Outcome::Refused => true,
            Outcome::NotSent | Outcome::RetryAfter | Outcome::Misdirected => false,
            Outcome::Retry | Outcome::Unknown => blame == Blame::Event,
        };
        row.leased_until = None;
        row.outcome_unknown |= matches!(outcome, Outcome::Unknown | Outcome::Misdirected);
        if outcome == Outcome::NotSent {
            row.lease_token = None;
        }
        if counts {
            row.attempts = leased.attempt - u8::from(!is_spent);
        } else {
            row.attempts += u8::from(is_spent);
        }
        row.calls -= u8::from(!is_spent && leased.called && row.calls > 0);
        row.status = match outcome {
            Outcome::Delivered(_) => Status::Delivered,
            _ if row.withdrawn => Status::Cancelled,
            Outcome::Refused => Status::Dead,
            _ if is_spent && leased.attempt >= max_attempts => Status::Dead,
            _ => Status::Pending,
        };
        let became = row.status;
        state.held |= outcome == Outcome::RetryAfter;
        match (became, outcome) {
            (Status::Delivered, Outcome::Delivered(Some(fee))) if leased.is_handover() => {
                if !self.has(Guard::SettledTogether) {
                    return Some(Step::Applying(fee));
                }
                self.confirm(state, leased.quote, fee);
            }
            (Status::Dead, Outcome::Refused) => self.change(state, leased.quote, QuoteStatus::Rejected),
            _ => {}
        }
        None
    }

    /// The second half of a settlement that is not one transaction.
    pub(crate) fn apply_alone(&self, state: &mut State, worker: usize) {
        if let Some(Leased { quote, step: Step::Applying(fee), .. }) = state.leased(worker).cloned() {
            self.confirm(state, quote, fee);
        }
    }

    /// `quotes::confirm`: a quote keeps the fee that it has, and a cancelled one stays cancelled.
    fn confirm(&self, state: &mut State, quote: usize, fee: u8) {
        state.quotes[quote].fee_record.get_or_insert(fee);
        self.change(state, quote, QuoteStatus::Confirmed);
    }

    fn change(&self, state: &mut State, number: usize, to: QuoteStatus) {
        let quote = &mut state.quotes[number];
        if self.has(Guard::CompareAndSet) && quote.status != QuoteStatus::Pending {
            return;
        }
        let was_cancelled = quote.status == QuoteStatus::Cancelled;
        quote.status = to;
        if was_cancelled {
            state.breaks(promises::STAYS_CANCELLED);
        }
    }

    /// `rescue`: the attempt left no result, so nobody knows what it did.
    pub(crate) fn rescue(&self, state: &mut State, id: (usize, usize)) {
        let (max_attempts, is_unknown) = (self.max_attempts, self.has(Guard::RescuedIsUnknown));
        let row = state.event_mut(id);
        row.outcome_unknown |= is_unknown;
        (row.lease_token, row.leased_until) = (None, None);
        row.status = match row.status {
            // Without the mark, it may have been cancelled while it was leased.
            Status::Cancelled => Status::Cancelled,
            _ if row.withdrawn => Status::Cancelled,
            _ if row.attempts >= max_attempts => Status::Dead,
            _ => Status::Pending,
        };
    }

    /// `DestinationHealth::count` and `apply_to`. That others were delivered lately is left out: it only blames events more often, and
    /// opens the circuit later, as more `circuit_failures` would.
    fn count(&self, state: &mut State, leased: &Leased, outcome: Outcome) -> Blame {
        let id = leased.id();
        let (mut failures, mut last, is_open) = match state.circuit {
            Circuit::Closed(failures, last) => (failures, last, false),
            Circuit::Open { failures, last, .. } => (failures, last, true),
        };
        let mut blame = Blame::Event;
        match outcome {
            Outcome::NotSent | Outcome::RetryAfter => {}
            Outcome::Delivered(_) | Outcome::Refused => {
                if leased.probe || !is_open {
                    (failures, last) = (0, None);
                }
            }
            Outcome::Retry | Outcome::Unknown | Outcome::Misdirected => {
                if failures == 0 || last != Some(id) {
                    (failures, last) = ((failures + 1).min(self.circuit_failures), Some(id));
                }
                let is_alone = failures == 1 && last == Some(id);
                if leased.probe && !is_alone {
                    blame = Blame::Destination;
                }
            }
        }
        let has_succeeded = leased.probe && matches!(outcome, Outcome::Delivered(_) | Outcome::Refused);
        let is_over = self.has(Guard::LateProbe) && state.event(id).leased_until != Some(Lease::Runs);
        let ends_probe = leased.probe && !is_over;
        state.circuit = match state.circuit {
            Circuit::Open { .. } if has_succeeded => Circuit::Closed(failures, last),
            Circuit::Open { probe, .. } => Circuit::Open { probe: probe.filter(|_| !ends_probe), failures, last },
            Circuit::Closed(..) if failures >= self.circuit_failures => Circuit::Open { probe: None, failures, last },
            Circuit::Closed(..) => Circuit::Closed(failures, last),
        };
        blame
    }
}
