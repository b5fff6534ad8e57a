//! A proxy in front of a Kafka broker. Closing it simulates an outage of a broker that is not ours to stop.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::TcpStream,
};

use crate::lab::listener::Listener;

/// The longest answer that is forwarded, in bytes. Answers to producers are short.
const ANSWER_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// Names of a local broker. Both are as long as their replacement, so that answers keep their length.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];

/// The broker's names in its answers, and the replacement: a client connects where answers send it.
type Names = (Vec<Vec<u8>>, Vec<u8>);

/// Forwards from a port of its own to the broker at `port`, until it is dropped.
pub(super) fn before(port: u16) -> io::Result<Listener> {
    let broker_at = |host: &str, port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
    let ours = HOSTS.map(|host| broker_at(host, port)).to_vec();
    Listener::local(move |client| {
        let ours = ours.clone();
        async move {
            let names = (ours, broker_at(HOSTS[0], client.local_addr()?.port()));
            forward(client, port, &names).await
        }
    })
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
