//! The clients. Most are patient; some hang up at any moment; some have a key and repeat the call; some cancel their
//! quote.

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
use crate::lab::testbed;

/// One submission in this many is poison, a batch, cancelled, or abandoned by its client.
const POISON_ONE_IN: u32 = 25;
const BATCH_ONE_IN: u32 = 10;
const CANCEL_ONE_IN: u32 = 12;
const HANG_UP_ONE_IN: u32 = 8;
const BATCH_SIZE: u32 = 4;
/// The longest time, in milliseconds, after which a client hangs up.
const HANG_UP_MS_MAX: u64 = 40;
/// How often a client repeats a call that got no final answer.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub client: Client,
    pub api: String,
    /// Part of every customer's name, so that runs do not share customers.
    pub name: String,
    /// Submissions in total, and per second.
    pub submissions: u32,
    pub rate: f64,
    pub poison: bool,
    pub hang_up: bool,
    pub seed: u64,
}

/// A submission, and what its client knows about it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Submission {
    /// One customer per quote; no other submission has it.
    pub customers: Vec<String>,
    pub keyed: bool,
    /// How often the client hung up without an answer.
    pub hung_up: u32,
    /// The quotes of each `201`.
    pub accepted: Vec<Vec<Uuid>>,
    /// The last answer said that nothing is stored, and every earlier call was answered.
    pub refused: bool,
    /// The quote whose cancellation was confirmed (`200`).
    pub cancelled: Option<Uuid>,
    /// The quote that the client tried to cancel, whatever the answer.
    pub cancelling: Option<Uuid>,
}

enum Answer {
    Accepted(Vec<Uuid>),
    /// Final: nothing is stored.
    Refused,
    /// No final answer.
    Retry,
}

impl Clients {
    /// Submits at a steady rate, whatever the answers to earlier submissions, and returns when all clients are done.
    pub async fn run(&self) -> Vec<Submission> {
        let begun = Instant::now();
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0xC11E);
        let mut all = JoinSet::new();
        for number in 0..self.submissions {
            sleep_until(begun + Duration::from_secs_f64(f64::from(number) / self.rate)).await;
            let one = TestClient::new(self, number, &mut rng);
            all.spawn(one.run());
        }
        all.join_all().await
    }
}

struct TestClient {
    client: Client,
    api: String,
    key: Option<String>,
    hang_up_after: Option<Duration>,
    cancel_after: Option<Duration>,
    known: Submission,
}

impl TestClient {
    fn new(clients: &Clients, number: u32, rng: &mut StdRng) -> Self {
        let mut one_in = |times: u32| rng.random_range(0..times) == 0;
        let (batch, poison, keyed) = (one_in(BATCH_ONE_IN), one_in(POISON_ONE_IN), one_in(2));
        let (hangs_up, cancels) = (one_in(HANG_UP_ONE_IN) && clients.hang_up, one_in(CANCEL_ONE_IN));
        let size = if batch { BATCH_SIZE } else { 1 };
        // Only the first of a batch is poison: its neighbours must be settled all the same.
        let poison = (poison && clients.poison).then(|| KINDS[rng.random_range(0..KINDS.len())]);
        let name = |place: u32| match poison.filter(|_| place == 0) {
            Some(kind) => format!("{POISON}{kind}-{}-{number}", clients.name),
            None => format!("{}-{number}-{place}", clients.name),
        };
        Self {
            client: clients.client.clone(),
            api: clients.api.clone(),
            key: keyed.then(|| format!("{}-{number}", clients.name)),
            hang_up_after: hangs_up.then(|| Duration::from_micros(rng.random_range(0..HANG_UP_MS_MAX * 1_000))),
            cancel_after: cancels.then(|| Duration::from_millis(rng.random_range(0..3_000))),
            known: Submission { customers: (0..size).map(name).collect(), keyed, ..Submission::default() },
        }
    }

    async fn run(mut self) -> Submission {
        let unanswered = match self.hang_up_after {
            Some(hang_up_after) => self.submit_and_hang_up(hang_up_after).await,
            None => false,
        };
        // Without a key the client must not repeat a call that may have been received.
        if self.key.is_some() || self.hang_up_after.is_none() {
            self.ask(unanswered).await;
        }
        if self.key.is_some() && !self.known.accepted.is_empty() {
            // A repeated call with the same key must get the same answer.
            self.ask(true).await;
        }
        if let (Some(after), Some(quote)) = (self.cancel_after, self.quote()) {
            sleep(after).await;
            self.cancel(quote).await;
        }
        self.known
    }

    /// Returns whether the call got no answer.
    async fn submit_and_hang_up(&mut self, hang_up_after: Duration) -> bool {
        match timeout(hang_up_after, self.submit()).await {
            Ok(Answer::Accepted(quotes)) => self.known.accepted.push(quotes),
            Ok(Answer::Refused) => self.known.refused = true,
            Ok(Answer::Retry) => return true,
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
                Answer::Retry => unanswered = true,
            }
            if self.key.is_none() {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn submit(&self) -> Answer {
        let quotes: Vec<_> = self.known.customers.iter().map(|customer| testbed::quote(customer)).collect();
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
                Err(_) => Answer::Retry,
            },
            Ok(answer) if is_final(answer.status()) => Answer::Refused,
            _ => Answer::Retry,
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
                // The fee server had refused the quote before.
                Ok(StatusCode::CONFLICT) => return,
                _ => sleep(PAUSE).await,
            }
        }
    }
}

impl Submission {
    /// All quotes that the client saw accepted.
    pub fn quotes(&self) -> BTreeSet<Uuid> {
        self.accepted.iter().flatten().copied().collect()
    }
}

/// Whether repeating the call cannot change the answer.
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
