//! Real processes of this binary that can be started, killed and frozen.

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

use crate::strategy::ROLLBACK_RATE;

/// The longest that processes may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Processes that share a database and settings. They are killed on drop.
pub(crate) struct Fleet {
    directory: PathBuf,
    log: PathBuf,
    settings: Vec<String>,
    database_url: String,
    members: Vec<Member>,
    rollback_rate: f64,
    survives_full_disks: bool,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Accepts submissions.
    Serve,
    /// Delivers events.
    Worker,
}

/// One place in the fleet, and its process if one is running.
struct Member {
    role: Role,
    base_url: String,
    bind: String,
    child: Option<Child>,
    environment: Vec<(&'static str, String)>,
}

impl Fleet {
    /// Processes of these `roles`, not yet started; the first one serves. They log to a file named after the `run`.
    pub(crate) fn new(
        run: &str,
        roles: &[Role],
        settings: &[(&'static str, String)],
        database_url: &str,
        directory: &Path,
    ) -> io::Result<Self> {
        let mut fleet = Self {
            directory: directory.to_owned(),
            log: directory.join(format!("{run}.log")),
            settings: Vec::new(),
            database_url: database_url.to_owned(),
            members: roles.iter().map(|role| Member::new(*role)).collect::<Result<_, _>>()?,
            rollback_rate: 0.0,
            survives_full_disks: false,
        };
        fleet.set(settings);
        Ok(fleet)
    }

    /// Adds settings, in force from the next start.
    pub(crate) fn set(&mut self, settings: &[(&'static str, String)]) {
        self.settings.extend(settings.iter().map(|(key, value)| format!("--set={key}={value}")));
    }

    /// Rolls back this share of submissions, from the next start.
    pub(crate) fn roll_back(&mut self, rate: f64) {
        self.rollback_rate = rate;
    }

    /// From the next start, a write beyond the file size limit is an error, as on a full disk, and does not kill the
    /// process.
    pub(crate) fn survive_full_disks(&mut self) {
        self.survives_full_disks = true;
    }

    /// Sets environment variables of the process at `place`, in force from its next start.
    pub(crate) fn set_environment(&mut self, place: usize, environment: Vec<(&'static str, String)>) {
        self.members[place].environment = environment;
    }

    /// The base URL for submissions.
    pub(crate) fn api(&self) -> &str {
        &self.members[0].base_url
    }

    /// The base URL of each process.
    pub(crate) fn base_urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.base_url.as_str())
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn role(&self, place: usize) -> Role {
        self.members[place].role
    }

    /// Starts all processes that are not running, without waiting for them.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        for place in 0..self.members.len() {
            if self.members[place].child.is_none() {
                let child = self.command(&self.members[place])?.spawn().context("starting a process failed")?;
                self.members[place].child = Some(child);
            }
        }
        Ok(())
    }

    /// Kills all processes with SIGKILL, as if their machine had failed.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        // Kill all before waiting for any, so that none notices that another is gone.
        for member in &mut self.members {
            member.child.as_mut().map_or(Ok(()), Child::kill)?;
        }
        self.members.iter_mut().try_for_each(Member::kill)
    }

    /// Kills the process at `place`, frozen or not.
    pub(crate) fn kill_one(&mut self, place: usize) -> io::Result<()> {
        self.members[place].kill()
    }

    /// Stops the process at `place` with SIGSTOP, like a machine that sleeps or swaps.
    pub(crate) fn freeze(&self, place: usize) -> io::Result<()> {
        self.members[place].signal("STOP")
    }

    /// Lets the process at `place` continue.
    pub(crate) fn thaw(&self, place: usize) -> io::Result<()> {
        self.members[place].signal("CONT")
    }

    /// Limits the size, in bytes, to which the process at `place` may write a file; `None` removes the limit.
    pub(crate) fn limit_files(&self, place: usize, bytes: Option<u64>) -> io::Result<()> {
        let Some(child) = &self.members[place].child else { return Ok(()) };
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        // Only the soft limit: raising a hard limit again needs root.
        let arguments = [format!("--pid={}", child.id()), format!("--fsize={limit}:")];
        Command::new("prlimit").args(arguments).stderr(Stdio::null()).status().map(drop)
    }

    /// Restarts processes that ended by themselves, like a supervisor.
    pub(crate) fn restart_ended(&mut self) -> anyhow::Result<()> {
        for member in &mut self.members {
            if member.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_))) {
                member.child = None;
            }
        }
        self.start()
    }

    /// Returns when each process is ready.
    pub(crate) async fn ready(&mut self, client: &Client) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let urls: Vec<_> = self.base_urls().map(|url| format!("{url}/readyz")).collect();
        for url in urls {
            while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                self.restart_until(deadline)?;
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn restart_until(&mut self, deadline: Instant) -> anyhow::Result<()> {
        if Instant::now() > deadline {
            bail!("the processes did not become ready; their output is in {}", self.log.display());
        }
        self.restart_ended()
    }

    fn command(&self, member: &Member) -> anyhow::Result<Command> {
        let binary = std::env::current_exe().context("the path of this binary is unknown")?;
        let log = || -> io::Result<File> { OpenOptions::new().create(true).append(true).open(&self.log) };
        let mut command = if self.survives_full_disks {
            // A signal that the shell ignores stays ignored after `exec`.
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ && exec \"$0\" \"$@\""]).arg(binary);
            shell
        } else {
            Command::new(binary)
        };
        forget_settings(&mut command);
        command
            .arg(member.role.command())
            .args(["--bind", &member.bind])
            .args(&self.settings)
            // Not on the command line, where every user of the machine can read the password.
            .env("FEEBOX__DATABASE__URL", &self.database_url)
            .envs(member.environment.iter().map(|(name, value)| (name, value)))
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

/// Removes this machine's own Feebox settings from the environment of `command`.
pub(crate) fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FEEBOX") || name == "DATABASE_URL" || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
}

impl Role {
    fn command(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Worker => "worker",
        }
    }
}

impl Member {
    fn new(role: Role) -> io::Result<Self> {
        let bind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
        Ok(Self { role, base_url: format!("http://{bind}"), bind, child: None, environment: Vec::new() })
    }

    fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        // The standard library can only send SIGKILL. A process that has ended needs no signal.
        Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .stderr(Stdio::null())
            .status()
            .map(drop)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A process that cannot be killed has already ended.
        let _ = self.kill();
    }
}
