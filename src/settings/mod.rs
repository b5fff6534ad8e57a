//! Typed and validated settings.
//!
//! `config/default.toml` is embedded and is both the documentation and the schema: a key that it does not name is
//! unknown. Over it lie, in this order, `config/<FEEBOX_ENV>.toml`, the environment and the command line. Everything
//! that is wrong is reported at once, each fault with its key, where it came from and how to mend it, because an
//! operator who mends one fault per restart loses a minute for each.

mod access;
mod database;
mod faults;
mod fee_server;
mod fields;
mod kafka;
mod layers;
mod log;
mod redacted;
mod retry;
mod secret;
mod sources;
mod submission;
#[cfg(test)]
mod tests;
mod typed;
mod upkeep;
mod worker;

pub use access::{Access, Role, Server, Token};
pub use database::Database;
pub use faults::{Fault, SettingsFaults};
pub use fee_server::FeeServer;
pub use kafka::Kafka;
pub use log::{Log, LogFormat};
pub use redacted::{InForce, Redacted};
pub use retry::{Circuit, Retry};
pub use sources::{Origin, Sources};
pub use submission::{QuoteDestination, Strategy, Submission};
pub use upkeep::{Audit, Retention, SweepAction, Sweeper};
pub use worker::Worker;

pub(crate) use secret::secret_in;

use fields::Fields;

/// All settings in force. Each section is described, with units and ranges, in `config/default.toml`.
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
    /// When a failed attempt is made again, and when no more.
    pub retry: Retry,
    /// When a failing destination is left alone.
    pub circuit: Circuit,
    /// How a submitted quote reaches its destination.
    pub submission: Submission,
    /// What happens to quotes that stay pending.
    pub sweeper: Sweeper,
    /// How long settled events and idempotency keys are kept.
    pub retention: Retention,
    /// When the promises are checked.
    pub audit: Audit,
    /// Where events are relayed besides the fee server.
    pub kafka: Kafka,
    /// What is logged, and in which form.
    pub log: Log,
    in_force: Redacted,
}

impl Settings {
    /// Loads the settings from the process environment and the working directory; `overrides` are the command
    /// line's (dotted key, value) pairs.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn from_environment(overrides: impl IntoIterator<Item = (String, String)>) -> Result<Self, SettingsFaults> {
        Self::load(&Sources::from_environment(overrides))
    }

    /// Loads the settings from `sources` alone, so that tests need neither process environment nor files.
    ///
    /// # Errors
    ///
    /// Every unknown key, unfit value, dangerous pair and unreadable file, all at once.
    pub fn load(sources: &Sources) -> Result<Self, SettingsFaults> {
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
            in_force: Redacted::default(),
        };
        access::refuse_open_door(&settings.server, &settings.access, &mut fields);
        worker::refuse_short_lease(&settings.worker, &settings.fee_server, &mut fields);
        kafka::refuse_short_lease(&settings.kafka, &settings.worker, &mut fields);
        submission::refuse_kafka_without_brokers(&settings.submission, &settings.kafka, &mut fields);
        settings.in_force = fields.finish()?;
        Ok(settings)
    }

    /// What was loaded, key by key and with its origin, every secret masked: what `feebox config` prints.
    #[must_use]
    pub fn redacted(&self) -> &Redacted {
        &self.in_force
    }
}
