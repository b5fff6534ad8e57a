//! Feebox: fees for submitted quotes by a transactional outbox. None lost, none doubled, none invented.
//!
//! `http → submission → outbox ⇠ (the table) ⇢ worker → destination → fees`
//!
//! One way, no way back: submission and worker never import each other, they meet only in the table.

// Wires settings into a running app. The only place that knows all.
pub mod app;
// The command line: one file a command.
pub mod cli;

// 1. The door: bytes in, problem+json out.
pub mod http;

// 2. The unit of work: quote and events, or nothing; phases before and after the commit.
pub mod submission;

// 3. Sole writer of its tables: record, claim, settle, retry policy, retention.
pub mod outbox;

// What people see of the outbox: lists, explanations and numbers. It only reads.
pub mod inspection;

// 4. Empties the outbox.
pub mod worker;

// 5. Where events go: a port with exact promises.
pub mod destination;

// 6. The quote's life: its row, its status, its fee record, and the news that others get of it.
pub mod quotes;

// What operators do, across both halves of the house.
pub mod operator;

// How submissions and deliveries went, by the minute and by the hour.
pub mod series;

// Everything that happened to a quote.
pub mod timeline;

// Looks for broken promises.
pub mod audit;

// Looks for what is wrong with an installation.
pub mod doctor;

// Finds quotes that stay pending.
pub mod sweeper;

// The other designs, without an outbox: to be compared with.
pub mod strategy;

// The time that decides.
pub mod clock;
// Named points at which a test kills the process.
pub mod crash;
// Cron expressions, read the way the scheduler reads them.
pub mod cron;
// Mutated inputs for whatever reads what others wrote.
#[cfg(test)]
mod fuzz;
// The only place that opens a pool.
pub mod database;
// Text of foreign origin, made fit to be stored and shown.
pub mod printable;
// Cron ticks, also when the wall clock is set back.
pub mod schedule;
// Typed and validated settings; the defaults are embedded from `config/default.toml`.
pub mod settings;
// Work that the fleet does once per cron tick.
pub mod upkeep;
// Tasks that are started again when they panic.
pub mod supervision;
// The processes that share the database, as they tell each other.
pub mod fleet;
// Waking workers as soon as something is stored.
pub mod wakeup;

// Logs, traces and metrics.
pub mod telemetry;

// The laboratory, apart from the product: the sample fee server, `feebox compare` and `feebox torture`.
pub mod lab;
