//! What each action does, but for settling.

use crate::{
    Action, Circuit, Delivery, Event, Fee, Guard, Lease, Leased, Outcome, QuoteStatus, State, Status, Step, Worker,
    enabled::is_held_back, promises,
};

impl Delivery {
    /// Does `action`.
    pub(crate) fn step(&self, state: &mut State, action: Action) {
        if action.is_misfortune(state) {
            state.misfortunes -= 1;
        }
        match action {
            Action::Submit(quote) => submit(state, quote, QuoteStatus::Pending),
            Action::SubmitEventAlone(quote) => submit(state, quote, QuoteStatus::Storing),
            Action::SubmitQuoteAlone(quote) => state.quotes[quote].status = QuoteStatus::Pending,
            Action::RollBack(quote) => state.quotes[quote].status = QuoteStatus::RolledBack,
            Action::Cancel(quote) => self.cancel(state, quote),
            Action::Revive(quote, event) => revive(state, (quote, event)),
            Action::Claim(worker, id) => self.claim(state, worker, id),
            Action::LookUp(worker) => {
                let found = state.leased(worker).and_then(|leased| fee_of(state, leased.quote));
                let step = found.map_or(Step::LookedUp, |fee| Step::Ended(Outcome::Delivered(Some(fee))));
                goes_on(state, worker, step);
            }
            Action::LookUpMeetsProxy(worker) => {
                let is_believed = !self.has(Guard::ListsAreRemembered);
                let step = if is_believed { Step::LookedUp } else { Step::Ended(Outcome::Misdirected) };
                goes_on(state, worker, step);
            }
            Action::Call(worker) => self.call(state, worker),
            Action::HandBack(worker) => {
                let was_looked_up = state.leased(worker).is_some_and(|leased| leased.step == Step::LookedUp);
                let outcome = if was_looked_up { Outcome::Unknown } else { Outcome::NotSent };
                goes_on(state, worker, Step::Ended(outcome));
            }
            Action::Work(worker) => {
                if let Some(leased) = state.leased(worker).cloned() {
                    self.work(state, leased.quote, leased.is_handover(), self.key_of(&leased));
                }
                goes_on(state, worker, Step::Made);
            }
            Action::WorkLate(quote) => {
                let key = state.quotes[quote].late.remove(0);
                self.work(state, quote, key != VOID, key);
            }
            Action::Answer(worker) => {
                let fee = state.leased(worker).filter(|leased| leased.is_handover());
                let fee = fee.and_then(|leased| fee_of(state, leased.quote));
                goes_on(state, worker, Step::Ended(Outcome::Delivered(fee)));
            }
            Action::Fail(worker) => goes_on(state, worker, Step::Ended(Outcome::Retry)),
            Action::AskToWait(worker) => goes_on(state, worker, Step::Ended(Outcome::RetryAfter)),
            Action::Refuse(worker) => goes_on(state, worker, Step::Ended(Outcome::Refused)),
            Action::LookUpFails(worker) | Action::Lose(worker) | Action::Cut(worker) => {
                goes_on(state, worker, Step::Ended(Outcome::Unknown));
            }
            Action::HangUp(worker) => {
                self.stays_late(state, worker);
                goes_on(state, worker, Step::Ended(Outcome::Unknown));
            }
            Action::Settle(worker) => {
                let step = self.settle(state, worker);
                match step {
                    Some(step) => goes_on(state, worker, step),
                    None => state.workers[worker] = Worker::Idle,
                }
            }
            Action::SettleUnheard(worker) => drop(self.settle(state, worker)),
            Action::Apply(worker) => {
                self.apply_alone(state, worker);
                state.workers[worker] = Worker::Idle;
            }
            Action::Crash(worker) => state.workers[worker] = Worker::Down,
            Action::CrashWhileCalling(worker) => {
                self.stays_late(state, worker);
                state.workers[worker] = Worker::Down;
            }
            Action::Restart(worker) => state.workers[worker] = Worker::Idle,
            Action::LeaseEnds(id) => self.lease_ends(state, id),
            Action::Rescue(id) => self.rescue(state, id),
            Action::HoldEnds => state.held = false,
        }
    }

    /// Attempts + 1 and a lease, in one transaction.
    fn claim(&self, state: &mut State, worker: usize, id: (usize, usize)) {
        let token = free_token(state, id);
        let counts = self.has(Guard::CountedFirst);
        let row = state.event_mut(id);
        row.status = Status::Leased;
        row.attempts += u8::from(counts);
        row.lease_token = Some(token);
        row.leased_until = Some(Lease::Runs);
        let attempt = row.attempts + u8::from(!counts);
        let outcome_unknown = row.outcome_unknown;
        let is_open = matches!(state.circuit, Circuit::Open { .. });
        if let Circuit::Open { probe, .. } = &mut state.circuit {
            *probe = Some(id);
        }
        let probes = (0..state.workers.len()).filter_map(|it| state.leased(it));
        let others = probes.filter(|leased| leased.probe && !state.has_run_out(leased)).count();
        if is_open && others > 0 {
            state.breaks(promises::ONE_PROBE);
        }
        let (quote, event) = id;
        let step = Step::Claimed;
        let leased =
            Leased { quote, event, lease_token: token, attempt, outcome_unknown, probe: is_open, called: false, step };
        state.workers[worker] = Worker::Busy(leased);
    }

    /// The request leaves. It is here that order and holds show.
    fn call(&self, state: &mut State, worker: usize) {
        let Some(leased) = state.leased(worker).cloned() else { return };
        let earlier = &state.quotes[leased.quote].events[..leased.event];
        let runs = |other: usize| {
            state.leased(other).is_some_and(|it| {
                it.quote == leased.quote && it.event < leased.event && it.step == Step::Called && !self.may_be_late
            })
        };
        if earlier.iter().any(|it| it.status.is_unfinished()) || (0..state.workers.len()).any(runs) {
            state.breaks(promises::IN_ORDER);
        }
        if is_held_back(state, &leased) && leased.step == Step::Claimed {
            state.breaks(promises::HOLD);
        }
        state.event_mut(leased.id()).calls += 1;
        if let Worker::Busy(leased) = &mut state.workers[worker] {
            (leased.called, leased.step) = (true, Step::Called);
        }
    }

    /// The fee server acts on a request: it makes the fee unless it has one for this key, or voids what it has.
    fn work(&self, state: &mut State, quote: usize, is_handover: bool, key: u8) {
        let fees = &mut state.quotes[quote].fees;
        if !is_handover {
            for fee in fees {
                fee.voided = true;
            }
        } else if !(self.honours_keys && fees.iter().any(|fee| fee.key == key)) {
            fees.push(Fee { key, voided: false });
        }
    }

    /// The key of the running attempt: always the event's id.
    fn key_of(&self, leased: &Leased) -> u8 {
        match (leased.is_handover(), self.has(Guard::SameKey)) {
            (false, _) => VOID,
            (true, true) => 0,
            (true, false) => leased.attempt,
        }
    }

    fn stays_late(&self, state: &mut State, worker: usize) {
        if let Some(leased) = state.leased(worker).cloned() {
            let key = self.key_of(&leased);
            state.quotes[leased.quote].late.push(key);
        }
    }

    /// The end of a probe's lease is also when the next probe may go.
    fn lease_ends(&self, state: &mut State, id: (usize, usize)) {
        state.event_mut(id).leased_until = Some(Lease::RanOut);
        if let Circuit::Open { probe, .. } = &mut state.circuit
            && self.has(Guard::ProbeEnds)
        {
            probe.take_if(|probe| *probe == id);
        }
    }

    fn cancel(&self, state: &mut State, number: usize) {
        let marks = self.has(Guard::WithdrawnIsMarked);
        let quote = &mut state.quotes[number];
        let may_have_reached = quote.events.iter().any(|event| {
            matches!(event.status, Status::Leased | Status::Delivered) || event.attempts > 0 || event.outcome_unknown
        });
        for event in &mut quote.events {
            match event.status {
                Status::Leased if marks => event.withdrawn = true,
                Status::Pending | Status::Dead | Status::Leased => event.status = Status::Cancelled,
                Status::Delivered | Status::Cancelled => {}
            }
        }
        quote.status = QuoteStatus::Cancelled;
        if may_have_reached || quote.fee_record.is_some() {
            quote.events.push(Event::default());
        }
    }
}

/// The key of a request that voids a fee.
const VOID: u8 = u8::MAX;

fn submit(state: &mut State, quote: usize, status: QuoteStatus) {
    let quote = &mut state.quotes[quote];
    (quote.status, quote.events) = (status, vec![Event::default()]);
}

fn revive(state: &mut State, id: (usize, usize)) {
    let row = state.event_mut(id);
    (row.status, row.attempts, row.calls, row.revived) = (Status::Pending, 0, 0, true);
    let quote = &mut state.quotes[id.0];
    if quote.status == QuoteStatus::Rejected {
        quote.status = QuoteStatus::Pending;
    }
}

fn goes_on(state: &mut State, worker: usize, to: Step) {
    if let Worker::Busy(leased) = &mut state.workers[worker] {
        leased.step = to;
    }
}

/// The first fee of the quote: what a look-up and an answer tell.
fn fee_of(state: &State, quote: usize) -> Option<u8> {
    (!state.quotes[quote].fees.is_empty()).then_some(0)
}

/// A number that neither the row nor a worker has: a UUID that was never used.
fn free_token(state: &State, id: (usize, usize)) -> u8 {
    let in_hand = |token| {
        (0..state.workers.len()).any(|it| state.leased(it).is_some_and(|it| it.id() == id && it.lease_token == token))
    };
    (0..=u8::MAX).find(|token| state.event(id).lease_token != Some(*token) && !in_hand(*token)).unwrap_or_default()
}

impl Action {
    /// Whether it uses up a part of the bad luck.
    fn is_misfortune(self, state: &State) -> bool {
        match self {
            Self::LookUpFails(_)
            | Self::LookUpMeetsProxy(_)
            | Self::Fail(_)
            | Self::AskToWait(_)
            | Self::Refuse(_)
            | Self::Lose(_)
            | Self::Cut(_)
            | Self::HangUp(_)
            | Self::SettleUnheard(_)
            | Self::Crash(_)
            | Self::CrashWhileCalling(_) => true,
            // Of a dead worker it ends for free.
            Self::LeaseEnds(id) => (0..state.workers.len())
                .any(|it| state.leased(it).is_some_and(|it| it.id() == id && state.is_held_by(it))),
            _ => false,
        }
    }
}
