//! One HTTP call, as the ingress reads it from the wire.

use std::io;

use reqwest::Method;
use serde::Deserialize;
use tokio::{io::AsyncReadExt, net::TcpStream};
use url::Url;
use uuid::Uuid;

/// The longest call that is read, in bytes. Calls of Feebox are far shorter.
const LENGTH_MAX: usize = 64 * 1024;

/// An HTTP/1.1 call with a body of known length; Feebox makes no others.
pub(super) struct Call {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Fee(Uuid),
    Void(Uuid),
    LookUp,
    Other,
}

/// The part of a body that the ingress reads.
#[derive(Deserialize)]
pub(super) struct Content {
    pub quote_id: Uuid,
    #[serde(default)]
    pub customer_id: String,
    #[serde(default)]
    pub currency: String,
}

impl Call {
    /// Reads the next call; `None` when the client has hung up. `buffer` keeps the bytes after it.
    pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let head = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !more(stream, buffer).await? {
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
        buffer.drain(..head + 4);
        let mut call = Self::parse(&text).ok_or(io::ErrorKind::InvalidData)?;
        let length = call.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while buffer.len() < length {
            if !more(stream, buffer).await? {
                return Ok(None);
            }
        }
        call.body = buffer.drain(..length).collect();
        Ok(Some(call))
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self { method, path, headers: lines.filter_map(header).collect(), body: Vec::new() })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body, if it is about a quote.
    pub fn content(&self) -> Option<Content> {
        serde_json::from_slice(&self.body).ok()
    }

    pub fn kind(&self) -> RequestKind {
        let quote = self.content().map(|content| content.quote_id);
        match (&self.method, self.path.as_str(), quote) {
            (&Method::POST, "/v1/fees", Some(quote)) => RequestKind::Fee(quote),
            (&Method::POST, "/v1/fees/void", Some(quote)) => RequestKind::Void(quote),
            (&Method::GET, path, _) if path.starts_with("/v1/fees?") && path.contains("quote_id=") => {
                RequestKind::LookUp
            }
            _ => RequestKind::Other,
        }
    }

    /// The same call to the server at `target`.
    pub fn forward(self, client: &reqwest::Client, target: &Url) -> Option<reqwest::RequestBuilder> {
        let mut call = client.request(self.method, target.join(&self.path).ok()?).body(self.body);
        for (name, value) in &self.headers {
            if !matches!(name.as_str(), "host" | "connection" | "content-length") {
                call = call.header(name, value);
            }
        }
        Some(call)
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    if buffer.len() > LENGTH_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(stream.read_buf(buffer).await? > 0)
}
