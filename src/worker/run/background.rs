//! Database operations that run beside the deliveries.

use std::{future::Future, pin::Pin};

/// At most one operation of its kind at a time.
pub(super) struct Background<'a, T>(Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<'a, T> Background<'a, T> {
    pub(super) fn idle() -> Self {
        Self(None)
    }

    pub(super) fn is_running(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn start(&mut self, operation: impl Future<Output = T> + Send + 'a) {
        self.0 = Some(Box::pin(operation));
    }

    /// The operation's result; never returns while none runs. It goes on if this is dropped.
    pub(super) async fn finished(&mut self) -> T {
        let Some(operation) = &mut self.0 else { return std::future::pending().await };
        let result = operation.await;
        self.0 = None;
        result
    }
}
