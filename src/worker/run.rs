//! One run: claims, deliveries and settling overlap, so that nobody waits for the slowest of a batch.

mod holds;
mod rescues;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use sea_orm::DbErr;
use tokio::task::{Id, JoinError, JoinSet};
use uuid::Uuid;

use super::{
    Report, Worker, deliver,
    hold::Clearance,
    pace::Pace,
    settle::{Settlement, settle},
    tell,
};
use crate::{
    destination::Destination,
    outbox::{self, Attempt, Claim, ClaimRequest, Disposition, Hold, LeasedEvent, Outcome, Rescued},
};

/// An event is not sent with less of its lease left than this part of it: its answer would come too late.
const LEASE_PART_MIN: u32 = 3;
/// The part of a lease that is kept for settling.
const SETTLE_PART: u32 = 10;
/// The part of a lease that a pause takes at most after the database has failed: several tries fit into a lease.
const PAUSE_PART: u32 = 10;

/// What a delivery's task returns: the event, its outcome, when it was begun.
type Delivered<R> = (LeasedEvent, Outcome<R>, Instant);

type Step<'a, T> = Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

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
    looking: Step<'a, Result<Option<Hold>, DbErr>>,
    claim_begun: Instant,
    /// The steps that are under way, with the number of rows that they ask for, and when each may begin.
    claiming: Step<'a, (usize, Result<Claim, DbErr>)>,
    claims: Pace<'a>,
    settling: Step<'a, Settlement<D::Receipt>>,
    settles: Pace<'a>,
    rescuing: Step<'a, (usize, Result<Rescued, DbErr>)>,
    rescues: Pace<'a>,
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
        let poll = self.in_time(outbox::poll(&self.db, self.destination.name())).await?;
        if !(poll.due || poll.expired) {
            return Ok(Report::default());
        }
        self.limiter.landed();
        let mut run = Run::new(self);
        if poll.expired {
            run.rescues.put_off(Instant::now());
        }
        run.drain_all().await
    }
}

impl<'a, D: Destination> Run<'a, D> {
    fn new(worker: &'a Worker<D>) -> Self {
        let (now, lease) = (Instant::now(), worker.settings.lease);
        let pause_max = lease / PAUSE_PART;
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
            claim_begun: now,
            claiming: None,
            claims: Pace::new("claim", &worker.claim_size, now, pause_max),
            settling: None,
            settles: Pace::new("settle", &worker.settle_size, now, pause_max),
            rescuing: None,
            rescues: Pace::new("rescue", &worker.rescue_size, now + lease / rescues::RESCUE_PART, pause_max),
            exhausted: false,
            freed_since_claim: false,
            report: Report::default(),
        }
    }

    /// No error leaves this loop while deliveries are in the air or results wait: what fails is tried again.
    async fn drain_all(mut self) -> Result<Report, DbErr> {
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
                if !self.claims.has_failed() && self.must_look_again() {
                    continue;
                }
                break;
            }
            let next_try = self.next_try();
            tokio::select! {
                Some(done) = self.in_flight.join_next_with_id() => self.finish(done),
                (wanted, claimed) = step(&mut self.claiming) => {
                    if let Some(claim) = self.claims.note(wanted, claimed) {
                        self.take(claim);
                    }
                }
                settled = step(&mut self.settling) => self.note(settled),
                settled = step(&mut self.settling_urgent) => self.note(settled),
                looked = step(&mut self.looking) => self.note_look(looked),
                (wanted, rescued) = step(&mut self.rescuing) => {
                    if let Some(rescued) = self.rescues.note(wanted, rescued) {
                        self.note_rescued(&rescued);
                    }
                }
                () = self.worker.signals.wake.notified(), if self.exhausted => self.wake(),
                () = self.worker.signals.drain.cancelled(), if !self.waiting.is_empty() => {}
                () = rested(self.worker.limiter.rested()), if !self.waiting.is_empty() => {}
                () = self.worker.cut_off.cancelled(), if !self.in_flight.is_empty() => self.in_flight.abort_all(),
                () = tokio::time::sleep_until(next_try.into()) => {}
            }
            self.finish_all_that_is_ready();
        }
        self.worker.tell_limits(0);
        self.claims.into_failure().or(self.rescues.into_failure()).map_or(Ok(self.report), Err)
    }

    /// When a step that was put off may begin.
    fn next_try(&self) -> Instant {
        let now = Instant::now();
        let look = (!self.waiting.is_empty() && self.looking.is_none()).then(|| self.clearance.look_at());
        let steps = [&self.claims, &self.settles, &self.rescues].map(Pace::not_before);
        steps.into_iter().filter(|at| *at > now).chain(look).min().unwrap_or(now + self.worker.settings.lease)
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
                let outcome = deliver::deliver(&*destination, &event, begun + limit).await;
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
        let wanted = wanted.min(self.claims.size());
        let held_up =
            self.exhausted || self.is_held() || self.claiming.is_some() || worker.signals.drain.is_cancelled();
        let enough = wanted == 0 || self.waiting.len() > limit / 2;
        if held_up || !self.claims.is_due() || enough || self.finished.len() >= worker.settings.batch_size {
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
            // Enough of the lease is left to send.
            let claim = outbox::claim(&worker.db, &request);
            (wanted, worker.in_time_of(&worker.claim_size, worker.settings.lease / 2, claim).await)
        }));
    }

    fn begin_settle(&mut self) {
        if self.settling.is_some() || self.finished.is_empty() || !self.settles.is_due() {
            return;
        }
        let some = self.finished.len().min(self.settles.size());
        let attempts = self.finished.drain(..some).collect();
        self.settling = Some(Box::pin(settle(self.worker, attempts)));
    }

    fn note(&mut self, settlement: Settlement<D::Receipt>) {
        self.freed_since_claim |= settlement.frees;
        for (attempt, became) in &settlement.settled {
            tell::settled((attempt, became));
            self.report.count((attempt, became));
            // The circuit is closed: what waited behind it need not wait for the next tick.
            if attempt.event.probe && *became == Disposition::Delivered {
                (self.exhausted, self.freed_since_claim) = (false, true);
            }
        }
        self.hold_back(settlement.held.as_ref());
        if settlement.left.is_empty() {
            return self.settles.succeeded();
        }
        self.settles.pause();
        let (still, over): (Vec<_>, Vec<_>) =
            settlement.left.into_iter().partition(|attempt| attempt.event.lease_ends > self.settles.not_before());
        over.iter().for_each(tell::not_stored);
        self.report.lost += over.len();
        // Behind the others: what fails again and again does not keep them from being tried.
        self.finished.extend(still);
    }

    fn finish(&mut self, done: Result<(Id, Delivered<D::Receipt>), JoinError>) {
        let (event, outcome, begun) = match done {
            Ok((id, done)) => {
                self.tasks.remove(&id);
                done
            }
            Err(error) => match self.tasks.remove(&error.id()) {
                Some((event, begun)) => (event, deliver::panicked(error), begun),
                None => return,
            },
        };
        self.worker.limiter.learn(&outcome, begun);
        self.keep(Attempt { event, outcome: outcome.printable(), took: begun.elapsed() });
    }

    fn finish_all_that_is_ready(&mut self) {
        while let Some(done) = self.in_flight.try_join_next_with_id() {
            self.finish(done);
        }
    }
}

/// Waits until a place has rested; for ever if none does.
async fn rested(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for a step that is under way; for ever if there is none.
async fn step<T>(step: &mut Step<'_, T>) -> T {
    let Some(under_way) = step else { return std::future::pending().await };
    let result = under_way.await;
    *step = None;
    result
}
