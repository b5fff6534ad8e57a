//! The load: submissions at a steady rate, whatever becomes of those before.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// What a submission came to, as its client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shot {
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

/// A client's view of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `201`: the quote is stored, says the service.
    Accepted(Uuid),
    /// Another status: not stored, says the service.
    Refused,
    /// The service died or was not there: nobody knows.
    None,
}

impl Shot {
    /// The quote, if the client was told that it is stored.
    pub(crate) fn accepted(&self) -> Option<Uuid> {
        match self.answer {
            Answer::Accepted(id) => Some(id),
            Answer::Refused | Answer::None => None,
        }
    }
}

/// `quotes` submissions at `per_second`, the customers' ids beginning with `name`. Open loop: a slow answer delays no
/// other submission.
pub(crate) async fn submit(client: &Client, api: &str, name: &str, quotes: u32, per_second: f64) -> Vec<Shot> {
    let url = format!("{api}/v1/quotes");
    let begun = Instant::now();
    let mut shots = JoinSet::new();
    for number in 0..quotes {
        sleep_until(begun + Duration::from_secs_f64(f64::from(number) / per_second)).await;
        let (client, url, body) = (client.clone(), url.clone(), body(&format!("{name}-{number}")));
        shots.spawn(async move { shoot(&client, &url, &body).await });
    }
    shots.join_all().await
}

/// As many submissions as `clients` make within `time`, each beginning when its client's last one was answered.
pub(crate) async fn rush(client: &Client, api: &str, clients: u32, time: Duration) -> Vec<Shot> {
    let url = format!("{api}/v1/quotes");
    let end = Instant::now() + time;
    let mut all = JoinSet::new();
    for number in 0..clients {
        let (client, url, body) = (client.clone(), url.clone(), body(&format!("rush-{number}")));
        all.spawn(async move {
            let mut shots = Vec::new();
            while Instant::now() < end {
                shots.push(shoot(&client, &url, &body).await);
            }
            shots
        });
    }
    all.join_all().await.concat()
}

async fn shoot(client: &Client, url: &str, body: &Value) -> Shot {
    let begun = Instant::now();
    let answer = ask(client, url, body).await.unwrap_or(Answer::None);
    Shot { answer, took: begun.elapsed() }
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

fn body(customer_id: &str) -> Value {
    json!({
        "customer_id": customer_id,
        "currency": "EUR",
        "lines": [{ "description": "a thing", "quantity": 3, "unit_price_minor": 1_999 }],
    })
}
