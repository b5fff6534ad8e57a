//! A PostgreSQL primary with a synchronous standby, which takes over: `database.url` names both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{LIMIT, Server, Stage, TestDatabase, a_quote, eventually, http_client};

/// Clients that submit all the time.
const CLIENTS: usize = 8;
/// How many of their quotes are accepted before the primary fails, and after its standby has taken over.
const QUOTES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_primary_is_killed_and_its_standby_takes_over() {
    fails_over("crash", "crashed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_primary_freezes_and_its_standby_takes_over() {
    fails_over("freeze", "frozen").await;
}

async fn fails_over(fault: &str, done: &str) {
    let pair = Server::postgres_pair();
    let stage = Stage::on(TestDatabase::create_on_pair(&pair).await, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _workers: [_; 2] = stage.workers(&[]).await;
    // Once there, and once back.
    for (old, new) in [(1, 2), (2, 1)] {
        let (load, mut clients) = (Arc::new(Load::default()), JoinSet::new());
        for _ in 0..CLIENTS {
            clients.spawn(submit(base_url.clone(), Arc::clone(&load)));
        }
        load.accepts(QUOTES).await;
        pair.command(&format!("{fault} {old}"), done);
        pair.command(&format!("promote {new}"), "promoted");
        let promoted = Instant::now();
        load.accepts(QUOTES).await;
        load.has_ended.store(true, Ordering::SeqCst);
        let accepted = clients.join_all().await.concat();
        let first = accepted.iter().filter(|(_, at)| *at > promoted).map(|(_, at)| *at - promoted).min();
        println!("{fault} {old}: first 201 {first:?} after the promotion, {} accepted", accepted.len());
        // Within five seconds on a machine that does nothing else.
        assert!(first.is_some_and(|first| first < Duration::from_secs(20)), "{fault} {old}: {first:?}");
        stage.accept(&accepted.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        stage.drained().await;
        // The old primary comes back as the standby of the new one.
        if fault == "freeze" {
            pair.command(&format!("crash {old}"), "crashed");
        }
        pair.command(&format!("join {old}"), "joined");
    }
    stage.books().await.assert_sound();
}

/// What all clients do together.
#[derive(Default)]
struct Load {
    accepted: AtomicUsize,
    has_ended: AtomicBool,
}

impl Load {
    /// Returns when so many more quotes are accepted.
    async fn accepts(&self, more: usize) {
        let until = self.accepted.load(Ordering::SeqCst) + more;
        eventually("quotes are accepted", LIMIT, async || {
            (self.accepted.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
    }
}

/// Submits until the load has ended; returns the quotes that were accepted, and when. A call that is not answered with `201` may have been stored: it
/// is repeated with its key until it is.
async fn submit(base_url: String, load: Arc<Load>) -> Vec<(Uuid, Instant)> {
    let (client, mut accepted) = (http_client(), Vec::new());
    let mut key = Uuid::new_v4();
    let mut is_answered = true;
    while !is_answered || !load.has_ended.load(Ordering::SeqCst) {
        let call = client.post(format!("{base_url}/v1/quotes")).json(&a_quote()).timeout(LIMIT);
        is_answered = false;
        let Ok(answer) = call.header("idempotency-key", key.to_string()).send().await else { continue };
        if answer.status() == 201 {
            let quote: Value = answer.json().await.unwrap();
            accepted.push((quote["id"].as_str().unwrap().parse().unwrap(), Instant::now()));
            (key, is_answered) = (Uuid::new_v4(), true);
            load.accepted.fetch_add(1, Ordering::SeqCst);
        }
    }
    accepted
}
