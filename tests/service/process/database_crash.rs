//! The database is killed under full load: what was answered is stored, once, and what was not can be sent again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use feebox::lab::sample_fee_server::Faults;
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::support::{Engine, LIMIT, Server, Stage, TestDatabase, a_quote, eventually, http_client};

const CALLERS: usize = 64;
const CRASHES: usize = 3;
/// So many answers come between two crashes.
const ANSWERS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_stored_once_if_postgres_is_killed_under_full_load() {
    what_was_answered_is_stored_once(Server::own_postgres(), Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_stored_once_if_mariadb_is_killed_under_full_load() {
    what_was_answered_is_stored_once(Server::own_mariadb(), Engine::MariaDb).await;
}

async fn what_was_answered_is_stored_once(mut server: Server, engine: Engine) {
    let stage = Stage::on(TestDatabase::create_on(&server, engine).await, Faults::default()).await;
    let (_service, base_url) = stage.serve(&[], &[]).await;
    let callers: Vec<_> = (0..CALLERS).map(|number| Caller::new(number, &base_url)).collect();
    let (ended, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let crashes = async {
        for _ in 0..CRASHES {
            let before = answered.load(Ordering::SeqCst);
            let stored = async || (answered.load(Ordering::SeqCst) >= before + ANSWERS).then_some(());
            eventually("quotes are stored", LIMIT, stored).await;
            server = tokio::task::spawn_blocking(move || {
                server.crash();
                server.start();

                server
            })
            .await
            .unwrap();
        }
        ended.store(true, Ordering::SeqCst);
        server
    };
    let (answers, _server) =
        tokio::join!(join_all(callers.iter().map(|caller| caller.submits_until(&ended, &answered))), crashes);

    // What was not answered is sent again, and what was has the same answer.
    let again = callers.iter().zip(&answers).map(async |(caller, answers)| {
        for (key, id) in answers {
            let again = eventually("an answer", LIMIT, async || caller.submit(key).await).await;
            assert!(id.as_ref().is_none_or(|id| *id == again), "{key}: {id:?} was answered, and now {again}");
        }
    });
    join_all(again).await;
    let keys: usize = answers.iter().map(HashMap::len).sum();
    let refused: usize = callers.iter().map(|caller| caller.refused.load(Ordering::SeqCst)).sum();
    println!("{engine:?} killed {CRASHES} times: {keys} quotes, {refused} calls that were not answered with 201");
    assert!(refused > 0, "the crashes came under load");
    let books = stage.books().await;
    assert_eq!((books.quotes, books.events, books.violations), (keys, keys, vec![]));
}

struct Caller {
    number: usize,
    client: Client,
    url: String,
    refused: AtomicUsize,
}

impl Caller {
    fn new(number: usize, base_url: &str) -> Self {
        Self { number, client: http_client(), url: format!("{base_url}/v1/quotes"), refused: AtomicUsize::new(0) }
    }

    /// Submits one quote after another, each until it is answered with `201`: the id of each key, if that came in time.
    async fn submits_until(&self, ended: &AtomicBool, answered: &AtomicUsize) -> HashMap<String, Option<String>> {
        let mut answers = HashMap::new();
        let mut key = String::new();
        while !ended.load(Ordering::SeqCst) {
            if answers.get(&key).is_none_or(Option::is_some) {
                key = format!("{}-{}", self.number, answers.len());
            }
            let id = self.submit(&key).await;
            let count = if id.is_some() { answered } else { &self.refused };
            count.fetch_add(1, Ordering::SeqCst);
            answers.insert(key.clone(), id);
        }
        answers
    }

    async fn submit(&self, key: &str) -> Option<String> {
        let call = self.client.post(&self.url).header("Idempotency-Key", key).json(&a_quote());
        let answer = call.send().await.ok()?;
        if answer.status() != StatusCode::CREATED {
            return None;
        }
        Some(answer.json::<Value>().await.ok()?["id"].as_str()?.to_owned())
    }
}
