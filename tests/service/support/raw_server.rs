use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the next request gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, further header lines, body.
    Answer(u16, &'static [&'static str], String),
    /// These bytes, head and all; then the connection is closed.
    Bytes(Vec<u8>),
    /// The connection is closed in place of an answer.
    Cut,
    /// There is never an answer.
    Hang,
}

/// An HTTP server that says byte for byte what a test wants, one reply a request and connection, and remembers what it
/// was sent.
pub struct RawServer {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl RawServer {
    /// Replies with `replies` in turn; the last one is repeated.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> RawServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let mut replies: Vec<_> = replies.into_iter().collect();
        replies.reverse();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let reply = if replies.len() > 1 { replies.pop().unwrap() } else { replies[0].clone() };
                tokio::spawn(serve(stream, reply, Arc::clone(&seen)));
            }
        });
        RawServer { addr, requests }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Whole requests: request line, headers, body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = vec![];
    let mut buffer = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    match reply {
        Reply::Answer(status, headers, body) => {
            let headers = headers.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(body.as_bytes()).await;
        }
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Cut => {}
        Reply::Hang => std::future::pending().await,
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}
