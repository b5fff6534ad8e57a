//! An ingress in front of the fee server: it forwards calls, or answers instead.
//!
//! It speaks HTTP by hand, because a web framework does not send malformed answers.

mod call;
mod poison;
mod record;
mod reply;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::RngExt;
use reqwest::Client;
use tokio::{net::TcpStream, sync::watch};
use url::Url;

pub(super) use poison::{KINDS, POISON};
pub use record::Tally;

use crate::lab::listener::Listener;
use call::{Call, RequestKind};
use record::Record;
use reply::{Ending, Reply};

/// The ingress's timeout for the fee server; longer than Feebox's.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running ingress. It runs on the runtime that started it, and closes all connections on drop.
pub(super) struct Ingress {
    inner: Arc<Inner>,
    listener: Listener,
}

struct Inner {
    target: Url,
    client: Client,
    mode: watch::Sender<Mode>,
    record: Mutex<Record>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    /// The page that answers every call.
    pub page: Option<Page>,
    /// Answers 429 with this Retry-After, in seconds, to every call that changes something.
    pub retry_after: Option<u64>,
    /// The share of answers that are cut.
    pub cut_rate: f64,
    /// Whether some customers are poison.
    pub poison: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// No route, as during a deployment.
    NotFound,
    /// The same in JSON, as some gateways answer.
    NotFoundJson,
    /// Maintenance, with status 200.
    Maintenance,
    /// Maintenance, with status 503.
    Unavailable,
    /// A redirect to a login page.
    Redirect,
}

impl Ingress {
    /// Listens on a free local port and forwards to the fee server at `target`.
    pub fn start(target: &str) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(PATIENCE).no_proxy().tcp_nodelay(true).build()?;
        let (target, mode) = (target.parse()?, watch::Sender::new(Mode::default()));
        let inner = Arc::new(Inner { target, client, mode, record: Mutex::default() });
        let serving = Arc::clone(&inner);
        let listener = Listener::local(move |stream| serve(Arc::clone(&serving), stream))?;
        Ok(Self { inner, listener })
    }

    /// What `fee_server.base_url` must say to reach it.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.listener.addr())
    }

    /// Answers differently from now on.
    pub fn change(&self, change: impl FnOnce(&mut Mode)) {
        self.inner.mode.send_modify(change);
    }

    /// Cuts all connections, and refuses new ones until [`open`](Self::open).
    pub async fn shut(&self) -> io::Result<()> {
        self.listener.shut().await
    }

    pub async fn open(&self) -> io::Result<()> {
        self.listener.open().await
    }

    /// Call this before a process continues after a freeze: it may now send a late call.
    pub fn expect_late_calls(&self) {
        self.inner.record.lock().freeze_ended();
    }

    pub fn tally(&self) -> Tally {
        self.inner.record.lock().tally.clone()
    }
}

async fn serve(inner: Arc<Inner>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(call) = Call::read(&mut stream, &mut buffer).await? {
        let kind = call.kind();
        inner.record.lock().arrive(kind);
        let reply = inner.answer(call, kind).await;
        if let RequestKind::Void(quote) = kind
            && reply.confirms_a_void()
        {
            // Record the void before the answer is written, because Feebox may act on the answer at once.
            inner.record.lock().voided(quote);
        }
        if !reply.write(&mut stream).await? {
            break;
        }
    }
    Ok(())
}

impl Inner {
    async fn answer(&self, call: Call, kind: RequestKind) -> Reply {
        let mode = *self.mode.borrow();
        if let Some(page) = mode.page {
            self.record.lock().tally.pages += 1;
            return page.reply_to(kind);
        }
        if let (Some(seconds), RequestKind::Fee(_) | RequestKind::Void(_)) = (mode.retry_after, kind) {
            self.record.lock().tally.throttled += 1;
            return Reply::json(429, r#"{"detail":"slow down"}"#).with("retry-after", &seconds.to_string());
        }
        if let (true, RequestKind::Fee(_)) = (mode.poison, kind)
            && let Some(reply) = call.content().and_then(|content| poison::answer(&content))
        {
            self.record.lock().tally.poisonous += 1;
            return reply;
        }
        let reply = self.forward(call).await;
        if reply.ending == Ending::Whole && !reply.body.is_empty() && rand::random::<f64>() < mode.cut_rate {
            self.record.lock().tally.cut += 1;
            return cut(reply);
        }
        reply
    }

    async fn forward(&self, call: Call) -> Reply {
        let Some(call) = call.forward(&self.client, &self.target) else { return Reply::page(400, "Bad Request") };
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Reply::page(502, "Bad Gateway"),
            // A proxy of connections passes a reset on.
            Err(_) => return Reply::page(502, "").ending(Ending::Reset),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let Ok(body) = answer.bytes().await else { return Reply::page(502, "").ending(Ending::Reset) };
        let reply = Reply::new(status, &header("content-type").unwrap_or_default(), body.to_vec());
        match header("retry-after") {
            Some(wait) => reply.with("retry-after", &wait),
            None => reply,
        }
    }
}

/// Damages an answer.
fn cut(reply: Reply) -> Reply {
    let length = reply.body.len();
    let mut rng = rand::rng();
    match rng.random_range(0..4) {
        0 => reply.ending(Ending::Short(length - 1)),
        1 => reply.ending(Ending::Unmeasured(length - 1)),
        2 => reply.ending(Ending::Unmeasured(rng.random_range(0..length))),
        _ => Reply::page(502, "Bad Gateway"),
    }
}

impl Page {
    pub const ALL: [Self; 5] =
        [Self::NotFound, Self::NotFoundJson, Self::Maintenance, Self::Unavailable, Self::Redirect];

    fn reply_to(self, kind: RequestKind) -> Reply {
        match self {
            // By the contract, a 404 in JSON is the fee server's own answer that there is nothing to void.
            Self::NotFoundJson if matches!(kind, RequestKind::Void(_)) => Reply::page(404, "404 Not Found"),
            Self::NotFound => Reply::page(404, "404 Not Found"),
            Self::NotFoundJson => Reply::json(404, r#"{"message":"no Route matched with those values"}"#),
            Self::Maintenance => Reply::page(200, "Down for maintenance"),
            Self::Unavailable => Reply::page(503, "Service Unavailable"),
            Self::Redirect => Reply::page(302, "Found").with("location", "/login"),
        }
    }
}

impl Reply {
    /// Whether Feebox may count the fee as voided.
    fn confirms_a_void(&self) -> bool {
        let json = self.content_type.contains("json");
        self.ending == Ending::Whole && (self.status == 204 || ([200, 404].contains(&self.status) && json))
    }
}
