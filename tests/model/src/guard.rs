//! What the protocol relies on.

/// One rule of the protocol, which a test takes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A quote and its event are stored in one transaction: `submission::Store::store_all`.
    OneTransaction,
    /// `claim` adds one to `attempts` and commits before anything is sent.
    CountedFirst,
    /// `claim` skips an event that waits for an earlier one of its quote: `an_earlier_unfinished_event`.
    Order,
    /// `settle` compares the lease's token with the row's.
    Fence,
    /// `settle` also wants `leased_until`: an attempt that was settled before is not settled again.
    SettledOnce,
    /// What belongs to a delivery commits together: `settle` and `Destination::apply` share a transaction.
    SettledTogether,
    /// `confirm` and `reject` are compare and set: a quote that was cancelled meanwhile stays so.
    CompareAndSet,
    /// `withdraw` only marks an event that is leased, so that what follows it waits for the running attempt.
    WithdrawnIsMarked,
    /// `rescue` takes back events whose lease ran out.
    Rescue,
    /// `rescue` calls the outcome of an attempt that left no result unknown.
    RescuedIsUnknown,
    /// After an unknown outcome the fee is looked up before anything is sent: `FeeServer::decided_before`.
    LookUpFirst,
    /// A 404 to a look-up is not believed of a server that has answered one with a list: `LookUps::exist`.
    ListsAreRemembered,
    /// Each attempt carries the same key: the event's id.
    SameKey,
    /// A worker reads the clock before it sends, and sends nothing after its lease: `deliver::before`.
    ClockBeforeSending,
    /// A worker reads what holds the destination back before it sends: `Run::may_call`.
    HoldBeforeSending,
    /// While the circuit is open, the worker that moves `probe_at` has the fleet's only probe: `take_probe`.
    OneProbe,
    /// The next probe is due when the lease of the last one has ended: `probe_at` is a time.
    ProbeEnds,
    /// A probe that ends after its lease does not move `probe_at`: another one may be under way. `DestinationHealth::apply_to`.
    LateProbe,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::OneTransaction,
        Self::CountedFirst,
        Self::Order,
        Self::Fence,
        Self::SettledOnce,
        Self::SettledTogether,
        Self::CompareAndSet,
        Self::WithdrawnIsMarked,
        Self::Rescue,
        Self::RescuedIsUnknown,
        Self::LookUpFirst,
        Self::ListsAreRemembered,
        Self::SameKey,
        Self::ClockBeforeSending,
        Self::HoldBeforeSending,
        Self::OneProbe,
        Self::ProbeEnds,
        Self::LateProbe,
    ];
}
