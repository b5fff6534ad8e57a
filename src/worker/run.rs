//! One run: rescues, claims, deliveries and settling overlap, so that no event waits for the slowest of a batch.

mod background;
mod claims;
mod deliveries;
mod flow;
mod holds;
mod limited;
#[cfg(feature = "lab")]
mod on_paper;
mod rescues;
mod results;
mod supply;
mod waiting;

use std::{
    collections::{BTreeSet, HashSet},
    time::Instant,
};

use sea_orm::DbErr;
use tokio::{task::JoinSet, time::sleep_until};
use uuid::Uuid;

use super::{
    Listening, Report, Worker,
    deliver::Delivered,
    hold::Clearance,
    pace::Pace,
    settle::{Held, Settlement},
    until,
};
use crate::{
    destination::Destination,
    outbox::{self, Attempt, DestinationName, LeasedEvent, Poll, Rescued},
};
use background::Background;
use claims::Claimed;
use flow::Flow;
use limited::Limited;
#[cfg(feature = "lab")]
pub(crate) use on_paper::StockOnPaper;
use supply::Supply;
use waiting::Waiting;

/// The part of a lease that a pause takes at most after the database has failed: several tries fit into a lease.
const PAUSE_PART: u32 = 10;

/// A run's state: events that wait for a free place, running deliveries, results that wait to be settled. All three are
/// bounded by the settings, whatever the backlog.
struct Run<'a, D: Destination> {
    worker: &'a Worker<D>,
    wakes: &'a mut Listening,
    report: Report,
    supply: Supply,
    clearance: Clearance,
    polling_holds: Background<'a, Result<Held, DbErr>>,
    /// Lanes whose circuits are open.
    held_lanes: Vec<&'static DestinationName>,
    rescues: Pace<'a>,
    rescuing: Background<'a, (usize, Result<Rescued, DbErr>)>,
    claims: Pace<'a>,
    claiming: Background<'a, Claimed>,
    waiting: Waiting<LeasedEvent>,
    flow: Flow,
    limited: Limited,
    deliveries: JoinSet<Delivered<D::Receipt>>,
    /// When each of them began.
    under_way: BTreeSet<(Instant, Uuid)>,
    /// Events that failed since the last success.
    failed_in_a_row: HashSet<Uuid>,
    /// When the youngest call that succeeded began.
    latest_success: Option<Instant>,
    finished: Vec<Attempt<D::Receipt>>,
    /// Results that may begin a hold: settled beside the others, and no call begins before that.
    urgent: Vec<Attempt<D::Receipt>>,
    settles: Pace<'a>,
    settling: Background<'a, Settlement<D::Receipt>>,
    settling_urgent: Background<'a, Settlement<D::Receipt>>,
}

impl<D: Destination> Worker<D> {
    /// Delivers all that is due, up to `worker.concurrency` at a time, and returns when nothing more is due and
    /// everything is settled. What becomes due meanwhile is taken along when a tick or a commit wakes the worker.
    ///
    /// Drained, it claims nothing more, finishes the running deliveries and hands the rest back without spending an attempt.
    ///
    /// # Errors
    /// The database did not give events. Running deliveries were settled, or are left to their leases.
    pub async fn run_once(&self) -> Result<Report, DbErr> {
        self.run(&mut self.listen()).await
    }

    pub(super) async fn run(&self, wakes: &mut Listening) -> Result<Report, DbErr> {
        let lanes = self.destination.lanes().iter().map(|lane| &lane.name);
        let names: Vec<_> = [self.destination.name()].into_iter().chain(lanes).collect();
        let register = || self.in_time(outbox::ensure_destinations(&self.db, &names));
        self.registered.get_or_try_init(register).await?;
        let work = self.in_time(outbox::poll(&self.db, self.destination.name())).await?;
        if !(work.due || work.expired) {
            return Ok(Report::default());
        }
        self.run_for(wakes, work).await
    }

    /// The same without a look whether there is `work`.
    pub(super) async fn run_for(&self, wakes: &mut Listening, work: Poll) -> Result<Report, DbErr> {
        self.limiter.run_begins();
        let mut run = Run::new(self, wakes);
        if work.expired {
            run.rescues.put_off(Instant::now());
        }
        run.until_nothing_is_due().await
    }
}

impl<'a, D: Destination> Run<'a, D> {
    fn new(worker: &'a Worker<D>, wakes: &'a mut Listening) -> Self {
        let (now, lease) = (Instant::now(), worker.settings.lease);
        let pause_max = lease / PAUSE_PART;
        Self {
            worker,
            wakes,
            report: Report::default(),
            supply: Supply::default(),
            clearance: Clearance::none(),
            polling_holds: Background::idle(),
            held_lanes: Vec::new(),
            rescues: Pace::new("rescue", &worker.rescue_size, now + lease / rescues::RESCUE_PART, pause_max),
            rescuing: Background::idle(),
            claims: Pace::new("claim", &worker.claim_size, now, pause_max),
            claiming: Background::idle(),
            waiting: Waiting::default(),
            flow: Flow::since(now),
            limited: Limited::default(),
            deliveries: JoinSet::new(),
            under_way: BTreeSet::new(),
            failed_in_a_row: HashSet::new(),
            latest_success: None,
            finished: Vec::new(),
            urgent: Vec::new(),
            settles: Pace::new("settle", &worker.settle_size, now, pause_max),
            settling: Background::idle(),
            settling_urgent: Background::idle(),
        }
    }

    /// No error leaves this loop while deliveries run or results wait: a failed operation is tried again.
    async fn until_nothing_is_due(mut self) -> Result<Report, DbErr> {
        loop {
            self.hand_back_if_stopped();
            self.begin_poll_of_holds();
            self.begin_rescue();
            self.begin_deliveries();
            self.begin_claim();
            self.begin_settle();
            if !self.is_idle() {
                self.wait().await;
            } else if !self.goes_on() {
                break;
            }
        }
        self.worker.set_gauges(0);
        self.claims.into_failure().or(self.rescues.into_failure()).map_or(Ok(self.report), Err)
    }

    /// Waits until something has ended that was begun, or something may begin that could not.
    async fn wait(&mut self) {
        let (next_try, signals) = (self.next_try(), &self.worker.signals);
        tokio::select! {
            Some(delivered) = self.deliveries.join_next() => self.delivered(delivered),
            claimed = self.claiming.finished() => self.claimed(claimed),
            settled = self.settling.finished() => self.settled(settled),
            settled = self.settling_urgent.finished() => self.settled(settled),
            held = self.polling_holds.finished() => self.polled_holds(held),
            (wanted, rescued) = self.rescuing.finished() => {
                if let Some(rescued) = self.rescues.ended(wanted, rescued) {
                    self.rescued(&rescued);
                }
            }
            () = self.wakes.heard(), if self.supply.is_exhausted() => self.supply.woken(self.settling.is_running()),
            // The probe of a lane may go, while others are delivered.
            () = self.worker.hold.ended(), if self.supply.is_exhausted() => self.supply.woken(false),
            () = signals.drain.cancelled(), if !self.waiting.is_empty() => {}
            () = until(self.worker.limiter.rested().map(Into::into)), if !self.waiting.is_empty() => {}
            () = sleep_until(next_try.into()) => {}
        }
        self.deliveries_that_are_ready();
    }

    /// When an operation that was put off may begin.
    fn next_try(&self) -> Instant {
        let now = Instant::now();
        let may_poll = !self.waiting.is_empty() && !self.polling_holds.is_running();
        let poll = may_poll.then(|| self.clearance.poll_at());
        let operations = [&self.claims, &self.settles, &self.rescues].map(Pace::not_before);
        let next = operations.into_iter().filter(|at| *at > now).chain(poll).chain(self.next_way()).min();
        next.unwrap_or(now + self.worker.settings.lease)
    }

    fn is_idle(&self) -> bool {
        let operating = self.claiming.is_running()
            || self.rescuing.is_running()
            || self.settling.is_running()
            || self.settling_urgent.is_running();
        let limited = self.limited.waits() && !self.supply.is_exhausted() && self.may_claim();
        let results = !self.finished.is_empty() || !self.urgent.is_empty();
        !operating && !limited && !results && self.deliveries.is_empty() && self.waiting.is_empty()
    }

    /// Whether another claim may find events that settling or rescuing made due.
    fn goes_on(&mut self) -> bool {
        self.may_claim() && self.supply.goes_on()
    }

    fn may_claim(&self) -> bool {
        !self.claims.has_failed() && !self.worker.signals.drain.is_cancelled() && !self.is_held()
    }
}
