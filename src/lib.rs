//! Feebox: fees for submitted quotes by a transactional outbox. None lost, none doubled, none invented.
//!
//! `http → submission → outbox ⇠ (the table) ⇢ worker → destination → fees`
//!
//! One way, no way back: submission and worker never import each other, they meet only in the table.
//!
//! Without features this crate is the engine alone, for a service that records events of its own: see [`embed`].

#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, unused_imports, reason = "some of the engine is for the service alone")
)]

// The service: fees for quotes. Outbox, worker and destination are the engine, and are always there.

// Wires settings into a running app. The only place that knows all.
#[cfg(feature = "server")]
pub mod app;
// The command line: one file a command.
#[cfg(feature = "cli")]
pub mod cli;

// 1. The door: bytes in, problem+json out.
#[cfg(feature = "server")]
pub mod http;

// 2. The unit of work: quote and events, or nothing; phases before and after the commit.
#[cfg(feature = "server")]
pub mod submission;

// 3. Sole writer of its tables: record, claim, settle, retry policy, retention.
pub mod outbox;

// What people see of the outbox: lists, explanations and numbers. It only reads.
#[cfg(feature = "server")]
pub mod inspection;

// 4. Empties the outbox.
pub mod worker;

// 5. Where events go: a port with exact promises.
pub mod destination;

// 6. The quote's life: its row, its status, its fee record, and the news that others get of it.
#[cfg(feature = "server")]
pub mod quotes;

// What operators do, across both halves of the house.
#[cfg(feature = "server")]
pub mod operator;

// How submissions and deliveries went, by the minute and by the hour.
#[cfg(feature = "server")]
pub mod series;

// Everything that happened to a quote.
#[cfg(feature = "server")]
pub mod timeline;

// Looks for broken promises.
#[cfg(feature = "server")]
pub mod audit;

// Looks for what is wrong with an installation.
#[cfg(feature = "server")]
pub mod doctor;

// Finds quotes that stay pending.
#[cfg(feature = "server")]
pub mod sweeper;

// The other designs, without an outbox: to be compared with.
#[cfg(feature = "server")]
pub mod strategy;

// Cron expressions, read the way the scheduler reads them.
#[cfg(feature = "server")]
pub mod cron;
// Cron ticks, also when the wall clock is set back.
#[cfg(feature = "server")]
pub mod schedule;
// Typed and validated settings; the defaults are embedded from `config/default.toml`.
#[cfg(feature = "server")]
pub mod settings;
// Work that the fleet does once per cron tick.
#[cfg(feature = "server")]
pub mod upkeep;
// The processes that share the database, as they tell each other.
#[cfg(feature = "server")]
pub mod fleet;
// Waking workers as soon as something is stored.
#[cfg(feature = "server")]
pub mod wakeup;

// What the engine stands on.

// The engine in a service with events, aggregates and destinations of its own.
pub mod embed;
// The time that decides.
pub mod clock;
// Named points at which a test kills the process.
pub mod crash;
// The only place that opens a pool.
pub mod database;
// Mutated inputs for whatever reads what others wrote.
#[cfg(test)]
mod fuzz;
// Text of foreign origin, made fit to be stored and shown.
pub mod printable;
// Secrets that are given in files.
mod secret_file;
// Tasks that are started again when they panic.
pub mod supervision;
// Logs, traces and metrics.
pub mod telemetry;

// The laboratory, apart from the product: the sample fee server, `feebox compare` and `feebox torture`.
#[cfg(feature = "cli")]
pub mod lab;
