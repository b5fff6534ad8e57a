use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{LIMIT, a_quote, eventually, http_client};

/// Clients that submit all the time, each with its own key for each quote.
pub struct Load {
    counts: Arc<Counts>,
    clients: JoinSet<Vec<Accepted>>,
}

/// A quote that was answered with `201`, and when.
pub type Accepted = (Uuid, Instant);

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    server_errors: AtomicUsize,
    has_ended: AtomicBool,
}

impl Load {
    /// So many clients at each of `base_urls`.
    pub fn start(clients: usize, base_urls: &[String]) -> Load {
        let mut load = Load { counts: Arc::default(), clients: JoinSet::new() };
        for base_url in base_urls {
            for _ in 0..clients {
                load.clients.spawn(submit(base_url.clone(), Arc::clone(&load.counts)));
            }
        }
        load
    }

    /// Returns when so many more quotes are accepted.
    pub async fn accepts(&self, more: usize) {
        let until = self.counts.accepted.load(Ordering::SeqCst) + more;
        eventually("quotes are accepted", LIMIT, async || {
            (self.counts.accepted.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
    }

    /// How many answers had the status 500.
    pub fn server_errors(&self) -> usize {
        self.counts.server_errors.load(Ordering::SeqCst)
    }

    /// Returns what was accepted, when the calls that are under way are answered with `201`, too.
    pub async fn end(self) -> Vec<Accepted> {
        self.counts.has_ended.store(true, Ordering::SeqCst);
        self.clients.join_all().await.concat()
    }
}

/// Submits until the load has ended. A call that is not answered with `201` may have been stored: it is repeated with its key until it is.
async fn submit(base_url: String, counts: Arc<Counts>) -> Vec<Accepted> {
    let (client, mut accepted) = (http_client(), Vec::new());
    let mut key = Uuid::new_v4();
    let mut is_answered = true;
    while !is_answered || !counts.has_ended.load(Ordering::SeqCst) {
        let call = client.post(format!("{base_url}/v1/quotes")).json(&a_quote()).timeout(LIMIT);
        is_answered = false;
        let Ok(answer) = call.header("idempotency-key", key.to_string()).send().await else { continue };
        counts.server_errors.fetch_add(usize::from(answer.status() == 500), Ordering::SeqCst);
        if answer.status() == 201 {
            let quote: Value = answer.json().await.unwrap();
            accepted.push((quote["id"].as_str().unwrap().parse().unwrap(), Instant::now()));
            (key, is_answered) = (Uuid::new_v4(), true);
            counts.accepted.fetch_add(1, Ordering::SeqCst);
        }
    }
    accepted
}
