//! The command line: one file per command.

// First, because the others use its macro.
#[macro_use]
mod print;

mod actions;
mod audit;
#[cfg(feature = "lab")]
mod bench;
mod causes;
#[cfg(feature = "lab")]
mod compare;
mod completions;
mod config;
mod destination;
mod dev;
mod doctor;
mod failure;
mod fee_server;
mod follow;
mod migrate;
mod openapi;
mod operator;
mod outbox;
mod quote;
mod serve;
#[cfg(feature = "lab")]
mod torture;
mod worker;
mod workers;

use std::{
    fmt::Arguments,
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    app, printable,
    settings::{Settings, SettingsError},
    telemetry,
};

/// The command failed.
const FAILED: u8 = 1;
/// The command line or the settings are invalid.
const WRONG_USAGE: u8 = 2;
/// `feebox audit` or `feebox torture` found a broken promise.
const PROMISE_BROKEN: u8 = 3;

/// Fees for submitted quotes by a transactional outbox: none lost, none doubled, none invented.
#[derive(Debug, Parser)]
#[command(name = "feebox", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    command: Command,
}

/// Settings from the command line, which override files and environment variables.
#[derive(Args, Clone, Debug, Default)]
struct Overrides {
    /// Override a setting, for example --set worker.lease=45s (may be repeated; `feebox config` lists all)
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// The database: sqlite://…, postgres://… or mysql://… (MariaDB)
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run API, worker, dashboard and a sample fee server in one process, on an SQLite file
    ///
    /// A database server must be given by --database-url. One that the environment names is refused, as it may be in
    /// production.
    Dev(dev::Dev),
    /// Run the HTTP API
    Serve(serve::Serve),
    /// Run a worker, which delivers events; any number may run at once
    Worker(worker::Worker),
    /// Migrate the database schema, or show its state
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Run the sample fee server
    FeeServer(fee_server::FeeServer),
    /// List, inspect, retry and cancel events
    #[command(subcommand)]
    Outbox(outbox::Outbox),
    /// List, show and cancel quotes
    #[command(subcommand)]
    Quote(quote::Quote),
    /// List what operators did
    Actions(actions::Actions),
    /// Group failed events by what went wrong
    Causes(causes::Causes),
    /// List the processes of the fleet and how they are doing
    Workers(workers::Workers),
    /// Pause and resume deliveries in the whole fleet
    #[command(subcommand)]
    Destination(destination::Destination),
    /// Say what is wrong with this installation and what to do; exit code 1 if anything is
    Doctor(doctor::Doctor),
    /// Check that no fee is lost, doubled or invented; exit code 3 if a promise is broken
    Audit(audit::Audit),
    /// Measure the speed of Feebox against hand-written code and another version, on temporary databases
    #[cfg(feature = "lab")]
    Bench(bench::Bench),
    /// Measure what each design loses, invents and costs when processes crash
    ///
    /// Each design runs as real processes of this binary on a fresh database: an SQLite file in --out or, with
    /// --database-url, a new database on that server, which is dropped at the end. Settings are ignored, and --set is
    /// refused.
    #[cfg(feature = "lab")]
    Compare(compare::Compare),
    /// Inject faults into a fleet, its database, its clients and its fee server; exit code 3 if a promise is broken
    ///
    /// Runs real processes of this binary on a fresh database: an SQLite file in --out or, with --database-url, a new
    /// database on that server, which is dropped at the end. All faults that apply to it are injected; a crash of the
    /// database needs --database-restart. Settings are ignored, and --set is refused.
    #[cfg(feature = "lab")]
    Torture(torture::Torture),
    /// Print the effective settings and the source of each; secrets are masked
    Config(config::Config),
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Print shell completions
    Completions(completions::Completions),
}

/// Parses the command line and runs the command. Exit codes: 0 success, 1 failure, 2 invalid usage or settings, 3 a broken
/// promise.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // It quotes arguments, which may hold what a script was given by somebody else.
        Err(error) if error.use_stderr() => {
            complain(format_args!("{error}"));
            return ExitCode::from(WRONG_USAGE);
        }
        Err(help) => help.exit(),
    };
    // Without a provider the first TLS connection would panic. An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Before anything opens descriptors, and before any child inherits the limit.
    app::raise_descriptors();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("feebox: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let overrides = cli.overrides.clone();
    let ended = runtime.block_on(run(cli));
    telemetry::flush();
    match ended {
        Ok(code) => code,
        Err(error) => {
            if let Some(error) = error.downcast_ref::<SettingsError>() {
                complain(format_args!("{error}"));
                return ExitCode::from(WRONG_USAGE);
            }
            complain(format_args!("feebox: {}", failure::line(&error, overrides)));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let overrides = cli.overrides;
    match cli.command {
        Command::Dev(dev) => Box::pin(dev.run(overrides)).await?,
        Command::Serve(serve) => serve.run(overrides).await?,
        Command::Worker(worker) => worker.run(overrides).await?,
        Command::Migrate(migrate) => migrate.run(overrides).await?,
        Command::FeeServer(fee_server) => fee_server.run(overrides).await?,
        Command::Outbox(outbox) => outbox.run(overrides).await?,
        Command::Quote(quote) => quote.run(overrides).await?,
        Command::Actions(actions) => actions.run(overrides).await?,
        Command::Causes(causes) => causes.run(overrides).await?,
        Command::Workers(workers) => workers.run(overrides).await?,
        Command::Destination(destination) => destination.run(overrides).await?,
        Command::Doctor(doctor) => doctor.run(overrides).await?,
        Command::Audit(audit) => return audit.run(overrides).await,
        #[cfg(feature = "lab")]
        Command::Bench(bench) => bench.run(overrides).await?,
        #[cfg(feature = "lab")]
        Command::Compare(compare) => compare.run(overrides).await?,
        #[cfg(feature = "lab")]
        Command::Torture(torture) => return torture.run(overrides).await,
        Command::Config(config) => config.run(overrides)?,
        Command::Openapi => openapi::run()?,
        Command::Completions(completions) => completions.run(),
    }
    Ok(ExitCode::SUCCESS)
}

/// Like `eprintln!`, but ignores a closed standard error: the exit code still reports the failure.
fn complain(text: Arguments<'_>) {
    let _ = writeln!(stderr(), "{}", printable::lines(&text.to_string(), |_| false));
}

impl Overrides {
    fn with(mut self, key: &str, value: Option<impl ToString>) -> Self {
        self.set.extend(value.map(|value| (key.to_owned(), value.to_string())));
        self
    }

    /// The effective settings.
    fn settings(self) -> Result<Settings, SettingsError> {
        let url = self.database_url.clone();
        Settings::from_environment(self.with("database.url", url).set)
    }

    /// For commands whose processes need their own settings, so that results are comparable.
    #[cfg(feature = "lab")]
    fn refuse_settings(&self) -> Result<(), SettingsError> {
        use crate::settings::{InvalidSetting, Origin};

        let invalid = |(key, _): &(String, String)| InvalidSetting {
            key: key.clone(),
            origin: Origin::CommandLine,
            problem: "this command takes no settings".to_owned(),
            advice: "remove --set".to_owned(),
        };
        let invalid: Vec<_> = self.set.iter().map(invalid).collect();
        if invalid.is_empty() { Ok(()) } else { Err(SettingsError { invalid }) }
    }

    /// The effective settings, for a long-running command: it also starts logging.
    fn settings_with_logs(self) -> anyhow::Result<Settings> {
        let settings = self.settings()?;
        telemetry::init(&settings.log)?;
        Ok(settings)
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, for example worker.lease=45s")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Waits for SIGTERM or Ctrl-C.
async fn stop_signal() -> std::io::Result<()> {
    app::StopSignals::listen()?.next().await;
    Ok(())
}

/// The result of `work`, unless the process is told to stop before.
#[cfg(feature = "lab")]
async fn until_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        stopped = stop_signal() => {
            stopped?;
            anyhow::bail!("stopped before the end of the run");
        }
    }
}
