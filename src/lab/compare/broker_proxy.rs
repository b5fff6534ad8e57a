//! A proxy in front of a Kafka broker. Closing it simulates an outage of a broker that is not ours to stop.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// The longest answer that is forwarded, in bytes. Answers to producers are short.
const ANSWER_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// Names of a local broker. Both are as long as their replacement, so that answers keep their length.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];

/// Forwards from a port of its own to a broker, until it is dropped.
pub(super) struct BrokerProxy {
    addr: SocketAddr,
    is_open: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// The broker's names in its answers, and the replacement: a client connects where answers send it.
type Names = (Vec<Vec<u8>>, Vec<u8>);

impl BrokerProxy {
    pub(super) async fn before(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((HOSTS[0], 0)).await?;
        let addr = listener.local_addr()?;
        let broker_at = |host: &str, port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let names = Arc::new((HOSTS.map(|host| broker_at(host, port)).to_vec(), broker_at(HOSTS[0], addr.port())));
        let is_open = watch::Sender::new(true);
        let accepting = tokio::spawn(accept(listener, port, names, is_open.subscribe()));
        Ok(Self { addr, is_open, accepting })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens or closes the proxy. Closed, it cuts all connections, also new ones.
    pub(super) fn open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }
}

impl Drop for BrokerProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, names: Arc<Names>, is_open: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let (names, mut is_open) = (Arc::clone(&names), is_open.clone());
        tokio::spawn(async move {
            tokio::select! {
                // When this ends, for whatever reason, the connection ends.
                _ = forward(client, port, &names) => {}
                _ = is_open.wait_for(|is_open| !is_open) => {}
            }
        });
    }
}

async fn forward(mut client: TcpStream, port: u16, names: &Names) -> io::Result<()> {
    let mut broker = TcpStream::connect((HOSTS[0], port)).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (mut requests, to_client) = client.split();
    let (answers, mut to_broker) = broker.split();
    tokio::select! {
        done = copy(&mut requests, &mut to_broker) => done.map(drop),
        done = rename(answers, to_client, names) => done,
    }
}

/// Copies answers and replaces the broker's address. Each answer is a frame behind its length in four bytes (Kafka's
/// protocol guide, "Common Request and Response Structure"). A frame contains a broker as its host name followed by its
/// port in four bytes.
async fn rename(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, names: &Names) -> io::Result<()> {
    let (ours, theirs) = names;
    loop {
        let length = usize::try_from(from.read_u32().await?).map_err(io::Error::other)?;
        if length > ANSWER_LENGTH_MAX {
            return Err(io::Error::other("this is not Kafka's protocol"));
        }
        let mut frame = vec![0; length];
        from.read_exact(&mut frame).await?;
        for name in ours {
            while let Some(at) = frame.windows(name.len()).position(|window| window == name) {
                frame[at..at + name.len()].copy_from_slice(theirs);
            }
        }
        to.write_u32(u32::try_from(length).map_err(io::Error::other)?).await?;
        to.write_all(&frame).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_name_the_proxy_instead_of_the_broker() {
        let name = |port: u16| [&b"127.0.0.1"[..], &u32::from(port).to_be_bytes()].concat();
        let answer = [&b"\0\0\0\x1chead"[..], &name(9092), b"after it .."].concat();
        let mut read = vec![];
        let end = rename(&answer[..], &mut read, &(vec![name(9092)], name(4711))).await;
        assert_eq!(end.expect_err("an end").kind(), io::ErrorKind::UnexpectedEof, "it ends with the connection");
        assert_eq!(read, [&b"\0\0\0\x1chead"[..], &name(4711), b"after it .."].concat());
    }
}
