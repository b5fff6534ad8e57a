//! A destination that plays a script, for tests without a network and without chance.

use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use feebox::database::DatabaseTransaction;
use feebox::destination::Destination;
use feebox::outbox::{DestinationName, Disposition, LeasedEvent, Outcome, Settled};
use parking_lot::Mutex;
use sea_orm::DbErr;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What happens at a delivery.
#[derive(Clone, Debug)]
pub enum Cue {
    /// It ends with this outcome at once.
    Answer(Outcome<()>),
    /// It ends with this outcome when the token is cancelled, and not before.
    AnswerAfter(CancellationToken, Outcome<()>),
    /// It panics with this message.
    Panic(&'static str),
}

/// A delivery that was begun.
#[derive(Clone, Debug)]
pub struct Call {
    /// The event: its id, its attempt, whether it is the probe.
    pub event: LeasedEvent,
    /// When it was begun.
    pub begun: Instant,
    /// When it was answered; `None` while it runs, and if it panicked or was dropped.
    pub ended: Option<Instant>,
}

/// Plays a script and remembers its calls.
pub struct Scripted {
    name: &'static DestinationName,
    script: Box<dyn Fn(&LeasedEvent) -> Cue + Send + Sync>,
    calls: Mutex<Vec<Call>>,
    calls_begun: watch::Sender<usize>,
    applied: Mutex<Vec<(Uuid, Disposition)>>,
}

impl Scripted {
    /// The destination called `name`; `script` decides what happens at each event and attempt.
    pub fn new(name: &'static DestinationName, script: impl Fn(&LeasedEvent) -> Cue + Send + Sync + 'static) -> Self {
        Self {
            name,
            script: Box::new(script),
            calls: Mutex::default(),
            calls_begun: watch::Sender::default(),
            applied: Mutex::default(),
        }
    }

    /// The deliveries so far, in the order in which they were begun.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// Waits until `count` deliveries have been begun.
    pub async fn begun(&self, count: usize) {
        // The sender is part of `self`, which lives while this waits.
        let _ = self.calls_begun.subscribe().wait_for(|begun| *begun >= count).await;
    }

    /// What settled events became, in the order of the calls of [`Destination::apply`], also in transactions that failed
    /// after it.
    pub fn applied(&self) -> Vec<(Uuid, Disposition)> {
        self.applied.lock().clone()
    }

    fn begin(&self, event: &LeasedEvent) -> usize {
        let mut calls = self.calls.lock();
        calls.push(Call { event: event.clone(), begun: Instant::now(), ended: None });
        self.calls_begun.send_replace(calls.len());
        calls.len() - 1
    }
}

#[async_trait]
impl Destination for Scripted {
    type Receipt = ();

    fn name(&self) -> &'static DestinationName {
        self.name
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<()> {
        let call = self.begin(event);
        let outcome = match (self.script)(event) {
            Cue::Answer(outcome) => outcome,
            Cue::AnswerAfter(token, outcome) => {
                token.cancelled().await;
                outcome
            }
            Cue::Panic(message) => panic!("{message}"),
        };
        self.calls.lock()[call].ended = Some(Instant::now());
        outcome
    }

    async fn apply(
        &self,
        _txn: &DatabaseTransaction,
        settled: &[Settled<'_, ()>],
        _now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let settled = settled.iter().map(|(attempt, became)| (attempt.event.id, (*became).clone()));
        self.applied.lock().extend(settled);
        Ok(())
    }
}
