//! A faulty network between a process and its database: slow, cut or silent.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::lab::listener::Listener;

/// Bytes per read.
const CHUNK: usize = 32 * 1024;
/// Most chunks under way in one direction.
const CHUNKS_MAX: usize = 256;
/// How long a server has to execute a commit whose answer is then lost.
const COMMIT_WAIT: Duration = Duration::from_millis(100);

/// A TCP proxy in front of a database. It runs on the runtime that started it, and closes all connections on drop.
pub(crate) struct Network {
    listener: Listener,
    state: watch::Sender<State>,
    commits_cut: Arc<AtomicU32>,
}

/// The state of the network.
#[derive(Clone, Copy)]
struct State {
    /// Delay of each message to the server.
    delay: Duration,
    /// The share of commits at which the connection is cut.
    cut_commits: f64,
    /// Whether all bytes are swallowed, in both directions.
    silent: bool,
    /// Counts cuts: a connection ends when this changes.
    cuts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// What the two directions of one connection share.
struct Link {
    state: watch::Receiver<State>,
    /// Whether answers are dropped.
    muted: AtomicBool,
    commits_cut: Arc<AtomicU32>,
}

impl Network {
    /// Forwards from a free local port to `target`, a host and a port.
    pub(crate) fn start(target: String) -> io::Result<Self> {
        let state = watch::Sender::new(State { delay: Duration::ZERO, cut_commits: 0.0, silent: false, cuts: 0 });
        let (seen, commits_cut) = (state.subscribe(), Arc::<AtomicU32>::default());
        let counted = Arc::clone(&commits_cut);
        let listener = Listener::local(move |client| {
            let (state, commits_cut) = (seen.clone(), Arc::clone(&counted));
            carry(client, target.clone(), Link { state, muted: AtomicBool::new(false), commits_cut })
        })?;
        Ok(Self { listener, state, commits_cut })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Delays each message to the server.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Resets all open connections.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Cuts this share of connections at a commit: half of them before the server has read it, half after.
    pub(crate) fn cut_commits(&self, share: f64) {
        self.state.send_modify(|state| state.cut_commits = share);
    }

    /// Commits at which a connection was cut.
    pub(crate) fn commits_cut(&self) -> u32 {
        self.commits_cut.load(Ordering::Relaxed)
    }

    /// Swallows all bytes, like a router that lost its flows. Lost bytes cannot be replayed, so the connections are cut
    /// at the end.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.send_modify(|state| {
            state.silent = silent;
            state.cuts += u64::from(!silent);
        });
    }
}

/// Forwards a connection until it ends.
async fn carry(mut client: TcpStream, target: String, link: Link) -> io::Result<()> {
    let mut state = link.state.clone();
    let cuts = state.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(target).await else { return client.set_zero_linger() };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let in_good_order = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = link.pump(Direction::Request, from_client, to_server);
        let answers = link.pump(Direction::Answer, from_server, to_client);
        tokio::select! {
            ended = async { tokio::try_join!(requests, answers) } => ended.is_ok(),
            _ = state.wait_for(|now| now.cuts != cuts) => false,
        }
    };
    if !in_good_order {
        // With this option, closing sends a reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    Ok(())
}

impl Link {
    /// Forwards one direction. It goes on reading while earlier chunks are delayed.
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
            let state = *self.state.borrow();
            if direction == Direction::Request && !state.delay.is_zero() {
                sleep_until(read_at + state.delay).await;
            }
            if state.silent || (direction == Direction::Answer && self.muted.load(Ordering::Relaxed)) {
                continue;
            }
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            if direction == Direction::Request && is_commit(&bytes) && rand::random::<f64>() < state.cut_commits {
                return self.cut_commit(&bytes, to).await;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    }

    /// The server commits or not: its client cannot know.
    async fn cut_commit(&self, bytes: &[u8], mut to: WriteHalf<'_>) -> io::Result<()> {
        self.commits_cut.fetch_add(1, Ordering::Relaxed);
        if rand::random() {
            self.muted.store(true, Ordering::Relaxed);
            to.write_all(bytes).await?;
            sleep(COMMIT_WAIT).await;
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// Both servers get the word as text. A value that contains it causes an extra cut.
fn is_commit(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == b"COMMIT")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    /// A network in front of a server that echoes each message.
    async fn in_front_of_an_echo() -> (Network, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let network = Network::start(listener.local_addr().expect("an address").to_string()).expect("a port");
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

    /// The answer, or `None` if the connection was reset or ended.
    async fn ask(client: &mut TcpStream, message: &[u8]) -> Option<Vec<u8>> {
        client.write_all(message).await.ok()?;
        let mut answer = vec![0; 64];
        let length = client.read(&mut answer).await.ok()?;
        (length > 0).then(|| answer[..length].to_vec())
    }

    #[tokio::test]
    async fn messages_are_delayed() {
        let (network, mut client) = in_front_of_an_echo().await;
        assert_eq!(ask(&mut client, b"SELECT").await.as_deref(), Some(&b"SELECT"[..]));
        let delay = Duration::from_millis(30);
        network.delay(delay);
        let begun = Instant::now();
        assert_eq!(ask(&mut client, b"SELECT").await.as_deref(), Some(&b"SELECT"[..]));
        assert!(begun.elapsed() >= delay);
    }

    #[tokio::test]
    async fn a_commit_is_cut_and_nothing_else_is() {
        let (network, mut client) = in_front_of_an_echo().await;
        network.cut_commits(1.0);
        assert!(ask(&mut client, b"SELECT").await.is_some());
        assert_eq!(ask(&mut client, b"Q\0COMMIT\0").await, None);
        assert_eq!(network.commits_cut(), 1);
    }

    #[tokio::test]
    async fn a_cut_ends_connections_that_are_open() {
        let (network, mut client) = in_front_of_an_echo().await;
        assert!(ask(&mut client, b"SELECT").await.is_some());
        network.cut();
        assert_eq!(ask(&mut client, b"SELECT").await, None);
        let mut later = TcpStream::connect(network.addr()).await.expect("a connection");
        assert!(ask(&mut later, b"SELECT").await.is_some());
    }

    #[tokio::test]
    async fn silence_answers_nothing_and_ends_in_a_cut() {
        let (network, mut client) = in_front_of_an_echo().await;
        assert!(ask(&mut client, b"SELECT").await.is_some());
        network.silence(true);
        let wait = Duration::from_millis(100);
        assert!(tokio::time::timeout(wait, ask(&mut client, b"SELECT")).await.is_err());
        network.silence(false);
        assert_eq!(ask(&mut client, b"SELECT").await, None);
    }
}
