//! Where the lines of the log go, and in which format.

use std::io::{self, IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::{log_writer::LogWriter, spans};
use crate::settings::{Log, LogFormat};

/// The target of the access log's lines.
pub const ACCESS: &str = "feebox::access";

static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The writer's thread cannot be started.
    #[error("failed to start the log writer")]
    Thread(#[from] io::Error),
    /// Logging was started before.
    #[error("logging is already started")]
    AlreadyStarted(#[from] TryInitError),
}

/// Starts logging to standard error; standard output is for what a command prints. Panics are logged too: the default hook
/// writes to standard error itself, and would block where nobody reads it.
///
/// # Errors
///
/// See [`LogError`].
pub fn init(log: &Log) -> Result<(), LogError> {
    let writer = LogWriter::new(stderr())?;
    subscriber(log, stderr().is_terminal(), writer.clone()).try_init()?;
    panic::set_hook(Box::new(log_panic));
    let _ = WRITER.set(writer);
    Ok(())
}

/// Sends the last spans and writes the last log lines, at the end of the process.
pub fn flush() {
    spans::end();
    if let Some(writer) = WRITER.get() {
        writer.flush();
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(panic = panic.payload_as_str(), place, thread = thread.name(), "panicked");
}

fn subscriber(log: &Log, on_terminal: bool, writer: LogWriter) -> Box<dyn Subscriber + Send + Sync> {
    let access = if log.access { "info" } else { "off" };
    let filter = EnvFilter::new(format!("{},{ACCESS}={access}", log.filter));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // It would print its own errors to standard error, and panic if that fails.
    let lines = lines.log_internal_errors(false);
    let as_text = match log.format {
        LogFormat::Auto => on_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if !as_text {
        Box::new(lines.json().flatten_event(true).with_current_span(false).finish())
    } else if on_terminal {
        // Coloured, unless NO_COLOR is set.
        Box::new(lines.finish())
    } else {
        Box::new(lines.with_ansi(false).finish())
    }
}
