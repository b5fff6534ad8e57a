//! Submissions that fail inside their transaction, on purpose.

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::database::DatabaseTransaction;
use crate::submission::{Listener, ListenerError, Submitted};

/// The environment variable that sets which share of submissions is rolled back, from 0 to 1. For tests and
/// measurements; in production it is not set, and there is no such listener.
pub const ROLLBACK_RATE: &str = "FEEBOX_ROLLBACK_RATE";

/// Refuses a share of the submissions after all other listeners have seen them, as an error late in a transaction does.
/// The customer's id decides which ones, so that every design meets the same rollbacks.
#[derive(Clone, Copy, Debug)]
pub struct RollbackSome {
    rate: f64,
}

impl RollbackSome {
    /// For a `rate` from 0 to 1.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// As [`ROLLBACK_RATE`] says; `None` if it is not set or invalid.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let rate = std::env::var(ROLLBACK_RATE).ok()?.parse().ok()?;
        (0.0 < rate && rate <= 1.0).then_some(Self::new(rate))
    }

    /// Whether the submission of this customer is rolled back.
    #[must_use]
    pub fn hits(self, customer_id: &str) -> bool {
        let digest = Sha256::digest(customer_id);
        let point = f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
        point < self.rate
    }
}

#[async_trait]
impl Listener for RollbackSome {
    async fn before_commit(&self, _txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        if submitted.quotes.iter().any(|quote| self.hits(&quote.customer_id)) {
            return Err(ListenerError::Refused(format!("rolled back on purpose, by {ROLLBACK_RATE}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_about_the_rate_and_the_same_each_time() {
        let some = RollbackSome { rate: 0.1 };
        let hit = || (0..1_000).filter(|n| some.hits(&format!("customer-{n}"))).collect::<Vec<_>>();
        assert_eq!(hit(), hit());
        assert!((70..130).contains(&hit().len()), "{} of 1000", hit().len());
    }
}
