//! A client that costs next to nothing: one connection, requests written whole, answers read as far as they are needed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use uuid::Uuid;

/// A caller that was refused waits for so long.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);
const REFUSALS_MAX: u32 = 500;

/// One keep-alive connection to a service.
pub(super) struct Caller {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
    /// A header line, if it has a token.
    authorization: String,
}

/// A submission that was answered with `201`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) quote_id: Uuid,
    pub(super) took: Duration,
    pub(super) at: SystemTime,
}

impl Caller {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, buffer: Vec::with_capacity(4096), authorization: String::new() })
    }

    /// The same with `token`.
    pub(super) fn with_token(self, token: &str) -> Self {
        Self { authorization: format!("authorization: Bearer {token}\r\n"), ..self }
    }

    /// Submits one quote of `customer_id` under a key of its own.
    pub(super) async fn submit(&mut self, customer_id: &str) -> anyhow::Result<Accepted> {
        let body = format!("{{{}}}", quote(customer_id));
        let begun = Instant::now();
        self.post("/v1/quotes", &body).await?;
        let (took, at) = (begun.elapsed(), SystemTime::now());
        let text = std::str::from_utf8(&self.buffer).context("an answer that is no text")?;
        let (_, id) = text.split_once("\"id\":\"").context("an answer without an id")?;
        Ok(Accepted { quote_id: id.get(..36).context("a short id")?.parse()?, took, at })
    }

    /// Submits one quote, and hands back the status of the answer.
    pub(super) async fn try_submit(&mut self, customer_id: &str) -> anyhow::Result<u16> {
        self.send("/v1/quotes", &format!("{{{}}}", quote(customer_id))).await
    }

    /// Submits `count` quotes by one call.
    pub(super) async fn submit_batch(&mut self, count: usize) -> anyhow::Result<()> {
        let quotes: Vec<_> = (0..count).map(|number| format!("{{{}}}", quote(&format!("customer-{number}")))).collect();
        self.post("/v1/quotes:batch", &format!("{{\"quotes\":[{}]}}", quotes.join(","))).await
    }

    /// Reads `path`.
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        self.stream.write_all(request.as_bytes()).await?;
        let status = self.read_answer().await?;
        if status != 200 {
            bail!("{path} answered {status}: {}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(())
    }

    /// Reads what `path` streams, for `time`, on a connection of its own.
    pub(super) async fn listen(&self, path: &str, time: Duration) -> anyhow::Result<()> {
        let mut stream = Self::connect(self.address).await?.stream;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let (end, mut heard) = (tokio::time::Instant::now() + time, Vec::new());
        while let Ok(read) = tokio::time::timeout_at(end, stream.read_buf(&mut heard)).await {
            if read? == 0 {
                bail!("{path} ended: {}", String::from_utf8_lossy(&heard));
            }
            heard.clear();
        }
        Ok(())
    }

    async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        // What is refused because too much comes at once was not begun, and may be sent again.
        for _ in 0..REFUSALS_MAX {
            match self.send(path, body).await? {
                201 => return Ok(()),
                503 => tokio::time::sleep(REFUSED_PAUSE).await,
                status => bail!("{path} answered {status}: {}", String::from_utf8_lossy(&self.buffer)),
            }
        }
        bail!("{path} was refused {REFUSALS_MAX} times")
    }

    async fn send(&mut self, path: &str, body: &str) -> anyhow::Result<u16> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nidempotency-key: {}\r\n\
             {}content-length: {}\r\n\r\n{body}",
            self.address,
            Uuid::new_v4(),
            self.authorization,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.read_answer().await
    }

    /// Reads one answer whole, and hands back its status.
    async fn read_answer(&mut self) -> anyhow::Result<u16> {
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the service closed the connection");
            }
            let Some(head) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head]).context("a head that is no text")?.to_lowercase();
            let status = text.get(9..12).context("a short head")?.parse()?;
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("an answer without a length")?.trim().parse()?;
            while self.buffer.len() < head + 4 + length {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the service closed the connection");
                }
            }
            return Ok(status);
        }
    }
}

/// The members of a quote's JSON object.
fn quote(customer_id: &str) -> String {
    format!(
        "\"customer_id\":\"{customer_id}\",\"currency\":\"EUR\",\"lines\":[{{\"description\":\"Consulting, one day\",\
         \"quantity\":3,\"unit_price_minor\":95000}}]"
    )
}

/// As many submissions as `callers` make side by side within `time`.
pub(super) async fn submit_side_by_side(
    address: SocketAddr,
    callers: usize,
    time: Duration,
) -> anyhow::Result<Vec<Accepted>> {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + time;
    for number in 0..callers {
        tasks.spawn(async move {
            let (mut caller, mut accepted) = (Caller::connect(address).await?, Vec::new());
            let customer_id = format!("customer-{number}");
            while Instant::now() < end {
                accepted.push(caller.submit(&customer_id).await?);
            }
            anyhow::Ok(accepted)
        });
    }
    let all: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    Ok(all?.concat())
}

/// Submissions at a steady rate for `time`, by callers of whom one is always free.
pub(super) async fn submit_steadily(
    address: SocketAddr,
    per_second: f64,
    time: Duration,
) -> anyhow::Result<Vec<Accepted>> {
    const CALLERS: u32 = 16;
    let (mut tasks, begun) = (JoinSet::new(), tokio::time::Instant::now());
    for number in 0..CALLERS {
        tasks.spawn(async move {
            let (mut caller, mut accepted) = (Caller::connect(address).await?, Vec::new());
            for turn in 0.. {
                let after = Duration::from_secs_f64(f64::from(turn * CALLERS + number) / per_second);
                if after >= time {
                    break;
                }
                tokio::time::sleep_until(begun + after).await;
                accepted.push(caller.submit(&format!("customer-{number}")).await?);
            }
            anyhow::Ok(accepted)
        });
    }
    let all: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    Ok(all?.concat())
}
