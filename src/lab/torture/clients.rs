//! Clients: most are patient, some hang up at any instant, some have a key and ask again, some take their quote back.

use std::{collections::BTreeSet, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use super::ingress::{KINDS, POISON};

/// One submission in so many is poison, a batch, or taken back.
const POISON_ONE_IN: u32 = 25;
const BATCH_ONE_IN: u32 = 10;
const CANCEL_ONE_IN: u32 = 12;
const HANG_UP_ONE_IN: u32 = 8;
const BATCH_SIZE: u32 = 4;
/// The longest that a client stays that hangs up.
const STAY_MS: u64 = 40;
/// Times that a client asks who wants an answer.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_millis(500);

/// The clients of one run.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub client: Client,
    /// The base URL of the API.
    pub api: String,
    /// What customers' names begin with, or continue with.
    pub name: String,
    /// Submissions in all, and a second.
    pub submissions: u32,
    pub rate: f64,
    pub poison: bool,
    pub hang_up: bool,
    pub seed: u64,
}

/// A submission, and what its client knows of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Submission {
    /// One a quote; no other submission has them.
    pub customers: Vec<String>,
    pub keyed: bool,
    /// Times that the client hung up without an answer.
    pub hung_up: u32,
    /// The quotes of each `201`.
    pub accepted: Vec<Vec<Uuid>>,
    /// The last answer said that it will never be stored, and no earlier call went unanswered.
    pub refused: bool,
    /// The client was told that this quote is cancelled.
    pub cancelled: Option<Uuid>,
    /// The client asked for this quote to be cancelled, whatever it was told.
    pub cancelling: Option<Uuid>,
}

/// What a call came to.
enum Answer {
    Accepted(Vec<Uuid>),
    /// It will never be stored.
    Refused,
    /// Not now, or nobody knows.
    Again,
}

impl Clients {
    /// Submits at a steady rate, whatever becomes of those before, and returns when each client has what it wants.
    pub async fn run(&self) -> Vec<Submission> {
        let begun = Instant::now();
        let mut dice = StdRng::seed_from_u64(self.seed ^ 0xC11E);
        let mut all = JoinSet::new();
        for number in 0..self.submissions {
            sleep_until(begun + Duration::from_secs_f64(f64::from(number) / self.rate)).await;
            let one = One::new(self, number, &mut dice);
            all.spawn(one.run());
        }
        all.join_all().await
    }
}

/// One client with one submission.
struct One {
    client: Client,
    api: String,
    key: Option<String>,
    stay: Option<Duration>,
    cancel_after: Option<Duration>,
    known: Submission,
}

impl One {
    fn new(clients: &Clients, number: u32, dice: &mut StdRng) -> Self {
        let mut one_in = |times: u32| dice.random_range(0..times) == 0;
        let (batch, poison, keyed) = (one_in(BATCH_ONE_IN), one_in(POISON_ONE_IN), one_in(2));
        let (hangs_up, cancels) = (one_in(HANG_UP_ONE_IN) && clients.hang_up, one_in(CANCEL_ONE_IN));
        let size = if batch { BATCH_SIZE } else { 1 };
        // The first of a batch alone: its neighbours are to be settled all the same.
        let poison = (poison && clients.poison).then(|| KINDS[dice.random_range(0..KINDS.len())]);
        let name = |place: u32| match poison.filter(|_| place == 0) {
            Some(kind) => format!("{POISON}{kind}-{}-{number}", clients.name),
            None => format!("{}-{number}-{place}", clients.name),
        };
        Self {
            client: clients.client.clone(),
            api: clients.api.clone(),
            key: keyed.then(|| format!("{}-{number}", clients.name)),
            stay: hangs_up.then(|| Duration::from_micros(dice.random_range(0..STAY_MS * 1_000))),
            cancel_after: cancels.then(|| Duration::from_millis(dice.random_range(0..3_000))),
            known: Submission { customers: (0..size).map(name).collect(), keyed, ..Submission::default() },
        }
    }

    async fn run(mut self) -> Submission {
        let unanswered = match self.stay {
            Some(stay) => self.hang_up_after(stay).await,
            None => false,
        };
        // Without a key nobody asks again who may have been heard.
        if self.key.is_some() || self.stay.is_none() {
            self.ask(unanswered).await;
        }
        if self.key.is_some() && !self.known.accepted.is_empty() {
            // Whoever asks again gets the same answer.
            self.ask(true).await;
        }
        if let (Some(after), Some(quote)) = (self.cancel_after, self.quote()) {
            sleep(after).await;
            self.cancel(quote).await;
        }
        self.known
    }

    /// Whether the call went unanswered.
    async fn hang_up_after(&mut self, stay: Duration) -> bool {
        match timeout(stay, self.submit()).await {
            Ok(Answer::Accepted(quotes)) => self.known.accepted.push(quotes),
            Ok(Answer::Refused) => self.known.refused = true,
            Ok(Answer::Again) => return true,
            Err(_) => {
                self.known.hung_up += 1;
                return true;
            }
        }
        false
    }

    async fn ask(&mut self, mut unanswered: bool) {
        for _ in 0..TRIES {
            match self.submit().await {
                Answer::Accepted(quotes) => return self.known.accepted.push(quotes),
                Answer::Refused => {
                    self.known.refused = !unanswered;
                    return;
                }
                Answer::Again => unanswered = true,
            }
            if self.key.is_none() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn submit(&self) -> Answer {
        let quotes: Vec<_> = self.known.customers.iter().map(|customer| quote(customer)).collect();
        let (path, body) = match &quotes[..] {
            [one] => ("quotes", one.clone()),
            all => ("quotes:batch", json!({ "quotes": all })),
        };
        let call = self.client.post(format!("{}/v1/{path}", self.api)).json(&body);
        let call = match &self.key {
            Some(key) => call.header("idempotency-key", key),
            None => call,
        };
        match call.send().await {
            Ok(answer) if answer.status() == StatusCode::CREATED => match answer.json::<Value>().await {
                Ok(body) => Answer::Accepted(ids(&body)),
                Err(_) => Answer::Again,
            },
            Ok(answer) if is_final(answer.status()) => Answer::Refused,
            _ => Answer::Again,
        }
    }

    fn quote(&self) -> Option<Uuid> {
        self.known.accepted.first()?.last().copied()
    }

    async fn cancel(&mut self, quote: Uuid) {
        self.known.cancelling = Some(quote);
        for _ in 0..TRIES {
            let call = self.client.post(format!("{}/v1/quotes/{quote}/cancel", self.api)).send().await;
            match call.map(|answer| answer.status()) {
                Ok(StatusCode::OK) => {
                    self.known.cancelled = Some(quote);
                    return;
                }
                // The fee server had refused it before.
                Ok(StatusCode::CONFLICT) => return,
                _ => sleep(PAUSE).await,
            }
        }
    }
}

impl Submission {
    /// Every quote that it was told to be stored.
    pub fn quotes(&self) -> BTreeSet<Uuid> {
        self.accepted.iter().flatten().copied().collect()
    }
}

/// Not one that a try later could change.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && ![StatusCode::CONFLICT, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

fn ids(body: &Value) -> Vec<Uuid> {
    let id = |quote: &Value| quote["id"].as_str().and_then(|id| id.parse().ok());
    match body["quotes"].as_array() {
        Some(quotes) => quotes.iter().filter_map(id).collect(),
        None => id(body).into_iter().collect(),
    }
}

/// A body of `POST /v1/quotes`.
pub(super) fn quote(customer_id: &str) -> Value {
    json!({
        "customer_id": customer_id,
        "currency": "EUR",
        "lines": [{ "description": "a thing", "quantity": 3, "unit_price_minor": 1_999 }],
    })
}
