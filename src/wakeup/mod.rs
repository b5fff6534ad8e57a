//! Waking workers as soon as something is stored. This is only ever a hint: cron ticks are the guarantee.
//!
//! In the same process a [`Signal`] wakes them. The workers of other processes are woken by datagrams, if these reach them
//! (`datagrams`): nothing is faster, and every database has them. Otherwise `PostgreSQL` carries a `NOTIFY`
//! (`notifications`). It is sent after the commit and outside it, because inside it would make all commits queue for one lock.

mod datagrams;
mod listeners;
mod notifications;

use std::{net::SocketAddr, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::{
    database::Database,
    fleet::Member,
    quotes::Quote,
    submission::{Listener, Submitted},
    worker::Signal,
};
use datagrams::Sender;

pub use notifications::listen;

/// How long the database is given to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Sends a signal after each commit that stored events. The default one has no listeners.
#[derive(Clone, Debug, Default)]
pub struct Wakeup(Signal);

impl Wakeup {
    /// Sends `wake`, to which the workers of this process or [`notify`] listen.
    #[must_use]
    pub fn new(wake: Signal) -> Self {
        Self(wake)
    }

    /// Wakes a worker.
    pub fn wake(&self) {
        self.0.send();
    }
}

#[async_trait]
impl Listener for Wakeup {
    async fn after_commit(&self, _submitted: &Submitted) {
        self.wake();
    }

    async fn after_cancellation(&self, _quote: &Quote) {
        self.wake();
    }
}

/// Passes `wake` on to the workers of other processes, until `drain`. Signals that come while one is passed on are passed on
/// as one.
pub async fn notify(db: Database, wake: Signal, drain: CancellationToken) {
    let (mut wakes, mut sender) = (wake.listen(), Sender::new(db.clone()));
    let mut owes_refresh = true;
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = wakes.heard() => {
                if !sender.reaches_all() {
                    notifications::notify(&db).await;
                }
                owes_refresh = true;
            }
            () = sleep_until(sender.refresh_at()), if owes_refresh => {
                sender.refresh().await;
                owes_refresh = false;
            }
        }
    }
}

/// Sends `wake` when another process says that it has stored something, until `drain`: `process` takes datagrams at `bind`.
pub async fn receive(db: Database, process: Member, bind: SocketAddr, wake: Signal, drain: CancellationToken) {
    datagrams::receive(&db, &process, bind, &wake, &drain).await;
}
