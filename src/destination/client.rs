//! Why a destination cannot be used.

use super::FeeServerError;
#[cfg(feature = "kafka")]
use super::KafkaClientError;

/// Why a destination's client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The fee server's settings are not usable.
    #[error("the fee server's client cannot be built")]
    FeeServer(#[from] FeeServerError),
    /// The Kafka client does not take its settings.
    #[cfg(feature = "kafka")]
    #[error("the Kafka client cannot be built")]
    Kafka(#[from] KafkaClientError),
}
