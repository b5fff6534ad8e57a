//! An answer, and how much of it is sent.

use std::{fmt::Write as _, io};

use tokio::{io::AsyncWriteExt, net::TcpStream};

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub content_type: String,
    /// Further header lines, each with its line end.
    pub headers: String,
    pub body: Vec<u8>,
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Complete; the connection can serve another call.
    Whole,
    /// The connection ends after this many bytes of the body, although a length was announced.
    Short(usize),
    /// No length was announced, and the connection ends in good order after this many bytes of the body.
    Unmeasured(usize),
    /// A reset without a byte.
    Reset,
}

impl Reply {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let (content_type, headers) = (content_type.to_owned(), String::new());
        Self { status, content_type, headers, body: body.into(), ending: Ending::Whole }
    }

    pub fn page(status: u16, title: &str) -> Self {
        Self::new(status, "text/html", format!("<!doctype html><html><title>{title}</title><h1>{title}</h1></html>\n"))
    }

    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Writes the answer as far as its ending allows, and returns whether the connection can serve another call.
    pub async fn write(self, stream: &mut TcpStream) -> io::Result<bool> {
        let Self { status, content_type, headers, body, ending } = self;
        let mut head = format!("HTTP/1.1 {status} Answer\r\n{headers}");
        if !content_type.is_empty() {
            let _ = write!(head, "content-type: {content_type}\r\n");
        }
        let length = match ending {
            Ending::Whole => {
                // A 204 has no body and no length.
                if status != 204 {
                    let _ = write!(head, "content-length: {}\r\n", body.len());
                }
                body.len()
            }
            Ending::Short(length) => {
                let _ = write!(head, "content-length: {}\r\n", body.len());
                length.min(body.len())
            }
            Ending::Unmeasured(length) => {
                head.push_str("connection: close\r\n");
                length.min(body.len())
            }
            Ending::Reset => {
                // With this option, closing sends a reset.
                let _ = stream.set_zero_linger();
                return Ok(false);
            }
        };
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), &body[..length]].concat()).await?;
        Ok(ending == Ending::Whole)
    }
}
