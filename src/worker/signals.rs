//! The one way in which the parts of a process wake each other.

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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

/// Something that may happen often. Everybody who listens hears it at once; several signals that come while a listener is
/// busy are heard as one, and none is lost: the busier it is, the more commits share one claim.
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
    Listening { receivers: signals.into_iter().map(|signal| signal.0.subscribe()).collect() }
}

/// Hears the signals that are sent after its creation.
#[derive(Debug)]
pub struct Listening {
    receivers: Vec<watch::Receiver<()>>,
}

impl Listening {
    /// Returns when a signal has been sent since the last one that was heard. Nothing is lost if it is dropped before.
    pub async fn heard(&mut self) {
        let (heard, ..) = select_all(self.receivers.iter_mut().map(|receiver| Box::pin(receiver.changed()))).await;
        if heard.is_err() {
            // The process stops: nobody is left to send.
            return std::future::pending().await;
        }
        self.receivers.iter_mut().for_each(watch::Receiver::mark_unchanged);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    /// As long as it takes to hear nothing.
    const SHORT: Duration = Duration::from_millis(25);

    #[tokio::test]
    async fn signals_that_come_while_a_listener_is_busy_are_heard_once() {
        let (first, second) = (Signal::default(), Signal::default());
        first.send();
        let mut listening = listen([&first, &second]);
        assert!(timeout(SHORT, listening.heard()).await.is_err(), "it was sent before");
        first.send();
        second.send();
        timeout(LIMIT, listening.heard()).await.expect("a signal");
        assert!(timeout(SHORT, listening.heard()).await.is_err(), "both were heard as one");
    }
}
