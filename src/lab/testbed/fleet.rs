//! Real processes of this same binary, started, killed and frozen at will.

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

/// How long processes may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Processes that share a database and settings; killed when dropped.
pub(crate) struct Fleet {
    directory: PathBuf,
    log: PathBuf,
    settings: Vec<String>,
    database_url: String,
    members: Vec<Member>,
    rollback_rate: f64,
    outlives_full_disks: bool,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes submissions.
    Serve,
    /// Delivers.
    Worker,
}

/// One place in the fleet, and the process that fills it, if there is one.
struct Member {
    role: Role,
    base_url: String,
    bind: String,
    child: Option<Child>,
    environment: Vec<(&'static str, String)>,
}

impl Fleet {
    /// Processes of these `roles`, not yet started, the first of which serves. They log to a file that is called after the
    /// `run`.
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
            outlives_full_disks: false,
        };
        fleet.set(settings);
        Ok(fleet)
    }

    /// Settings that hold from the next start on.
    pub(crate) fn set(&mut self, settings: &[(&'static str, String)]) {
        self.settings.extend(settings.iter().map(|(key, value)| format!("--set={key}={value}")));
    }

    /// From the next start on this share of submissions is rolled back.
    pub(crate) fn roll_back(&mut self, rate: f64) {
        self.rollback_rate = rate;
    }

    /// From the next start on a file that may not grow is an error to its writer, as a full disk is, and not its end.
    pub(crate) fn outlive_full_disks(&mut self) {
        self.outlives_full_disks = true;
    }

    /// From its next start on the process at `place` has these variables.
    pub(crate) fn surround(&mut self, place: usize, environment: Vec<(&'static str, String)>) {
        self.members[place].environment = environment;
    }

    /// Where submissions go.
    pub(crate) fn api(&self) -> &str {
        &self.members[0].base_url
    }

    /// Where each process answers.
    pub(crate) fn base_urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.base_url.as_str())
    }

    /// How many processes there are to be.
    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    /// What the process at `place` does.
    pub(crate) fn role(&self, place: usize) -> Role {
        self.members[place].role
    }

    /// Starts all that do not run, without waiting for them.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        for place in 0..self.members.len() {
            if self.members[place].child.is_none() {
                let child = self.command(&self.members[place])?.spawn().context("a process could not be started")?;
                self.members[place].child = Some(child);
            }
        }
        Ok(())
    }

    /// Ends all processes as the end of their machine would: SIGKILL.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        // All first: no one sees another one gone.
        for member in &mut self.members {
            member.child.as_mut().map_or(Ok(()), Child::kill)?;
        }
        self.members.iter_mut().try_for_each(Member::kill)
    }

    /// Ends the process at `place`, frozen or not.
    pub(crate) fn kill_one(&mut self, place: usize) -> io::Result<()> {
        self.members[place].kill()
    }

    /// Stops the clock for the process at `place` (SIGSTOP): as a machine does that sleeps, or swaps.
    pub(crate) fn freeze(&self, place: usize) -> io::Result<()> {
        self.members[place].signal("STOP")
    }

    /// Lets it go on, as if nothing had been.
    pub(crate) fn thaw(&self, place: usize) -> io::Result<()> {
        self.members[place].signal("CONT")
    }

    /// The largest size, in bytes, to which the process at `place` may write a file; none takes the limit away.
    pub(crate) fn limit_files(&self, place: usize, bytes: Option<u64>) -> io::Result<()> {
        let Some(child) = &self.members[place].child else { return Ok(()) };
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        // The soft limit alone: nobody but root could raise the other one again.
        let arguments = [format!("--pid={}", child.id()), format!("--fsize={limit}:")];
        Command::new("prlimit").args(arguments).stderr(Stdio::null()).status().map(drop)
    }

    /// Starts those again that ended by themselves, as any supervisor does.
    pub(crate) fn revive(&mut self) -> anyhow::Result<()> {
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

    fn command(&self, member: &Member) -> anyhow::Result<Command> {
        let binary = std::env::current_exe().context("this binary cannot be found")?;
        let log = || -> io::Result<File> { OpenOptions::new().create(true).append(true).open(&self.log) };
        let mut command = if self.outlives_full_disks {
            // What is ignored stays ignored by whatever the shell becomes.
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
            // Not on the command line, where every user of the machine reads the password.
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

/// Lets `command` know nothing of this machine's own settings.
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
        // The standard library sends no signal but SIGKILL. One that has ended meanwhile needs none.
        Command::new("kill")
            .args([&format!("-{name}"), &child.id().to_string()])
            .stderr(Stdio::null())
            .status()
            .map(drop)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // What cannot be killed has ended.
        let _ = self.kill();
    }
}
