//! A throw-away database, and processes of one binary on it.

use std::{
    fs::{File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::{net::TcpStream, time::Instant};
use url::Url;

use super::usage::Server;
use crate::{
    database::Database,
    lab::testbed::{connect, execute, forget_settings},
};

/// How long a process may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A database that is gone when the measurement is over, with the schema of the binary that is measured.
pub(super) struct Stage {
    binary: PathBuf,
    directory: PathBuf,
    url: String,
    db: Database,
    server: Server,
    /// The server's own database, and the name of ours on it.
    on_server: Option<(String, String)>,
}

/// A running process; killed when dropped.
pub(super) struct Process {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Stage {
    /// A new database on the server of `server_url`, or a file in `directory` for `SQLite`.
    pub(super) async fn prepare(name: &str, server_url: &str, binary: &Path, directory: &Path) -> anyhow::Result<Self> {
        let (url, on_server) = if server_url.starts_with("sqlite:") {
            let file = directory.join(format!("{name}.db"));
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
            }
            (format!("sqlite://{}?mode=rwc", file.display()), None)
        } else {
            let name = format!("feebox_bench_{name}_{}", std::process::id());
            execute(server_url, &format!("CREATE DATABASE {name}")).await.context("no database could be created")?;
            let mut url = Url::parse(server_url)?;
            url.set_path(&name);
            (url.to_string(), Some((server_url.to_owned(), name)))
        };
        let status = command(binary, directory, &url)?.args(["migrate", "up"]).status()?;
        if !status.success() {
            bail!("{} could not migrate its database", binary.display());
        }
        let db = connect(&url).await?;
        let server = Server::find(&db).await?;
        Ok(Self { binary: binary.to_owned(), directory: directory.to_owned(), url, db, server, on_server })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Starts `feebox ROLE` with `settings` and returns when it takes connections and is ready.
    pub(super) async fn start(&self, role: &str, settings: &[String]) -> anyhow::Result<Process> {
        let address = free_address()?;
        let mut command = command(&self.binary, &self.directory, &self.url)?;
        command.arg(role).args(["--bind", &address.to_string()]);
        command.args(settings.iter().map(|setting| format!("--set={setting}")));
        let process = Process { child: command.spawn().context("a process could not be started")?, address };
        let deadline = Instant::now() + READY_WITHIN;
        while !is_ready(address).await {
            if Instant::now() > deadline {
                bail!("`feebox {role}` did not get ready");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(process)
    }

    /// Runs `feebox worker --once` to its end, and hands back the seconds of processor time that it took and its memory.
    pub(super) async fn drain(&self, settings: &[String]) -> anyhow::Result<(f64, Option<f64>)> {
        let mut command = command(&self.binary, &self.directory, &self.url)?;
        command.args(["worker", "--once"]).args(settings.iter().map(|setting| format!("--set={setting}")));
        let mut child = command.spawn()?;
        let (mut cpu, mut memory) = (0.0, None);
        loop {
            (cpu, memory) =
                (super::usage::cpu_seconds(child.id()).max(cpu), super::usage::resident_mib(child.id()).or(memory));
            if let Some(status) = child.try_wait()? {
                anyhow::ensure!(status.success(), "the worker failed: {status}");
                return Ok((cpu, memory));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `worker --once` audits at its end, if that is due.
    pub(super) async fn put_off_audit(&self) -> anyhow::Result<()> {
        let now = self.now_sql();
        self.execute(&format!("INSERT INTO schedule (name, last_tick_at, taken_by) VALUES ('audit', {now}, 'bench')"))
            .await
    }

    /// A number that the database answers.
    pub(super) async fn number(&self, question: &str) -> anyhow::Result<f64> {
        // A session of its own: one that asks twice for statistics sees what it saw before.
        let db = connect(&self.url).await?;
        let backend = db.connection().get_database_backend();
        let row = db.connection().query_one_raw(Statement::from_string(backend, question)).await?;
        let row = row.context("no number")?;
        db.close().await?;
        if let Ok(whole) = row.try_get::<i64>("", "number") {
            return Ok(i32::try_from(whole).map(f64::from)?);
        }
        Ok(row.try_get("", "number")?)
    }

    pub(super) async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        self.db.connection().execute_unprepared(sql).await?;
        Ok(())
    }

    /// The time now, as the columns keep it.
    pub(super) fn now_sql(&self) -> &'static str {
        match self.backend() {
            DbBackend::Postgres => "now()",
            DbBackend::MySql => "UTC_TIMESTAMP(6)",
            _ => "strftime('%Y-%m-%dT%H:%M:%f+00:00')",
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.db.connection().get_database_backend()
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    /// A text that the database answers.
    pub(super) async fn text(&self, question: &str) -> anyhow::Result<String> {
        let row = self.db.connection().query_one_raw(Statement::from_string(self.backend(), question)).await?;
        Ok(row.context("no text")?.try_get("", "text")?)
    }

    /// The id of a dead event.
    pub(super) async fn id_of_dead_event(&self) -> anyhow::Result<String> {
        let id = if self.is_postgres() { "CAST(id AS text)" } else { "LOWER(HEX(id))" };
        self.text(&format!("SELECT {id} AS text FROM outbox_event WHERE status = 'dead' LIMIT 1")).await
    }

    /// How far `PostgreSQL`'s write-ahead log has come, in bytes; the others do not tell.
    pub(super) async fn log_bytes(&self) -> anyhow::Result<Option<f64>> {
        if !self.is_postgres() {
            return Ok(None);
        }
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 AS number").await.map(Some)
    }

    /// Statistics and files as a database has them that is kept up.
    pub(super) async fn tidy(&self) -> anyhow::Result<()> {
        if self.is_postgres() {
            self.execute("ANALYZE").await?;
            self.execute("CHECKPOINT").await?;
        }
        Ok(())
    }

    /// What a database does by itself after many inserts, while it would be measured.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        match self.backend() {
            DbBackend::Postgres => self.execute("VACUUM").await,
            DbBackend::MySql => {
                self.execute("ANALYZE TABLE quote, outbox_event, fee_record").await?;
                // Writes their changed pages.
                self.execute("FLUSH TABLES quote, outbox_event, fee_record FOR EXPORT; UNLOCK TABLES").await
            }
            _ => Ok(()),
        }
    }

    /// Takes the database away.
    pub(super) async fn clear(self) -> anyhow::Result<()> {
        self.db.close().await?;
        if let Some((server, name)) = self.on_server {
            let force = if server.starts_with("postgres") { " WITH (FORCE)" } else { "" };
            execute(&server, &format!("DROP DATABASE {name}{force}")).await?;
        }
        Ok(())
    }
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn cpu_seconds(&self) -> f64 {
        super::usage::cpu_seconds(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on this machine that nobody listens on now.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn is_ready(address: SocketAddr) -> bool {
    let url = format!("http://{address}/readyz");
    TcpStream::connect(address).await.is_ok() && reqwest::get(url).await.is_ok_and(|it| it.status().is_success())
}

fn command(binary: &Path, directory: &Path, database_url: &str) -> anyhow::Result<Command> {
    let log = || -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(directory.join("processes.log"))
    };
    let mut command = Command::new(binary);
    forget_settings(&mut command);
    // Not on the command line, where every user of the machine reads the password.
    command.env("FEEBOX__DATABASE__URL", database_url).current_dir(directory);
    command.stdin(Stdio::null()).stdout(log()?).stderr(log()?);
    Ok(command)
}
