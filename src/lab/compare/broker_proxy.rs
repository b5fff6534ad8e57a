//! A proxy in front of each broker of a cluster. Closing them simulates an outage of brokers that are not ours to stop.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::TcpStream,
};

use crate::lab::listener::Listener;

/// The longest answer that is forwarded, in bytes. Answers to producers are short.
const ANSWER_LENGTH_MAX: usize = 64 * 1024 * 1024;
/// Names of a local broker. Both are as long as their replacement, so that answers keep their length.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];

/// The brokers' names in their answers, and the replacement of each: a client connects where answers send it.
type Names = Vec<(Vec<u8>, Vec<u8>)>;

/// Forwards from a port of its own to the broker at each of `ports`, until it is dropped.
pub(super) fn before(ports: &[u16]) -> io::Result<Vec<Listener>> {
    // Known when all of them listen; before that nobody knows where.
    let names = Arc::new(OnceLock::new());
    let proxies = ports.iter().map(|port| {
        let (port, names) = (*port, Arc::clone(&names));
        Listener::local(move |client| {
            let names = Arc::clone(&names);
            async move { forward(client, port, names.get().map_or(&[], Vec::as_slice)).await }
        })
    });
    let proxies = proxies.collect::<io::Result<Vec<_>>>()?;
    let renamed = ports
        .iter()
        .zip(&proxies)
        .flat_map(|(port, proxy)| HOSTS.map(|host| (broker_at(host, *port), broker_at(HOSTS[0], proxy.addr().port()))));
    names.get_or_init(|| renamed.collect::<Names>());
    Ok(proxies)
}

/// As answers contain it: its host name, followed by its port in four bytes.
fn broker_at(host: &str, port: u16) -> Vec<u8> {
    [host.as_bytes(), &u32::from(port).to_be_bytes()].concat()
}

async fn forward(mut client: TcpStream, port: u16, names: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
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

/// Copies answers and replaces the brokers' addresses. Each answer is a frame behind its length in four bytes (Kafka's
/// protocol guide, "Common Request and Response Structure").
async fn rename(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    names: &[(Vec<u8>, Vec<u8>)],
) -> io::Result<()> {
    loop {
        let length = usize::try_from(from.read_u32().await?).map_err(io::Error::other)?;
        if length > ANSWER_LENGTH_MAX {
            return Err(io::Error::other("this is not Kafka's protocol"));
        }
        let mut frame = vec![0; length];
        from.read_exact(&mut frame).await?;
        for (name, replacement) in names {
            while let Some(at) = frame.windows(name.len()).position(|window| window == name) {
                frame[at..at + name.len()].copy_from_slice(replacement);
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
    async fn answers_name_the_proxies_instead_of_the_brokers() {
        let name = |port| broker_at("127.0.0.1", port);
        let answer = [&b"\0\0\0\x29head"[..], &name(9092), &name(9093), b"after it .."].concat();
        let mut read = vec![];
        let end = rename(&answer[..], &mut read, &[(name(9092), name(4711)), (name(9093), name(4712))]).await;
        assert_eq!(end.expect_err("an end").kind(), io::ErrorKind::UnexpectedEof, "it ends with the connection");
        assert_eq!(read, [&b"\0\0\0\x29head"[..], &name(4711), &name(4712), b"after it .."].concat());
    }
}
