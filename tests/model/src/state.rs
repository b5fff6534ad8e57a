//! What is stored, what workers have in hand, and what the fee server knows.

/// A state of the whole system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// The quotes, with their events and what the fee server has for them.
    pub quotes: Vec<Quote>,
    /// The worker processes.
    pub workers: Vec<Worker>,
    /// The destination's circuit, which the fleet shares.
    pub circuit: Circuit,
    /// The destination asked not to be called for now: `not_before`.
    pub held: bool,
    /// What may still go wrong.
    pub misfortunes: u8,
    /// What a step has broken: promises about steps, which no state shows afterwards.
    pub broken: Vec<&'static str>,
}

/// A quote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quote {
    /// Where it stands.
    pub status: QuoteStatus,
    /// Its `fee_record`: which of the fee server's fees it got.
    pub fee_record: Option<u8>,
    /// Its events for the fee server by `sequence`: `quote.submitted`, then `quote.cancelled`.
    pub events: Vec<Event>,
    /// What the fee server has made for it.
    pub fees: Vec<Fee>,
    /// Requests that the fee server still works on although nobody waits for their answers: their keys.
    pub late: Vec<u8>,
}

/// `entity::quote::Status`, and what comes before it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuoteStatus {
    /// Nobody has submitted it yet.
    #[default]
    Unsubmitted,
    /// Its event is stored and it is not: only without [`Guard::OneTransaction`](crate::Guard::OneTransaction).
    Storing,
    /// Its submission was rolled back.
    RolledBack,
    /// Stored, without a fee.
    Pending,
    /// It has its fee record.
    Confirmed,
    /// The fee server refused it for good.
    Rejected,
    /// A client or an operator cancelled it.
    Cancelled,
}

/// A row of `outbox_event`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    /// Its status.
    pub status: Status,
    /// Attempts that count.
    pub attempts: u8,
    /// Identifies the lease. Numbers are used again when nobody has them any more.
    pub lease_token: Option<u8>,
    /// Whether `leased_until` has passed; none if there is no lease.
    pub leased_until: Option<Lease>,
    /// An earlier attempt may have reached the fee server.
    pub outcome_unknown: bool,
    /// Given up while it was leased.
    pub withdrawn: bool,
    /// An operator has revived it once, and will not do so again.
    pub revived: bool,
    /// Not in the row: calls that began since it was stored or revived, without those that an event is not blamed for.
    pub calls: u8,
}

/// `entity::outbox_event::Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Waits for a claim.
    #[default]
    Pending,
    /// A worker may deliver it.
    Leased,
    /// The fee server has it.
    Delivered,
    /// Given up by policy; an operator may revive it.
    Dead,
    /// Given up because its quote was cancelled.
    Cancelled,
}

/// How a lease stands by the clock of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lease {
    /// Its end lies ahead.
    Runs,
    /// It has ended, and nobody has taken the event back yet.
    RanOut,
}

/// A fee at the fee server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fee {
    /// The idempotency key it was made for.
    pub key: u8,
    /// It was voided.
    pub voided: bool,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    /// Dead. Another process will take its place.
    Down,
    /// It has nothing in hand.
    Idle,
    /// It has leased an event.
    Busy(Leased),
}

/// An event in the hands of a worker: `LeasedEvent`, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leased {
    /// Whose event.
    pub quote: usize,
    /// Which of its events, from 0.
    pub event: usize,
    /// Settling compares it with the row's.
    pub lease_token: u8,
    /// The running attempt's number.
    pub attempt: u8,
    /// Look up before sending.
    pub outcome_unknown: bool,
    /// It is the fleet's probe.
    pub probe: bool,
    /// A request of this attempt has left.
    pub called: bool,
    /// How far it is.
    pub step: Step,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Claimed: the crash point `after-claim`.
    Claimed,
    /// The look-up found no fee.
    LookedUp,
    /// The request is on its way.
    Called,
    /// The fee server has acted on it, and its answer is on its way.
    Made,
    /// The attempt has an outcome: the crash point `after-delivery`.
    Ended(Outcome),
    /// The event is settled and its fee is not: only without [`Guard::SettledTogether`](crate::Guard::SettledTogether).
    Applying(u8),
}

/// `outbox::Outcome`, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The fee server has the event; for a quote, this is its fee.
    Delivered(Option<u8>),
    /// It failed and had no effect.
    Retry,
    /// No call may begin for now (`Retry-After`).
    RetryAfter,
    /// It may have reached the fee server.
    Unknown,
    /// Something in between answered, and it may have reached the fee server: `Misdirected { unknown: true }`.
    Misdirected,
    /// The fee server will never take it.
    Refused,
    /// It never left the worker.
    NotSent,
}

/// The destination's circuit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Circuit {
    /// All may be called. Failures in a row of several events, and which event failed last.
    Closed(u8, Option<(usize, usize)>),
    /// One probe at a time. `probe` is the event that is leased as one; another one may follow once that lease has ended.
    Open {
        /// The probe under way.
        probe: Option<(usize, usize)>,
        /// Failures in a row, as before.
        failures: u8,
        /// Which event failed last.
        last: Option<(usize, usize)>,
    },
}

impl State {
    /// The row of an event.
    #[must_use]
    pub fn event(&self, (quote, event): (usize, usize)) -> &Event {
        &self.quotes[quote].events[event]
    }

    /// The row of an event, to change it.
    pub(crate) fn event_mut(&mut self, (quote, event): (usize, usize)) -> &mut Event {
        &mut self.quotes[quote].events[event]
    }

    /// What a worker has in hand.
    #[must_use]
    pub fn leased(&self, worker: usize) -> Option<&Leased> {
        match &self.workers[worker] {
            Worker::Busy(leased) => Some(leased),
            Worker::Down | Worker::Idle => None,
        }
    }

    /// Whether what the worker has in hand is still its own by the database.
    #[must_use]
    pub fn is_held_by(&self, leased: &Leased) -> bool {
        let row = self.event(leased.id());
        row.lease_token == Some(leased.lease_token) && row.leased_until.is_some()
    }

    /// Whether its lease has run out, as its own clock says.
    #[must_use]
    pub fn has_run_out(&self, leased: &Leased) -> bool {
        !self.is_held_by(leased) || self.event(leased.id()).leased_until == Some(Lease::RanOut)
    }

    /// All events.
    pub fn ids(&self) -> impl Iterator<Item = (usize, usize)> {
        self.quotes.iter().enumerate().flat_map(|(quote, it)| (0..it.events.len()).map(move |event| (quote, event)))
    }

    /// Something was broken by a step.
    pub(crate) fn breaks(&mut self, promise: &'static str) {
        if !self.broken.contains(&promise) {
            self.broken.push(promise);
        }
    }
}

impl Leased {
    /// Which event it is.
    #[must_use]
    pub fn id(&self) -> (usize, usize) {
        (self.quote, self.event)
    }

    /// Whether it is the event that hands the quote over, and not the one that voids its fee.
    #[must_use]
    pub fn is_handover(&self) -> bool {
        self.event == 0
    }
}
