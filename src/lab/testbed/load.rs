//! The load: submissions at a steady rate, whatever the answers to earlier ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// One submission as its client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `201`: the service says that the quote is stored.
    Accepted(Uuid),
    /// Another status: the service says that it is not stored.
    Refused,
    /// No answer: the client does not know.
    None,
}

impl Sample {
    /// The quote, if it was accepted.
    pub(crate) fn accepted(&self) -> Option<Uuid> {
        match self.answer {
            Answer::Accepted(id) => Some(id),
            Answer::Refused | Answer::None => None,
        }
    }
}

/// Sends `quotes` submissions at `per_second`; customer ids begin with `name`. Open loop: a slow answer delays no other
/// submission.
pub(crate) async fn submit(client: &Client, api: &str, name: &str, quotes: u32, per_second: f64) -> Vec<Sample> {
    let url = format!("{api}/v1/quotes");
    let begun = Instant::now();
    let mut samples = JoinSet::new();
    for number in 0..quotes {
        sleep_until(begun + Duration::from_secs_f64(f64::from(number) / per_second)).await;
        let (client, url) = (client.clone(), url.clone());
        let body = quote_by(&format!("{name}-{number}"), &description(api));
        samples.spawn(async move { submit_once(&client, &url, &body).await });
    }
    samples.join_all().await
}

/// Sends as many submissions as `clients` can within `time`, up to `quotes_max`; each client submits again when it has its answer.
pub(crate) async fn rush(client: &Client, api: &str, clients: u32, time: Duration, quotes_max: u32) -> Vec<Sample> {
    let url = format!("{api}/v1/quotes");
    let end = Instant::now() + time;
    let (sent, mut all) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
    for number in 0..clients {
        let (client, url, sent) = (client.clone(), url.clone(), Arc::clone(&sent));
        let body = quote_by(&format!("rush-{number}"), &description(api));
        all.spawn(async move {
            let mut samples = Vec::new();
            while Instant::now() < end && sent.fetch_add(1, Ordering::Relaxed) < quotes_max {
                samples.push(submit_once(&client, &url, &body).await);
            }
            samples
        });
    }
    all.join_all().await.concat()
}

async fn submit_once(client: &Client, url: &str, body: &Value) -> Sample {
    let begun = Instant::now();
    let answer = ask(client, url, body).await.unwrap_or(Answer::None);
    Sample { answer, took: begun.elapsed() }
}

async fn ask(client: &Client, url: &str, body: &Value) -> reqwest::Result<Answer> {
    #[derive(Deserialize)]
    struct Quote {
        id: Uuid,
    }
    let answer = client.post(url).json(body).send().await?;
    if answer.status() != StatusCode::CREATED {
        return Ok(Answer::Refused);
    }
    Ok(Answer::Accepted(answer.json::<Quote>().await?.id))
}

/// A body of `POST /v1/quotes`.
pub(crate) fn quote(customer_id: &str) -> Value {
    quote_by(customer_id, "a thing")
}

/// What the lines of quotes say that are submitted by `api`: each fleet has one of its own.
pub(crate) fn description(api: &str) -> String {
    format!("a thing ordered at {api}/")
}

fn quote_by(customer_id: &str, description: &str) -> Value {
    json!({
        "customer_id": customer_id,
        "currency": "EUR",
        "lines": [{ "description": description, "quantity": 3, "unit_price_minor": 1_999 }],
    })
}
