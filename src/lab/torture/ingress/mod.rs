//! What stands before a fee server: an ingress that hands calls on, and at times answers in the fee server's place.
//!
//! It speaks HTTP by hand: a web framework does not let an answer end where it should not.

mod call;
mod door;
mod poison;
mod record;
mod reply;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt;
use reqwest::Client;
use tokio::{net::TcpStream, sync::watch};
use url::Url;

pub(super) use poison::{KINDS, POISON};
pub use record::Tally;

use call::{Call, Wish};
use door::Door;
use record::Record;
use reply::{Ending, Reply};

/// How long the fee server may take, in the eyes of the ingress. Longer than in Feebox's.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running ingress. It lives on the runtime that it was started on; dropped, it closes all connections.
pub(super) struct Ingress {
    inner: Arc<Inner>,
    door: Door,
}

struct Inner {
    target: Url,
    client: Client,
    mood: watch::Sender<Mood>,
    record: Mutex<Record>,
}

/// How it answers at present.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mood {
    /// The page that answers every call.
    pub page: Option<Page>,
    /// Seconds of the Retry-After that comes with 429 to every call that changes something.
    pub retry_after: Option<u64>,
    /// The share of answers that are cut.
    pub cut_rate: f64,
    /// Whether some customers are poison.
    pub poison: bool,
}

/// What an ingress has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// No route: a deploy is under way.
    NotFound,
    /// The same, by a gateway that answers JSON.
    NotFoundJson,
    /// Down for maintenance, and 200 all the same.
    Maintenance,
    /// Down for maintenance, and 503.
    Unavailable,
    /// To the log-in page.
    Redirect,
}

impl Ingress {
    /// Listens on a free port of this machine, before the fee server at `target`.
    pub async fn start(target: &str) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(PATIENCE).no_proxy().tcp_nodelay(true).build()?;
        let (target, mood) = (target.parse()?, watch::Sender::new(Mood::default()));
        let inner = Arc::new(Inner { target, client, mood, record: Mutex::default() });
        let serving = Arc::clone(&inner);
        let door = Door::open(move |stream| serve(Arc::clone(&serving), stream)).await?;
        Ok(Self { inner, door })
    }

    /// What `fee_server.base_url` must say to reach it.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr())
    }

    fn addr(&self) -> SocketAddr {
        self.door.addr()
    }

    /// Answers differently from now on.
    pub fn change(&self, change: impl FnOnce(&mut Mood)) {
        self.inner.mood.send_modify(change);
    }

    /// Cuts all connections, and refuses new ones until [`open`](Self::open).
    pub fn shut(&self) {
        self.door.shut(true);
    }

    /// Takes calls again.
    pub fn open(&self) {
        self.door.shut(false);
    }

    /// A process was thawed: what it was about to send before it froze may come now, however late.
    pub fn expect_late_calls(&self) {
        locked(&self.inner.record).thawed();
    }

    /// What was seen so far.
    pub fn tally(&self) -> Tally {
        locked(&self.inner.record).tally()
    }
}

/// Answers the calls of one connection.
async fn serve(inner: Arc<Inner>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(call) = Call::read(&mut stream, &mut buffer).await? {
        let wish = call.wish();
        locked(&inner.record).arrive(wish);
        let reply = inner.answer(call, wish).await;
        if let Wish::Void(quote) = wish
            && reply.confirms_a_void()
        {
            // Before it is written: what Feebox does next it does later.
            locked(&inner.record).voided(quote);
        }
        if !reply.write(&mut stream).await? {
            break;
        }
    }
    Ok(())
}

impl Inner {
    async fn answer(&self, call: Call, wish: Wish) -> Reply {
        let mood = *self.mood.borrow();
        if let Some(page) = mood.page {
            locked(&self.record).pages += 1;
            return page.reply_to(wish);
        }
        if let (Some(seconds), Wish::Fee(_) | Wish::Void(_)) = (mood.retry_after, wish) {
            locked(&self.record).throttled += 1;
            return Reply::json(429, r#"{"detail":"slow down"}"#).with("retry-after", &seconds.to_string());
        }
        if let (true, Wish::Fee(_)) = (mood.poison, wish)
            && let Some(reply) = call.content().and_then(|content| poison::answer(&content))
        {
            locked(&self.record).poisonous += 1;
            return reply;
        }
        let reply = self.forward(call).await;
        if reply.ending == Ending::Whole && !reply.body.is_empty() && rand::random::<f64>() < mood.cut_rate {
            locked(&self.record).cut += 1;
            return cut(reply);
        }
        reply
    }

    async fn forward(&self, call: Call) -> Reply {
        let Some(call) = call.forward(&self.client, &self.target) else { return Reply::page(400, "Bad Request") };
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Reply::page(502, "Bad Gateway"),
            // A proxy of connections rather than of calls hands a reset on.
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

/// The answer is there, and does not arrive as it should.
fn cut(reply: Reply) -> Reply {
    let length = reply.body.len();
    let mut dice = rand::rng();
    match dice.random_range(0..4) {
        0 => reply.ending(Ending::Short(length - 1)),
        1 => reply.ending(Ending::Unmeasured(length - 1)),
        2 => reply.ending(Ending::Unmeasured(dice.random_range(0..length))),
        _ => Reply::page(502, "Bad Gateway"),
    }
}

impl Page {
    pub const ALL: [Self; 5] =
        [Self::NotFound, Self::NotFoundJson, Self::Maintenance, Self::Unavailable, Self::Redirect];

    fn reply_to(self, wish: Wish) -> Reply {
        match self {
            // By the contract a 404 in JSON is the fee server's own word that there is nothing to void.
            Self::NotFoundJson if matches!(wish, Wish::Void(_)) => Reply::page(404, "404 Not Found"),
            Self::NotFound => Reply::page(404, "404 Not Found"),
            Self::NotFoundJson => Reply::json(404, r#"{"message":"no Route matched with those values"}"#),
            Self::Maintenance => Reply::page(200, "Down for maintenance"),
            Self::Unavailable => Reply::page(503, "Service Unavailable"),
            Self::Redirect => Reply::page(302, "Found").with("location", "/login"),
        }
    }
}

impl Reply {
    /// Whether Feebox may take the fee for voided.
    fn confirms_a_void(&self) -> bool {
        let json = self.content_type.contains("json");
        self.ending == Ending::Whole && (self.status == 204 || ([200, 404].contains(&self.status) && json))
    }
}

/// Every lock here guards plain data that is whole between any two statements.
fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
