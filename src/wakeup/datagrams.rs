//! Wake-ups by datagram: a process that stores events sends one to each process that delivers.
//!
//! A worker writes into the database where it listens, and a token; a datagram that is not exactly this token is passed over,
//! so that nobody wakes a worker who cannot read the database. The worker sends it back: who gets no answer knows that datagrams
//! do not get through.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use subtle::ConstantTimeEq;
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    ANSWER_WAIT,
    listeners::{Listener, PULSE, Registration, listeners},
};
use crate::{
    database::{Database, within},
    fleet::Member,
    worker::Signal,
};

/// Who listens is read again after this long, if there was something to tell.
const REFRESH: Duration = Duration::from_secs(5);
/// The same while nobody listens.
const REFRESH_ALONE: Duration = Duration::from_millis(500);
/// So many datagrams without an answer, and they are taken not to get through: answers to the last few are still on their way.
const UNANSWERED_MAX: u32 = 32;
/// How long a process that stops waits for the database.
const WITHDRAW_WAIT: Duration = Duration::from_secs(1);
/// The pause after a socket failed.
const REOPEN: Duration = Duration::from_secs(5);

/// Sends `wake` for each datagram that holds the token, until `drain`.
pub(super) async fn receive(
    db: &Database,
    process: &Member,
    bind: SocketAddr,
    wake: &Signal,
    drain: &CancellationToken,
) {
    while let Err(error) = receive_at(db, process, bind, wake, drain).await {
        tracing::warn!(%error, %bind, "takes no wake-ups of other processes: events wait for the next cron tick");
        tokio::select! {
            () = drain.cancelled() => return,
            () = sleep(REOPEN) => {}
        }
    }
}

/// Returns `Ok` at `drain`.
async fn receive_at(
    db: &Database,
    process: &Member,
    bind: SocketAddr,
    wake: &Signal,
    drain: &CancellationToken,
) -> io::Result<()> {
    let socket = bound(bind).await?;
    let listener = Listener { address: socket.local_addr()?, token: Uuid::new_v4() };
    let registration = Registration { id: process.id, name: &process.name, listener };
    tokio::select! {
        () = drain.cancelled() => {
            // Who does not hear of it sends datagrams that nobody takes.
            let _ = timeout(WITHDRAW_WAIT, registration.withdraw(db)).await;
            Ok(())
        }
        () = stay_registered(db, &registration) => Ok(()),
        error = hear(&socket, listener.token, wake) => Err(error),
    }
}

/// A socket that sends at once: before it is known to be writable, a try to send does nothing.
async fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).await?;
    socket.writable().await?;
    Ok(socket)
}

/// Goes on for ever: an unavailable database is asked again.
async fn stay_registered(db: &Database, registration: &Registration<'_>) {
    let mut is_known = false;
    loop {
        let done = async {
            if !is_known || !registration.renew(db).await? {
                registration.register(db).await?;
            }
            Ok(())
        };
        match within(ANSWER_WAIT, done).await {
            Ok(()) => is_known = true,
            Err(error) => tracing::debug!(%error, "could not tell the others where to send wake-ups"),
        }
        sleep(if is_known { PULSE } else { REOPEN }).await;
    }
}

/// Returns only when the socket fails.
async fn hear(socket: &UdpSocket, token: Uuid, wake: &Signal) -> io::Error {
    // One byte more than a token: what is longer differs.
    let mut datagram = [0; 17];
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((length, from)) if is_token(&datagram[..length], token) => {
                wake.send();
                // An answer that is lost is missed by nobody.
                let _ = socket.try_send_to(token.as_bytes(), from);
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

fn is_token(datagram: &[u8], token: Uuid) -> bool {
    datagram.ct_eq(token.as_bytes()).into()
}

/// Sends datagrams to those that listen.
pub(super) struct Sender {
    db: Database,
    sockets: Sockets,
    peers: Vec<Peer>,
    refreshed: Instant,
}

struct Peer {
    listener: Listener,
    /// Sent since its last answer; `None` before its first one.
    unanswered: Option<u32>,
}

impl Sender {
    pub(super) fn new(db: Database) -> Self {
        Self { db, sockets: Sockets::default(), peers: Vec::new(), refreshed: Instant::now() }
    }

    /// Sends to all. Returns whether all of them have been answering, and there is one.
    pub(super) fn reaches_all(&mut self) -> bool {
        self.take_answers();
        for peer in &mut self.peers {
            self.sockets.send(peer.listener);
            peer.unanswered = peer.unanswered.map(|unanswered| unanswered.saturating_add(1));
        }
        !self.peers.is_empty() && self.peers.iter().all(Peer::is_reached)
    }

    /// When who listens may be read again.
    pub(super) fn refresh_at(&self) -> Instant {
        self.refreshed + if self.peers.is_empty() { REFRESH_ALONE } else { REFRESH }
    }

    /// Reads again who listens, and wakes those that are new: something was stored since the last time.
    pub(super) async fn refresh(&mut self) {
        self.refreshed = Instant::now();
        match within(ANSWER_WAIT, listeners(&self.db)).await {
            Ok(listeners) => self.know(&listeners).await,
            Err(error) => tracing::debug!(%error, "could not read who takes wake-ups"),
        }
    }

    async fn know(&mut self, listeners: &[Listener]) {
        self.sockets.open(listeners).await;
        self.peers.retain(|peer| listeners.contains(&peer.listener));
        for listener in listeners {
            if self.peers.iter().all(|peer| peer.listener != *listener) {
                self.sockets.send(*listener);
                self.peers.push(Peer { listener: *listener, unanswered: None });
            }
        }
    }

    fn take_answers(&mut self) {
        let mut answer = [0; 17];
        for socket in [&self.sockets.ipv4, &self.sockets.ipv6].into_iter().flatten() {
            while let Ok((length, from)) = socket.try_recv_from(&mut answer) {
                for peer in &mut self.peers {
                    if peer.listener.address == from && is_token(&answer[..length], peer.listener.token) {
                        peer.unanswered = Some(0);
                    }
                }
            }
        }
    }
}

impl Peer {
    fn is_reached(&self) -> bool {
        self.unanswered.is_some_and(|unanswered| unanswered <= UNANSWERED_MAX)
    }
}

/// One for each version of the protocol that is needed.
#[derive(Default)]
struct Sockets {
    ipv4: Option<UdpSocket>,
    ipv6: Option<UdpSocket>,
}

impl Sockets {
    async fn open(&mut self, listeners: &[Listener]) {
        let needs = |ipv4| listeners.iter().any(|listener| listener.address.is_ipv4() == ipv4);
        if self.ipv4.is_none() && needs(true) {
            self.ipv4 = bound((Ipv4Addr::UNSPECIFIED, 0).into()).await.ok();
        }
        if self.ipv6.is_none() && needs(false) {
            self.ipv6 = bound((Ipv6Addr::UNSPECIFIED, 0).into()).await.ok();
        }
    }

    /// A datagram that does not go out is not answered.
    fn send(&self, Listener { address, token }: Listener) {
        let socket = if address.is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        let _ = socket.as_ref().map(|socket| socket.try_send_to(token.as_bytes(), address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_token_wakes_and_only_it_is_answered() {
        let (wake, token) = (Signal::default(), Uuid::new_v4());
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let (address, mut wakes) = (socket.local_addr().expect("bound"), wake.listen());
        let hearing = tokio::spawn(async move { hear(&socket, token, &wake).await });
        let caller = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let longer = [token.as_bytes().as_slice(), b"x"].concat();
        for forged in [b"".as_slice(), Uuid::new_v4().as_bytes(), &longer, &token.as_bytes()[..15], token.as_bytes()] {
            caller.send_to(forged, address).await.expect("sent");
        }
        let mut answer = [0; 32];
        let length = caller.recv(&mut answer).await.expect("an answer");
        assert_eq!(&answer[..length], token.as_bytes(), "the last one, and no other");
        wakes.heard().await;
        assert!(caller.try_recv(&mut answer).is_err());
        hearing.abort();
    }
}
