//! What processes use, as Linux counts it in `/proc`.

use std::{fs, ops::Range};

use anyhow::Context;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::database::Database;

/// Ticks a second: the kernel's `USER_HZ`, the same on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processor time that the process `pid` has used, in seconds, with that of its children that have ended.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    ticks(pid, 11..15) / TICKS_PER_SECOND
}

/// The sum of these fields of the process `pid`.
fn ticks(pid: u32, fields: Range<usize>) -> f64 {
    let all = fields_of(pid).unwrap_or_default();
    all.get(fields).unwrap_or_default().iter().filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// The most memory that was resident, in MiB.
pub(super) fn resident_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmHWM:")
}

/// The memory that is resident now, in MiB.
pub(super) fn resident_mib_now(pid: u32) -> Option<f64> {
    status_mib(pid, "VmRSS:")
}

fn status_mib(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// The server of a database on this machine; `None` where it is no process of its own or cannot be found.
pub(super) struct Server {
    pid: Option<u32>,
}

impl Server {
    /// Finds the server process behind `db`.
    pub(super) async fn find(db: &Database) -> anyhow::Result<Self> {
        let connection = db.connection();
        let pid = match connection.get_database_backend() {
            DbBackend::Postgres => {
                let pid: i32 = ask(db, "SELECT pg_backend_pid() AS answer").await?;
                fields_of(pid.unsigned_abs()).and_then(|fields| fields.get(1)?.parse().ok())
            }
            DbBackend::MySql => {
                let file: String = ask(db, "SELECT @@pid_file AS answer").await?;
                let directory: String = ask(db, "SELECT @@datadir AS answer").await?;
                let text = fs::read_to_string(&file).or_else(|_| fs::read_to_string(format!("{directory}/{file}")));
                text.ok().and_then(|text| text.trim().parse().ok())
            }
            _ => None,
        };
        Ok(Self { pid })
    }

    /// The processor time of the server and all its processes, in seconds.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        let pid = self.pid?;
        // The time of a session that ends passes from its process to the server's: it would be missed, or counted twice.
        loop {
            let ended = ticks(pid, 13..15);
            let seconds = Self::cpu_seconds_now(pid)?;
            if ticks(pid, 13..15).total_cmp(&ended).is_eq() {
                return Some(seconds);
            }
        }
    }

    fn cpu_seconds_now(pid: u32) -> Option<f64> {
        let children = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
            let child: u32 = entry.file_name().to_str()?.parse().ok()?;
            let parent: u32 = fields_of(child)?.get(1)?.parse().ok()?;
            (parent == pid).then_some(child)
        });
        Some(cpu_seconds(pid) + children.map(cpu_seconds).sum::<f64>())
    }
}

async fn ask<T: sea_orm::TryGetable>(db: &Database, question: &str) -> anyhow::Result<T> {
    let backend = db.connection().get_database_backend();
    let row = db.connection().query_one_raw(Statement::from_string(backend, question)).await?;
    Ok(row.context("no answer")?.try_get("", "answer")?)
}

/// The fields of `/proc/PID/stat` behind the name of the program, which may hold anything.
fn fields_of(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}
