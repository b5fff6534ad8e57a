//! The command line: one file a command.

// First, for its macro.
#[macro_use]
mod print;

mod audit;
mod bench;
mod compare;
mod completions;
mod config;
mod destination;
mod dev;
mod fee_server;
mod migrate;
mod openapi;
mod operator;
mod outbox;
mod serve;
mod torture;
mod worker;

use std::{
    fmt::Arguments,
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    app,
    settings::{Fault, Origin, Settings, SettingsFaults},
    telemetry,
};

/// The command failed.
const FAILED: u8 = 1;
/// The command line or the settings are wrong.
const WRONG_USAGE: u8 = 2;
/// An audit or a torture found a broken promise.
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

/// Settings from the command line; they win over files and environment.
#[derive(Args, Clone, Debug, Default)]
struct Overrides {
    /// Set a setting, for example --set worker.lease=45s (may be repeated; `feebox config` lists all)
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Where quotes, events and fees live: sqlite://…, postgres://… or mysql://… for MariaDB
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, with a sample fee server, on an SQLite file
    ///
    /// A database server is taken from --database-url alone: one that the environment names may be in production.
    Dev(dev::Dev),
    /// Take submissions over HTTP
    Serve(serve::Serve),
    /// Deliver events; any number of workers may run at once
    Worker(worker::Worker),
    /// Bring the database's schema up to date, take it back, or show where it stands
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Run the sample fee server
    FeeServer(fee_server::FeeServer),
    /// Look at events, retry them, give them up
    #[command(subcommand)]
    Outbox(outbox::Outbox),
    /// Stop and start deliveries in the whole fleet
    #[command(subcommand)]
    Destination(destination::Destination),
    /// Check the promises in one consistent read; exit code 3 if one is broken
    Audit(audit::Audit),
    /// Measure the designs side by side: what each loses, invents and costs when processes die
    ///
    /// Each runs as real processes of this binary on a fresh database: an `SQLite` file in --out, or with --database-url a
    /// database that is created on that server, beside the one that is named, and dropped at the end. No setting is taken:
    /// Measure how fast Feebox is, beside what is written by hand and beside another version, on throw-away databases
    Bench(bench::Bench),
    /// --set is refused.
    Compare(compare::Compare),
    /// Let a fleet, its database, its clients and its fee server fail in all ways; exit code 3 if a promise is broken
    ///
    /// Real processes of this binary on a fresh database: an `SQLite` file in --out, or with --database-url a database that
    /// is created on that server, beside the one that is named, and dropped at the end. All faults that concern it are
    /// done, but for a crash of the database, which needs --database-restart. No setting is taken: --set is refused.
    Torture(torture::Torture),
    /// Print the settings in force and where each comes from; secrets are masked
    Config(config::Config),
    /// Print the OpenAPI document of the HTTP API
    Openapi,
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// Parses the command line, runs the command and tells how it went: 0 fine, 1 failed, 2 wrong usage or settings, 3 a
/// promise is broken.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // First of all: without it the first TLS connection would panic. An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Then this: what runs from here on may need many, and children inherit it.
    app::raise_descriptors();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(run(cli));
    telemetry::flush();
    match ended {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<SettingsFaults>() {
            Some(faults) => {
                complain(format_args!("{faults}"));
                ExitCode::from(WRONG_USAGE)
            }
            None => failed(&error),
        },
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
        Command::Destination(destination) => destination.run(overrides).await?,
        Command::Audit(audit) => return audit.run(overrides).await,
        Command::Bench(bench) => bench.run(overrides).await?,
        Command::Compare(compare) => compare.run(overrides).await?,
        Command::Torture(torture) => return torture.run(overrides).await,
        Command::Config(config) => config.run(overrides)?,
        Command::Openapi => openapi::run()?,
        Command::Completions(completions) => completions.run(),
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    complain(format_args!("feebox: {error:#}"));
    ExitCode::from(FAILED)
}

/// As `eprintln!`, but for who cannot be told: the exit code still says it.
fn complain(text: Arguments<'_>) {
    let _ = writeln!(stderr(), "{text}");
}

impl Overrides {
    fn with(mut self, key: &str, value: Option<impl ToString>) -> Self {
        self.set.extend(value.map(|value| (key.to_owned(), value.to_string())));
        self
    }

    /// The settings in force.
    fn settings(self) -> Result<Settings, SettingsFaults> {
        let url = self.database_url.clone();
        Settings::from_environment(self.with("database.url", url).set)
    }

    /// For a command whose processes have settings of its own: others would make its outcome another one.
    fn refuse_settings(&self) -> Result<(), SettingsFaults> {
        let fault = |(key, _): &(String, String)| Fault {
            key: key.clone(),
            origin: Origin::CommandLine,
            wrong: "this command takes no settings".to_owned(),
            mend: "leave --set out".to_owned(),
        };
        let faults: Vec<_> = self.set.iter().map(fault).collect();
        if faults.is_empty() { Ok(()) } else { Err(SettingsFaults { faults }) }
    }

    /// The settings in force, for a command that runs for long: it logs.
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
async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
