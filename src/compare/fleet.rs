//! The processes of a design: real ones, of this same binary.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use reqwest::Client;
use tokio::time::{Instant, sleep};

use super::{Design, Pace, counterpart::Counterpart};
use crate::strategy::ROLLBACK_RATE;

/// How long processes may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// The processes of one design; killed when dropped.
pub(super) struct Fleet {
    directory: PathBuf,
    log: PathBuf,
    settings: Vec<String>,
    database_url: String,
    roles: Vec<Role>,
    rollback_rate: f64,
    children: Vec<Child>,
}

struct Role {
    command: &'static str,
    base_url: String,
    bind: String,
}

impl Fleet {
    /// The processes of `design`, not yet started. They log to a file that is called after the `run`.
    pub(super) fn new(
        run: &str,
        design: Design,
        pace: &Pace,
        database_url: &str,
        counterpart: &Counterpart,
        directory: &Path,
    ) -> io::Result<Self> {
        let mut settings = counterpart.settings();
        settings.extend(pace.settings());
        settings.extend(design.settings());
        let mut roles = vec![Role::new("serve")?];
        if design.has_worker() {
            roles.push(Role::new("worker")?);
        }
        Ok(Self {
            directory: directory.to_owned(),
            log: directory.join(format!("{run}.log")),
            settings: settings.into_iter().map(|(key, value)| format!("--set={key}={value}")).collect(),
            database_url: database_url.to_owned(),
            roles,
            rollback_rate: 0.0,
            children: Vec::new(),
        })
    }

    /// From the next start on this share of submissions is rolled back, and the sweeper looks every second and not every
    /// minute: the watch shortens the measurement, and is not to count as a cost before.
    pub(super) fn brace(&mut self, rollback_rate: f64, more: Vec<(&'static str, String)>) {
        self.rollback_rate = rollback_rate;
        self.settings.push("--set=sweeper.schedule=* * * * * *".to_owned());
        self.settings.extend(more.into_iter().map(|(key, value)| format!("--set={key}={value}")));
    }

    /// Where submissions go.
    pub(super) fn api(&self) -> &str {
        &self.roles[0].base_url
    }

    /// Where each process answers.
    pub(super) fn base_urls(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| role.base_url.as_str())
    }

    /// Starts all processes, without waiting for them.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        for role in &self.roles {
            let child = self.command(role)?.spawn().context("a process could not be started")?;
            self.children.push(child);
        }
        Ok(())
    }

    /// Ends all processes as the end of their machine would: SIGKILL.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        for child in &mut self.children {
            child.kill()?;
        }
        for mut child in self.children.drain(..) {
            child.wait()?;
        }
        Ok(())
    }

    /// Starts those again that ended by themselves, as any supervisor does.
    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        let ended = self.children.iter_mut().any(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        if ended {
            self.kill()?;
            self.start()?;
        }
        Ok(())
    }

    /// Returns when each process is ready.
    pub(super) async fn ready(&mut self, client: &Client) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let urls: Vec<_> = self.base_urls().map(|url| format!("{url}/readyz")).collect();
        for url in urls {
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                self.revive_at_most_until(deadline)?;
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn revive_at_most_until(&mut self, deadline: Instant) -> anyhow::Result<()> {
        if Instant::now() > deadline {
            bail!("the processes did not get ready; what they said is in {}", self.log.display());
        }
        self.revive()
    }

    fn command(&self, role: &Role) -> anyhow::Result<Command> {
        let binary = std::env::current_exe().context("this binary cannot be found")?;
        let log = || -> io::Result<File> { OpenOptions::new().create(true).append(true).open(&self.log) };
        let mut command = Command::new(binary);
        // Nothing of this machine's own settings.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FEEBOX") || name == "DATABASE_URL" || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
            .arg(role.command)
            .args(["--bind", &role.bind])
            .args(&self.settings)
            // Not on the command line, where every user of the machine reads the password.
            .env("FEEBOX__DATABASE__URL", &self.database_url)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?);
        if self.rollback_rate > 0.0 {
            command.env(ROLLBACK_RATE, self.rollback_rate.to_string());
        }
        Ok(command)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // What cannot be killed has ended.
        let _ = self.kill();
    }
}

impl Role {
    fn new(command: &'static str) -> io::Result<Self> {
        let bind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
        Ok(Self { command, base_url: format!("http://{bind}"), bind })
    }
}
