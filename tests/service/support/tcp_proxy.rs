use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A network between two programs that a test can break. It lives on the runtime of the test that started it, and when
/// dropped it closes all its connections.
pub struct Proxy {
    addr: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    state: watch::Sender<State>,
}

/// What is read where the other stands, in bytes of the same number.
type Names = (Vec<u8>, Vec<u8>);

#[derive(Clone, Copy)]
struct State {
    flow: Flow,
    cuts: u64,
    /// How often all connections of that time were forgotten.
    forgets: u64,
    /// How long each direction takes.
    way: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Held,
    AnswersLost,
    AllLost,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

impl Proxy {
    /// Forwards from a free port to `target`.
    pub async fn start(target: SocketAddr) -> Proxy {
        Proxy::start_naming(target, |_| None).await
    }

    /// Forwards to a Kafka broker, whose clients go where its answers send them: where these name the broker, the client
    /// reads the proxy's name.
    pub async fn before_kafka(broker: SocketAddr) -> Proxy {
        Proxy::start_naming(broker, |proxy| Some((name(broker), name(proxy)))).await
    }

    /// The same for clients that reach the proxy by way of `front`: they read that name.
    pub async fn between(front: SocketAddr, broker: SocketAddr) -> Proxy {
        Proxy::start_naming(broker, |_| Some((name(broker), name(front)))).await
    }

    async fn start_naming(target: SocketAddr, names: impl Fn(SocketAddr) -> Option<Names>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = watch::Sender::new(State { flow: Flow::Open, cuts: 0, forgets: 0, way: Duration::ZERO });
        let names = names(addr).map(Arc::new);
        let target = Arc::new(Mutex::new(target));
        tokio::spawn(listen(listener, Arc::clone(&target), names, state.subscribe()));
        Proxy { addr, target, state }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resets all connections that are open now; later ones go through.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Holds back all bytes, and the ends of connections, until `resume`. Nothing is lost.
    pub fn pause(&self) {
        self.state.send_modify(|state| state.flow = Flow::Held);
    }

    /// Lets the bytes flow that come from now on, and those that `pause` held back.
    pub fn resume(&self) {
        self.state.send_modify(|state| state.flow = Flow::Open);
    }

    /// Swallows all bytes: connections open, and nothing is ever answered.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| state.flow = Flow::AllLost);
    }

    /// Forgets the connections that are open now, as a router does that was started anew: what comes on them is swallowed,
    /// and neither end is told. Later ones go through.
    pub fn forget(&self) {
        self.state.send_modify(|state| state.forgets += 1);
    }

    /// Later connections lead to `target`; those that are open stay where they are.
    pub fn switch(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }

    /// Bytes that come from now on take this time for both ways together, however many are under way.
    pub fn delay(&self, round_trip: Duration) {
        self.state.send_modify(|state| state.way = round_trip / 2);
    }

    /// Lets requests through and swallows the answers: what was asked for happens, and its asker never learns.
    pub fn lose_answers(&self) {
        self.state.send_modify(|state| state.flow = Flow::AnswersLost);
    }
}

/// As Kafka writes it.
fn name(addr: SocketAddr) -> Vec<u8> {
    [addr.ip().to_string().as_bytes(), &u32::from(addr.port()).to_be_bytes()].concat()
}

async fn listen(
    listener: TcpListener,
    target: Arc<Mutex<SocketAddr>>,
    names: Option<Arc<Names>>,
    state: watch::Receiver<State>,
) {
    let mut dropped = state.clone();
    let accept = async {
        while let Ok((client, _)) = listener.accept().await {
            let target = *target.lock().unwrap();
            tokio::spawn(connect(client, target, names.clone(), state.clone()));
        }
    };
    tokio::select! {
        () = accept => {}
        _ = dropped.wait_for(|_| false) => {}
    }
}

async fn connect(
    mut client: TcpStream,
    target: SocketAddr,
    names: Option<Arc<Names>>,
    mut state: watch::Receiver<State>,
) {
    let State { cuts, forgets, .. } = *state.borrow();
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let in_good_order = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = pump(Direction::Request, from_client, to_server, None, (state.clone(), forgets));
        let answers = pump(Direction::Answer, from_server, to_client, names.as_deref(), (state.clone(), forgets));
        tokio::select! {
            ended = async { tokio::try_join!(requests, answers) } => ended.is_ok(),
            _ = state.wait_for(|now| now.cuts != cuts) => false,
        }
    };
    if !in_good_order {
        // Then closing is a reset, not an end.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Carries one direction of a connection to its end.
async fn pump(
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    names: Option<&Names>,
    (mut state, forgets): (watch::Receiver<State>, u64),
) -> io::Result<()> {
    let (on_its_way, mut arrivals) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let way = state.clone();
    let depart = async move {
        loop {
            let mut bytes = vec![0; 16 * 1024];
            let length = from.read(&mut bytes).await?;
            bytes.truncate(length);
            let arrives = Instant::now() + way.borrow().way;
            if on_its_way.send((arrives, bytes)).is_err() || length == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let arrive = async move {
        while let Some((arrives, mut bytes)) = arrivals.recv().await {
            if arrives > Instant::now() {
                tokio::time::sleep_until(arrives).await;
            }
            let flow = state.wait_for(|now| now.flow != Flow::Held).await;
            let State { flow, forgets: forgets_now, .. } = *flow.map_err(io::Error::other)?;
            let lost = match direction {
                _ if forgets != forgets_now => true,
                Direction::Request => flow == Flow::AllLost,
                Direction::Answer => flow != Flow::Open,
            };
            match bytes.len() {
                0 if lost => return Ok(()),
                0 => return to.shutdown().await,
                _ if lost => {}
                _ => {
                    if let Some(names) = names {
                        rename(&mut bytes, names);
                    }
                    to.write_all(&bytes).await?;
                }
            }
        }
        Ok(())
    };
    tokio::try_join!(depart, arrive).map(drop)
}

fn rename(bytes: &mut [u8], (from, to): &Names) {
    assert_eq!(from.len(), to.len());
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}
