//! What can happen.

use std::fmt;

/// One step of the protocol, or one misfortune. The numbers are those of a quote, of an event (quote and place) or of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A quote and its event are committed: `submission::Store::store_all`.
    Submit(usize),
    /// A submission is rolled back before its commit: `submission::Store::store_all`.
    RollBack(usize),
    /// The event alone is committed: only without the guard `OneTransaction`.
    SubmitEventAlone(usize),
    /// The quote follows: only without that guard.
    SubmitQuoteAlone(usize),
    /// A client or an operator cancels a quote: `quotes::cancel`, which calls `outbox::withdraw`.
    Cancel(usize),
    /// An operator revives a dead event: `outbox::revive_one`, and `quotes::reopen` if the quote was rejected.
    Revive(usize, usize),

    /// A worker leases an event and counts the attempt: `outbox::claim`.
    Claim(usize, (usize, usize)),
    /// The worker asks the fee server whether the fee exists, and is answered: `FeeServer::look_up`.
    LookUp(usize),
    /// The look-up is not answered: `look_up::still_unknown`.
    LookUpFails(usize),
    /// A proxy answers the look-up with 404: `FeeServer::read_page`.
    LookUpMeetsProxy(usize),
    /// The worker sends the event: `FeeServer::ask` or `FeeServer::void_fee`.
    Call(usize),
    /// It must not send any more, and hands the event back: `Run::hand_back`.
    HandBack(usize),
    /// The fee server acts on the request: it makes the fee, or has it made for this key, or voids it.
    Work(usize),
    /// Its answer arrives.
    Answer(usize),
    /// The fee server fails and does nothing: 501, 429 without a time, a refused connection.
    Fail(usize),
    /// It asks not to be called for a while: 429 or 503 with `Retry-After`.
    AskToWait(usize),
    /// It refuses the quote for good: 422.
    Refuse(usize),
    /// The request does not arrive, and no answer comes: a time-out, a reset.
    Lose(usize),
    /// The answer does not arrive.
    Cut(usize),
    /// The worker hangs up while the fee server still works on the request.
    HangUp(usize),
    /// The fee server ends that work, which nobody waits for.
    WorkLate(usize),
    /// The worker stores the outcome with what follows from it: `worker::settle`, that is `outbox::settle` and `Destination::apply`.
    Settle(usize),
    /// The same, and the database's answer to the commit is lost.
    SettleUnheard(usize),
    /// The fee record follows: only without the guard `SettledTogether`.
    Apply(usize),

    /// The process dies. The request that it had sent never arrives, or has been acted on.
    Crash(usize),
    /// It dies, and the fee server still works on its request.
    CrashWhileCalling(usize),
    /// A new process takes its place.
    Restart(usize),
    /// A lease ends: its worker is dead, or too slow.
    LeaseEnds((usize, usize)),
    /// Any worker takes an event back whose lease ended: `outbox::rescue`.
    Rescue((usize, usize)),
    /// The time of a `Retry-After` has passed.
    HoldEnds,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Submit(quote) => write!(f, "quote {quote} is submitted"),
            Self::RollBack(quote) => write!(f, "the submission of quote {quote} is rolled back"),
            Self::SubmitEventAlone(quote) => write!(f, "the event of quote {quote} is stored without it"),
            Self::SubmitQuoteAlone(quote) => write!(f, "quote {quote} is stored after its event"),
            Self::Cancel(quote) => write!(f, "quote {quote} is cancelled"),
            Self::Revive(quote, event) => write!(f, "an operator revives event {event} of quote {quote}"),
            Self::Claim(worker, (quote, event)) => write!(f, "worker {worker} claims event {event} of quote {quote}"),
            Self::LookUp(worker) => write!(f, "worker {worker} looks the fee up"),
            Self::LookUpFails(worker) => write!(f, "worker {worker} looks the fee up in vain"),
            Self::LookUpMeetsProxy(worker) => write!(f, "a proxy answers the look-up of worker {worker} with 404"),
            Self::Call(worker) => write!(f, "worker {worker} sends its event"),
            Self::HandBack(worker) => write!(f, "worker {worker} sends nothing and hands its event back"),
            Self::Work(worker) => write!(f, "the fee server acts on the request of worker {worker}"),
            Self::Answer(worker) => write!(f, "worker {worker} gets its answer"),
            Self::Fail(worker) => write!(f, "the call of worker {worker} fails without effect"),
            Self::AskToWait(worker) => write!(f, "worker {worker} is answered with Retry-After"),
            Self::Refuse(worker) => write!(f, "the fee server refuses the quote of worker {worker}"),
            Self::Lose(worker) => write!(f, "the request of worker {worker} is lost"),
            Self::Cut(worker) => write!(f, "the answer to worker {worker} is lost"),
            Self::HangUp(worker) => write!(f, "worker {worker} hangs up, and the fee server works on"),
            Self::WorkLate(quote) => write!(f, "the fee server ends late work for quote {quote}"),
            Self::Settle(worker) => write!(f, "worker {worker} settles"),
            Self::SettleUnheard(worker) => write!(f, "worker {worker} settles and does not hear of the commit"),
            Self::Apply(worker) => write!(f, "worker {worker} stores the fee record"),
            Self::Crash(worker) => write!(f, "worker {worker} dies"),
            Self::CrashWhileCalling(worker) => write!(f, "worker {worker} dies, and the fee server works on"),
            Self::Restart(worker) => write!(f, "worker {worker} is replaced"),
            Self::LeaseEnds((quote, event)) => write!(f, "the lease of event {event} of quote {quote} ends"),
            Self::Rescue((quote, event)) => write!(f, "event {event} of quote {quote} is taken back"),
            Self::HoldEnds => f.write_str("the time of Retry-After has passed"),
        }
    }
}
