//! One run: claims, deliveries and settling overlap, so that nobody waits for the slowest of a batch.

mod holds;

use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use sea_orm::DbErr;
use tokio::task::{Id, JoinError, JoinSet};
use uuid::Uuid;

use super::{
    Report, Worker,
    hold::Clearance,
    settle::{Settlement, settle},
    tell,
};
use crate::{
    crash,
    database::within,
    destination::Destination,
    outbox::{self, Attempt, Became, Claim, ClaimRequest, Held, LeasedEvent, Outcome},
};

/// An event is not sent with less of its lease left than this part of it: its answer would come too late.
const LEASE_PART_MIN: u32 = 3;
/// The part of a lease that is kept for settling.
const SETTLE_PART: u32 = 10;
/// The part of a lease after which a run that goes on looks again for leases that have run out.
const RESCUE_PART: u32 = 3;
/// Most attempts that one transaction settles: below what every database takes in one statement.
const SETTLE_SIZE_MAX: usize = 1_000;
/// The part of a lease for which the database is given time to answer: a connection may have died in silence, and there
/// must be time left to settle on another.
const ANSWER_PART: u32 = 3;
/// That time is no shorter, however short the lease.
const ANSWER_MIN: Duration = Duration::from_secs(1);

/// What a delivery's task returns: the event, its outcome, when it was begun.
type Delivered<R> = (LeasedEvent, Outcome<R>, Instant);

type Step<'a, T> = Option<Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'a>>>;

/// A run's state: events that wait for a free place, deliveries in the air, results that wait to be settled. All three
/// are bounded by the settings, whatever the backlog.
struct Run<'a, D: Destination> {
    worker: &'a Worker<D>,
    waiting: VecDeque<LeasedEvent>,
    in_flight: JoinSet<Delivered<D::Receipt>>,
    /// Which delivery a task is, should it panic.
    tasks: HashMap<Id, (LeasedEvent, Instant)>,
    finished: Vec<Attempt<D::Receipt>>,
    /// Results that may begin a hold: settled beside the others, and no call begins before that.
    urgent: Vec<Attempt<D::Receipt>>,
    settling_urgent: Step<'a, Settlement<D::Receipt>>,
    /// Events that failed since the last success.
    failed_in_a_row: HashSet<Uuid>,
    clearance: Clearance,
    looking: Step<'a, Option<Held>>,
    claim_begun: Instant,
    claiming: Step<'a, Claim>,
    settling: Step<'a, Settlement<D::Receipt>>,
    rescuing: Step<'a, Vec<(Attempt<()>, Became)>>,
    rescued_at: Instant,
    /// The last claim found nothing more that is due.
    exhausted: bool,
    /// Something was settled since the last claim that makes others deliverable: later events of a quote, or what was handed
    /// back.
    freed_since_claim: bool,
    report: Report,
}

impl<D: Destination> Worker<D> {
    /// Delivers all that is due, up to `worker.concurrency` at a time, and returns when nothing more is due and
    /// everything is settled. What becomes due meanwhile is taken along when a tick or a commit wakes the worker.
    ///
    /// Drained, it claims nothing more, finishes what is in the air and hands the rest back without spending an attempt.
    ///
    /// # Errors
    /// The database could not be asked for events. Those in the air were settled, or are left to their leases.
    pub async fn run_once(&self) -> Result<Report, DbErr> {
        let names = [self.destination.name()];
        let register = || self.in_time(outbox::ensure_destinations(&self.db, &names));
        self.registered.get_or_try_init(register).await?;
        let sight = self.in_time(outbox::look(&self.db, self.destination.name())).await?;
        self.limiter.landed();
        let mut run = Run::new(self);
        if sight.expired {
            run.note_rescued(&self.in_time(outbox::rescue(&self.db, &self.name, &self.policy)).await?);
        }
        if !(sight.due || sight.expired) {
            return Ok(run.report);
        }
        run.drain_all().await
    }

    /// What the database answers to `work`, or an error when it takes too long.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        within((self.settings.lease / ANSWER_PART).max(ANSWER_MIN), work).await
    }
}

impl<'a, D: Destination> Run<'a, D> {
    fn new(worker: &'a Worker<D>) -> Self {
        Self {
            worker,
            waiting: VecDeque::new(),
            in_flight: JoinSet::new(),
            tasks: HashMap::new(),
            finished: Vec::new(),
            urgent: Vec::new(),
            settling_urgent: None,
            failed_in_a_row: HashSet::new(),
            clearance: Clearance::none(),
            looking: None,
            claim_begun: Instant::now(),
            claiming: None,
            settling: None,
            rescuing: None,
            rescued_at: Instant::now(),
            exhausted: false,
            freed_since_claim: false,
            report: Report::default(),
        }
    }

    async fn drain_all(mut self) -> Result<Report, DbErr> {
        let mut failed = Ok(());
        loop {
            self.hand_back_if_drained();
            self.hand_back_if_held();
            self.begin_look();
            self.send();
            self.begin_claim();
            self.begin_settle();
            self.begin_urgent_settle();
            self.begin_rescue();
            if self.is_done() {
                if failed.is_ok() && self.must_look_again() {
                    continue;
                }
                break;
            }
            tokio::select! {
                Some(done) = self.in_flight.join_next_with_id() => self.finish(done),
                claimed = step(&mut self.claiming) => {
                    match claimed {
                        Ok(claim) => self.take(claim),
                        // No more claims in this run; what is in the air is still settled.
                        Err(error) => (self.exhausted, failed) = (true, Err(error)),
                    }
                }
                settled = step(&mut self.settling) => self.note(&settled?),
                settled = step(&mut self.settling_urgent) => self.note(&settled?),
                looked = step(&mut self.looking) => self.note_look(looked),
                () = tokio::time::sleep_until(self.clearance.look_at().into()),
                    if !self.waiting.is_empty() && self.looking.is_none() => {}
                rescued = step(&mut self.rescuing) => {
                    match rescued {
                        Ok(rescued) => self.note_rescued(&rescued),
                        Err(error) => (self.exhausted, failed) = (true, Err(error)),
                    }
                }
                () = self.worker.signals.wake.notified(), if self.exhausted && failed.is_ok() => self.wake(),
                () = self.worker.signals.drain.cancelled(), if !self.waiting.is_empty() => {}
                () = rested(self.worker.limiter.rested()), if !self.waiting.is_empty() => {}
                () = self.worker.cut_off.cancelled(), if !self.in_flight.is_empty() => self.in_flight.abort_all(),
            }
            self.finish_all_that_is_ready();
        }
        self.worker.tell_limits(0);
        failed.map(|()| self.report)
    }

    fn is_done(&self) -> bool {
        self.claiming.is_none()
            && self.settling.is_none()
            && self.rescuing.is_none()
            && self.in_flight.is_empty()
            && self.waiting.is_empty()
            && self.finished.is_empty()
            && self.urgent.is_empty()
            && self.settling_urgent.is_none()
    }

    /// Somebody has stored something. What waits for an event that is being settled is claimed once more after that.
    fn wake(&mut self) {
        self.exhausted = false;
        self.freed_since_claim |= self.settling.is_some();
    }

    fn must_look_again(&mut self) -> bool {
        let again = self.freed_since_claim && !self.worker.signals.drain.is_cancelled() && !self.is_held();
        self.exhausted &= !again;
        again
    }

    /// Starts deliveries while there are places, unless results pile up because the database is away.
    fn send(&mut self) {
        while self.may_call()
            && self.worker.limiter.places(self.in_flight.len()) > 0
            && self.finished.len() < self.worker.settings.batch_size
        {
            let Some(event) = self.waiting.pop_front() else { break };
            let lease_left = event.lease_ends.saturating_duration_since(Instant::now());
            if lease_left < self.worker.settings.lease / LEASE_PART_MIN {
                self.hand_back(event, "its lease was nearly over before its turn came");
                continue;
            }
            let (destination, begun) = (Arc::clone(&self.worker.destination), Instant::now());
            // Time to settle is left, also after a look-up and a call that both took their time.
            let limit = lease_left.saturating_sub(self.worker.settings.lease / SETTLE_PART);
            self.worker.limiter.begin(begun);
            let known_by = event.clone();
            let task = self.in_flight.spawn(async move {
                crash::point("after-claim");
                let outcome = before(begun + limit, destination.deliver(&event)).await;
                let outcome = outcome.unwrap_or_else(|| Outcome::Unknown("no answer before the lease ended".into()));
                crash::point("after-delivery");
                (event, outcome, begun)
            });
            self.tasks.insert(task.id(), (known_by, begun));
        }
    }

    /// Claims when fewer events wait than could be started, and no more than that: a lease runs from its claim.
    fn begin_claim(&mut self) {
        let worker = self.worker;
        let limit = worker.limiter.limit();
        let wanted = (worker.settings.batch_size).min(limit.saturating_mul(2)).saturating_sub(self.waiting.len());
        let held_up =
            self.exhausted || self.is_held() || self.claiming.is_some() || worker.signals.drain.is_cancelled();
        let enough = wanted == 0 || self.waiting.len() > limit / 2;
        if held_up || enough || self.finished.len() >= worker.settings.batch_size {
            return;
        }
        self.freed_since_claim = false;
        self.claim_begun = Instant::now();
        self.claiming = Some(Box::pin(async move {
            let request = ClaimRequest {
                destination: worker.destination.name(),
                worker: &worker.name,
                limit: wanted,
                lease: worker.settings.lease,
            };
            worker.in_time(outbox::claim(&worker.db, &request)).await
        }));
    }

    fn begin_settle(&mut self) {
        if self.settling.is_some() || self.finished.is_empty() {
            return;
        }
        let some = self.finished.len().min(SETTLE_SIZE_MAX);
        let attempts = self.finished.drain(..some).collect();
        self.settling = Some(Box::pin(settle(self.worker, attempts)));
    }

    /// A run that has always something in the air, as under steady load, would else never look for them again.
    fn begin_rescue(&mut self) {
        let worker = self.worker;
        let due = self.rescued_at.elapsed() >= worker.settings.lease / RESCUE_PART;
        if due && self.rescuing.is_none() && !worker.signals.drain.is_cancelled() {
            self.rescued_at = Instant::now();
            let rescue = outbox::rescue(&worker.db, &worker.name, &worker.policy);
            self.rescuing = Some(Box::pin(worker.in_time(rescue)));
        }
    }

    fn note_rescued(&mut self, rescued: &[(Attempt<()>, Became)]) {
        for (attempt, became) in rescued {
            tell::rescued((attempt, became));
            self.report.rescued += 1;
        }
        self.exhausted &= rescued.is_empty();
    }

    fn note(&mut self, settlement: &Settlement<D::Receipt>) {
        self.freed_since_claim |= settlement.frees;
        for (attempt, became) in &settlement.settled {
            tell::settled((attempt, became));
            self.report.count((attempt, became));
            // The circuit is closed: what waited behind it need not wait for the next tick.
            if attempt.event.probe && *became == Became::Delivered {
                self.exhausted = false;
            }
        }
        self.hold_back(settlement.held.as_ref());
    }

    fn finish(&mut self, done: Result<(Id, Delivered<D::Receipt>), JoinError>) {
        let (event, outcome, begun) = match done {
            Ok((id, done)) => {
                self.tasks.remove(&id);
                done
            }
            Err(error) => match self.tasks.remove(&error.id()) {
                Some((event, begun)) => (event, panicked(error), begun),
                None => return,
            },
        };
        self.worker.limiter.learn(&outcome, begun);
        self.keep(Attempt { event, outcome, took: begun.elapsed() });
    }

    fn finish_all_that_is_ready(&mut self) {
        while let Some(done) = self.in_flight.try_join_next_with_id() {
            self.finish(done);
        }
    }
}

/// What `work` comes to, if it does before `end`. A time-out that also holds for a process that stood still meanwhile: the
/// clock is read before the work goes on, so that a worker that wakes up after its lease sends nothing more.
async fn before<T>(end: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let in_time =
        poll_fn(|context| if Instant::now() < end { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) });
    tokio::time::timeout(end.saturating_duration_since(Instant::now()), in_time).await.ok().flatten()
}

/// Waits until a place has rested; for ever if none does.
async fn rested(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for a step that is under way; for ever if there is none.
async fn step<T>(step: &mut Step<'_, T>) -> Result<T, DbErr> {
    let Some(under_way) = step else { return std::future::pending().await };
    let result = under_way.await;
    *step = None;
    result
}

/// A panic in a delivery is a failed attempt; what it had sent before, nobody knows.
fn panicked<R>(error: JoinError) -> Outcome<R> {
    let Ok(panic) = error.try_into_panic() else {
        return Outcome::Unknown("the delivery was aborted".into());
    };
    Outcome::Unknown(format!("the delivery panicked: {}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
