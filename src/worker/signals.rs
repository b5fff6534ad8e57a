//! The one way in which the parts of a process wake each other.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Signals within this time after one that was heard count as one: under load a claim takes the events of many commits,
/// and not of one. The first signal is heard at once.
const COALESCE: Duration = Duration::from_millis(25);

/// The signals of a process.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// Events may be due.
    pub wake: Signal,
    /// Events or quotes were settled.
    pub settled: Signal,
    /// Claim nothing more and finish the running deliveries.
    pub drain: CancellationToken,
}

/// Something that may happen often. Everybody who listens hears it; several signals that come while a listener is busy
/// are heard as one, and none is lost.
#[derive(Clone, Debug, Default)]
pub struct Signal(watch::Sender<()>);

impl Signal {
    /// Wakes everybody who listens.
    pub fn send(&self) {
        self.0.send_replace(());
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> Listening {
        listen([self])
    }

    /// How many listen now.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.receiver_count()
    }
}

/// Listens to all of `signals` from now on.
pub(super) fn listen<'a>(signals: impl IntoIterator<Item = &'a Signal>) -> Listening {
    Listening { receivers: signals.into_iter().map(|signal| signal.0.subscribe()).collect(), not_before: None }
}

/// Hears the signals that are sent after its creation.
#[derive(Debug)]
pub struct Listening {
    receivers: Vec<watch::Receiver<()>>,
    not_before: Option<Instant>,
}

impl Listening {
    /// Returns when a signal has been sent since the last one that was heard. Nothing is lost if it is dropped before.
    pub async fn heard(&mut self) {
        if let Some(not_before) = self.not_before.filter(|at| *at > Instant::now()) {
            sleep_until(not_before).await;
        }
        let (heard, ..) = select_all(self.receivers.iter_mut().map(|receiver| Box::pin(receiver.changed()))).await;
        if heard.is_err() {
            // The process stops: nobody is left to send.
            return std::future::pending().await;
        }
        self.receivers.iter_mut().for_each(watch::Receiver::mark_unchanged);
        self.not_before = Some(Instant::now() + COALESCE);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn signals_that_come_while_a_listener_is_busy_are_heard_once() {
        let (first, second) = (Signal::default(), Signal::default());
        first.send();
        let mut listening = listen([&first, &second]);
        assert!(timeout(COALESCE, listening.heard()).await.is_err(), "it was sent before");
        first.send();
        second.send();
        timeout(LIMIT, listening.heard()).await.expect("a signal");
        assert!(timeout(COALESCE * 2, listening.heard()).await.is_err(), "both were heard as one");
    }

    #[tokio::test]
    async fn the_first_signal_is_heard_at_once_and_those_that_follow_soon_are_heard_together() {
        let signal = Signal::default();
        let mut listening = signal.listen();
        let mut count = 0;
        let until = Instant::now() + 4 * COALESCE;
        while Instant::now() < until {
            signal.send();
            listening.heard().await;
            count += 1;
        }
        assert!((1..=5).contains(&count), "{count}");
    }
}
