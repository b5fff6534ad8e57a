//! The way between a process and its database: it can be long, it can break, and it can fall silent.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

/// Bytes that are read at once.
const CHUNK: usize = 32 * 1024;
/// Chunks that are on their way at once, in one direction.
const CHUNKS_MAX: usize = 256;
/// How long a server gets to execute the commit whose answer is lost.
const COMMIT_WAIT: Duration = Duration::from_millis(100);

/// A TCP proxy before a database. It lives on the runtime that it was started on; dropped, it closes all connections.
pub(crate) struct Network {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    commits_cut: Arc<AtomicU32>,
}

/// What the way is like.
#[derive(Clone, Copy)]
struct Weather {
    /// What each message to the server is delayed by.
    delay: Duration,
    /// The share of commits around which the connection is cut.
    cut_commits: f64,
    /// Everything is swallowed, in both directions.
    silent: bool,
    /// Counts cuts: a connection ends when it changes.
    cuts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// What one connection's two directions share.
struct Line {
    weather: watch::Receiver<Weather>,
    /// No answer passes any more.
    mute: AtomicBool,
    commits_cut: Arc<AtomicU32>,
}

impl Network {
    /// Forwards from a free port of this machine to `target`, a host and a port.
    pub(crate) async fn start(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let weather = watch::Sender::new(Weather { delay: Duration::ZERO, cut_commits: 0.0, silent: false, cuts: 0 });
        let commits_cut = Arc::default();
        tokio::spawn(listen(listener, target, weather.subscribe(), Arc::clone(&commits_cut)));
        Ok(Self { addr, weather, commits_cut })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets each message to the server take so much longer.
    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Resets all connections; later ones go through.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Cuts this share of connections at a commit: half of them before the server has read it, half after.
    pub(crate) fn cut_commits(&self, share: f64) {
        self.weather.send_modify(|weather| weather.cut_commits = share);
    }

    /// Commits around which a connection was cut.
    pub(crate) fn commits_cut(&self) -> u32 {
        self.commits_cut.load(Ordering::Relaxed)
    }

    /// Swallows all bytes, as a router does that forgot its flows. What is lost cannot be made up for: the connections are
    /// cut at the end.
    pub(crate) fn silence(&self, silent: bool) {
        self.weather.send_modify(|weather| {
            weather.silent = silent;
            weather.cuts += u64::from(!silent);
        });
    }
}

async fn listen(listener: TcpListener, target: String, weather: watch::Receiver<Weather>, commits_cut: Arc<AtomicU32>) {
    let mut dropped = weather.clone();
    let accept = async {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                sleep(COMMIT_WAIT).await;
                continue;
            };
            let line =
                Line { weather: weather.clone(), mute: AtomicBool::new(false), commits_cut: Arc::clone(&commits_cut) };
            tokio::spawn(carry(client, target.clone(), line));
        }
    };
    tokio::select! {
        () = accept => {}
        _ = dropped.wait_for(|_| false) => {}
    }
}

/// Carries a connection to its end.
async fn carry(mut client: TcpStream, target: String, line: Line) {
    let mut weather = line.weather.clone();
    let cuts = weather.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let in_good_order = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = line.pump(Direction::Request, from_client, to_server);
        let answers = line.pump(Direction::Answer, from_server, to_client);
        tokio::select! {
            ended = async { tokio::try_join!(requests, answers) } => ended.is_ok(),
            _ = weather.wait_for(|now| now.cuts != cuts) => false,
        }
    };
    if !in_good_order {
        // Then closing is a reset, not an end.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

impl Line {
    /// Carries one direction. Reading goes on while what was read is on its way.
    async fn pump(&self, direction: Direction, mut from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let read = async {
            loop {
                let mut bytes = vec![0; CHUNK];
                let length = from.read(&mut bytes).await?;
                bytes.truncate(length);
                if sender.send((Instant::now(), bytes)).await.is_err() || length == 0 {
                    return Ok(());
                }
            }
        };
        tokio::try_join!(read, self.write(direction, receiver, to)).map(drop)
    }

    async fn write(
        &self,
        direction: Direction,
        mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: WriteHalf<'_>,
    ) -> io::Result<()> {
        while let Some((read_at, bytes)) = chunks.recv().await {
            let weather = *self.weather.borrow();
            if direction == Direction::Request && !weather.delay.is_zero() {
                sleep_until(read_at + weather.delay).await;
            }
            if weather.silent || (direction == Direction::Answer && self.mute.load(Ordering::Relaxed)) {
                continue;
            }
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            if direction == Direction::Request && is_commit(&bytes) && rand::random::<f64>() < weather.cut_commits {
                return self.cut_commit(&bytes, to).await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    }

    /// The server commits, or does not: its client cannot know.
    async fn cut_commit(&self, bytes: &[u8], mut to: WriteHalf<'_>) -> io::Result<()> {
        self.commits_cut.fetch_add(1, Ordering::Relaxed);
        if rand::random() {
            self.mute.store(true, Ordering::Relaxed);
            to.write_all(bytes).await?;
            sleep(COMMIT_WAIT).await;
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// Both servers are sent the word as text. A value that holds it, too, makes one cut more.
fn is_commit(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == b"COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network before a server that answers each message by itself.
    async fn before_an_echo() -> (Network, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let network = Network::start(listener.local_addr().expect("an address").to_string()).await.expect("a port");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let client = TcpStream::connect(network.addr()).await.expect("a connection");
        (network, client)
    }

    /// What comes back, nothing if the connection was reset or ended.
    async fn ask(client: &mut TcpStream, message: &[u8]) -> Option<Vec<u8>> {
        client.write_all(message).await.ok()?;
        let mut answer = vec![0; 64];
        let length = client.read(&mut answer).await.ok()?;
        (length > 0).then(|| answer[..length].to_vec())
    }

    #[tokio::test]
    async fn messages_take_as_long_as_they_are_told_to() {
        let (network, mut client) = before_an_echo().await;
        assert_eq!(ask(&mut client, b"SELECT").await.as_deref(), Some(&b"SELECT"[..]));
        let delay = Duration::from_millis(30);
        network.delay(delay);
        let begun = Instant::now();
        assert_eq!(ask(&mut client, b"SELECT").await.as_deref(), Some(&b"SELECT"[..]));
        assert!(begun.elapsed() >= delay);
    }

    #[tokio::test]
    async fn a_commit_is_cut_and_nothing_else_is() {
        let (network, mut client) = before_an_echo().await;
        network.cut_commits(1.0);
        assert!(ask(&mut client, b"SELECT").await.is_some());
        assert_eq!(ask(&mut client, b"Q\0COMMIT\0").await, None);
        assert_eq!(network.commits_cut(), 1);
    }

    #[tokio::test]
    async fn a_cut_ends_connections_that_are_open() {
        let (network, mut client) = before_an_echo().await;
        assert!(ask(&mut client, b"SELECT").await.is_some());
        network.cut();
        assert_eq!(ask(&mut client, b"SELECT").await, None);
        let mut later = TcpStream::connect(network.addr()).await.expect("a connection");
        assert!(ask(&mut later, b"SELECT").await.is_some());
    }

    #[tokio::test]
    async fn silence_answers_nothing_and_ends_in_a_cut() {
        let (network, mut client) = before_an_echo().await;
        assert!(ask(&mut client, b"SELECT").await.is_some());
        network.silence(true);
        let wait = Duration::from_millis(100);
        assert!(tokio::time::timeout(wait, ask(&mut client, b"SELECT")).await.is_err());
        network.silence(false);
        assert_eq!(ask(&mut client, b"SELECT").await, None);
    }
}
