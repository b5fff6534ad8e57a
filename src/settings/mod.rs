//! Typed and validated settings.
//!
//! The embedded `config/default.toml` is both the documentation and the schema: other keys are unknown. It is overridden
//! by `config/<FEEBOX_ENV>.toml`, the environment and the command line, in this order. All errors are reported at once, each
//! with its key, its source and how to fix it.

mod access;
mod database;
mod error;
mod fee_server;
mod fields;
mod kafka;
mod layers;
mod log;
mod proxies;
mod redacted;
mod retry;
mod secret;
mod sources;
mod submission;
#[cfg(test)]
mod tests;
mod traces;
mod typed;
mod upkeep;
mod worker;

pub use access::{Access, Limits, Role, Server, Token};
pub use database::Database;
pub use error::{InvalidSetting, SettingsError};
pub use fee_server::FeeServer;
pub use kafka::Kafka;
pub use log::{Log, LogFormat};
pub use proxies::Network;
pub use redacted::{InForce, Redacted};
pub use retry::{Circuit, Retry};
pub use sources::{Origin, Sources};
pub use submission::{QuoteDestination, Strategy, Submission};
pub use traces::Traces;
pub use upkeep::{Audit, Retention, SweepAction, Sweeper};
pub use worker::Worker;

use fields::Fields;

/// The effective settings. `config/default.toml` describes each, with units and ranges.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where quotes, events and fee records live.
    pub database: Database,
    /// Where the HTTP API listens.
    pub server: Server,
    /// Who may call the HTTP API.
    pub access: Access,
    /// How events are claimed and delivered.
    pub worker: Worker,
    /// How the fee server is called.
    pub fee_server: FeeServer,
    /// When failed attempts are retried, and when an event is given up.
    pub retry: Retry,
    /// When a failing destination is no longer called.
    pub circuit: Circuit,
    /// How a submitted quote reaches its destination.
    pub submission: Submission,
    /// What happens to quotes that stay pending.
    pub sweeper: Sweeper,
    /// How long settled events and idempotency keys are kept.
    pub retention: Retention,
    /// When the promises are checked.
    pub audit: Audit,
    /// How events are relayed to Kafka.
    pub kafka: Kafka,
    /// What is logged, and in which format.
    pub log: Log,
    /// Where spans go.
    pub traces: Traces,
    in_force: Redacted,
}

impl Settings {
    /// Loads the settings from the process environment, the working directory and `overrides`, the (dotted key, value)
    /// pairs of the command line.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn from_environment(overrides: impl IntoIterator<Item = (String, String)>) -> Result<Self, SettingsError> {
        Self::load(&Sources::from_environment(overrides))
    }

    /// Loads the settings from `sources` only, so that tests need neither environment variables nor files.
    ///
    /// # Errors
    ///
    /// All unknown keys, invalid values, dangerous combinations and unreadable files at once.
    pub fn load(sources: &Sources) -> Result<Self, SettingsError> {
        let mut fields = Fields::new(layers::merge(sources), &sources.dir);
        let mut settings = Self {
            database: Database::read(&mut fields),
            server: Server::read(&mut fields),
            access: Access::read(&mut fields),
            worker: Worker::read(&mut fields),
            fee_server: FeeServer::read(&mut fields),
            retry: Retry::read(&mut fields),
            circuit: Circuit::read(&mut fields),
            submission: Submission::read(&mut fields),
            sweeper: Sweeper::read(&mut fields),
            retention: Retention::read(&mut fields),
            audit: Audit::read(&mut fields),
            kafka: Kafka::read(&mut fields),
            log: Log::read(&mut fields),
            traces: Traces::read(&mut fields),
            in_force: Redacted::default(),
        };
        access::refuse_unprotected_api(&settings.server, &settings.access, &mut fields);
        worker::refuse_short_lease(&settings.worker, &settings.fee_server, &mut fields);
        worker::refuse_any_address(&settings.worker, &mut fields);
        kafka::refuse_short_lease(&settings.kafka, &settings.worker, &mut fields);
        submission::refuse_kafka_without_brokers(&settings.submission, &settings.kafka, &mut fields);
        settings.in_force = fields.finish()?;
        Ok(settings)
    }

    /// The effective settings with the source of each and secrets masked, as `feebox config` prints them.
    #[must_use]
    pub fn redacted(&self) -> &Redacted {
        &self.in_force
    }
}
