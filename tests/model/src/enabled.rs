//! What can happen next.

use crate::{Action, Circuit, Delivery, Guard, Lease, Leased, LookUps, QuoteStatus, State, Status, Step, Worker};

impl Delivery {
    /// What happens sooner or later if nothing else does. When none of it is left, the system has come to rest.
    pub(crate) fn progress(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, worker) in state.workers.iter().enumerate() {
            match worker {
                Worker::Down => actions.push(Action::Restart(number)),
                Worker::Idle => {
                    let claimable = state.ids().filter(|id| self.may_claim(state, *id));
                    actions.extend(claimable.map(|id| Action::Claim(number, id)));
                }
                Worker::Busy(leased) => actions.push(self.next_of(state, number, leased)),
            }
        }
        let is_held = |id| (0..state.workers.len()).any(|it| state.leased(it).is_some_and(|it| is_of(state, it, id)));
        let any_up = state.workers.iter().any(|worker| *worker != Worker::Down);
        for id in state.ids() {
            match state.event(id).leased_until {
                Some(Lease::Runs) if !is_held(id) => actions.push(Action::LeaseEnds(id)),
                Some(Lease::RanOut) if any_up && self.has(Guard::Rescue) => actions.push(Action::Rescue(id)),
                _ => {}
            }
        }
        for (number, quote) in state.quotes.iter().enumerate() {
            if quote.status == QuoteStatus::Storing {
                actions.push(Action::SubmitQuoteAlone(number));
            }
            if !quote.late.is_empty() {
                actions.push(Action::WorkLate(number));
            }
        }
        if state.held {
            actions.push(Action::HoldEnds);
        }
    }

    /// What a busy worker does, or what the fee server does for it.
    fn next_of(&self, state: &State, number: usize, leased: &Leased) -> Action {
        let is_stopped = self.has(Guard::ClockBeforeSending) && state.has_run_out(leased);
        let is_held = self.has(Guard::HoldBeforeSending) && is_held_back(state, leased);
        match leased.step {
            Step::Claimed if is_stopped || is_held => Action::HandBack(number),
            Step::LookedUp if is_stopped => Action::HandBack(number),
            Step::Claimed if self.looks_up(leased) => Action::LookUp(number),
            Step::Claimed | Step::LookedUp => Action::Call(number),
            Step::Called => Action::Work(number),
            Step::Made => Action::Answer(number),
            Step::Ended(_) => Action::Settle(number),
            Step::Applying(_) => Action::Apply(number),
        }
    }

    /// What may happen, or may not: what clients and operators do, and misfortunes.
    pub(crate) fn chance(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, quote) in state.quotes.iter().enumerate() {
            match quote.status {
                QuoteStatus::Unsubmitted if self.has(Guard::OneTransaction) => {
                    actions.extend([Action::Submit(number), Action::RollBack(number)]);
                }
                QuoteStatus::Unsubmitted => actions.push(Action::SubmitEventAlone(number)),
                QuoteStatus::Storing => actions.push(Action::RollBack(number)),
                QuoteStatus::Pending | QuoteStatus::Confirmed if self.may_cancel => {
                    actions.push(Action::Cancel(number));
                }
                _ => {}
            }
        }
        for (quote, event) in state.ids() {
            let row = state.event((quote, event));
            if row.status == Status::Dead && !row.revived {
                actions.push(Action::Revive(quote, event));
            }
        }
        if state.misfortunes == 0 {
            return;
        }
        for (number, worker) in state.workers.iter().enumerate() {
            if let Worker::Busy(leased) = worker {
                self.misfortunes_of(state, number, leased, actions);
            }
        }
    }

    fn misfortunes_of(&self, state: &State, number: usize, leased: &Leased, actions: &mut Vec<Action>) {
        actions.push(Action::Crash(number));
        let may_fail_look_up = leased.step == Step::Claimed && self.looks_up(leased) && !state.has_run_out(leased);
        match leased.step {
            Step::Claimed if may_fail_look_up => {
                actions.extend([Action::LookUpFails(number), Action::LookUpMeetsProxy(number)]);
            }
            Step::Called => {
                actions.extend([Action::Fail(number), Action::AskToWait(number), Action::Lose(number)]);
                if leased.is_handover() && state.quotes[leased.quote].fees.is_empty() {
                    actions.push(Action::Refuse(number));
                }
                if self.may_be_late {
                    actions.extend([Action::HangUp(number), Action::CrashWhileCalling(number)]);
                }
            }
            Step::Made => actions.push(Action::Cut(number)),
            Step::Ended(_) => actions.push(Action::SettleUnheard(number)),
            _ => {}
        }
        // A worker that waits for an answer hangs up before its lease ends. Unless the fee server is late, it has acted by then.
        let may_end = self.may_be_late || leased.step != Step::Called;
        if may_end && is_of(state, leased, leased.id()) && !state.has_run_out(leased) {
            actions.push(Action::LeaseEnds(leased.id()));
        }
    }

    /// `claim`'s query, and the permit of `destinations::check`.
    fn may_claim(&self, state: &State, (quote, event): (usize, usize)) -> bool {
        let permit = match &state.circuit {
            Circuit::Open { probe: Some(_), .. } => !self.has(Guard::OneProbe),
            Circuit::Open { .. } | Circuit::Closed(..) => true,
        };
        let is_waiting = self.has(Guard::Order)
            && state.quotes[quote].events[..event].iter().any(|earlier| earlier.status.is_unfinished());
        permit && !state.held && !is_waiting && state.event((quote, event)).status == Status::Pending
    }

    fn looks_up(&self, leased: &Leased) -> bool {
        let has_look_ups = self.look_ups == LookUps::List && self.has(Guard::LookUpFirst);
        leased.outcome_unknown && leased.is_handover() && has_look_ups
    }
}

impl Status {
    /// It holds back the later events of its quote: `an_earlier_unfinished_event`.
    pub(crate) fn is_unfinished(self) -> bool {
        matches!(self, Self::Pending | Self::Leased | Self::Dead)
    }
}

/// Whether the destination must not be called for this event now.
pub(crate) fn is_held_back(state: &State, leased: &Leased) -> bool {
    state.held || matches!(state.circuit, Circuit::Open { .. }) && !leased.probe
}

/// Whether this worker holds the event's present lease.
fn is_of(state: &State, leased: &Leased, id: (usize, usize)) -> bool {
    leased.id() == id && state.is_held_by(leased)
}
