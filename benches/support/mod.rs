//! The services that the benchmarks need: a real `PostgreSQL`, real `feebox` processes.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

/// A `PostgreSQL` with durable defaults; it stops on drop.
pub struct Postgres {
    script: Child,
    url: String,
}

/// A `feebox` process; killed when dropped.
pub struct Feebox(pub Child);

impl Postgres {
    pub fn start() -> anyhow::Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/postgres");
        let mut script = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(script.stdout.as_mut().context("no output")?).read_line(&mut url)?;
        ensure!(!url.is_empty(), "PostgreSQL did not start: run tests/servers/install postgres");
        Ok(Self { script, url: url.trim().to_owned() })
    }

    /// The administrative database.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The script stops the server at the end of its input.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

impl Feebox {
    /// Starts the release binary that cargo built for this benchmark. Its logs are discarded.
    pub fn start(args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_feebox"));
        Ok(Self(command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Feebox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A free local address.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Returns when `url` answers 200.
pub async fn wait_until_ready(url: &str) -> anyhow::Result<()> {
    for _ in 0..1_000 {
        if reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("{url} does not answer")
}
