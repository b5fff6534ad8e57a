//! A PostgreSQL primary with a synchronous standby, which takes over: `database.url` names both.

use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;

use crate::support::{Load, Server, Stage, TestDatabase};

const CLIENTS: usize = 8;
/// How many quotes are accepted before the primary fails, and after its standby has taken over.
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
    let stage = Stage::on(TestDatabase::create_on_all(&pair).await, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _workers: [_; 2] = stage.workers(&[]).await;
    // Once there, and once back.
    for (old, new) in [(1, 2), (2, 1)] {
        let load = Load::start(CLIENTS, &[base_url.clone()]);
        load.accepts(QUOTES).await;
        pair.command(&format!("{fault} {old}"), done);
        pair.command(&format!("promote {new}"), "promoted");
        let promoted = Instant::now();
        load.accepts(QUOTES).await;
        let accepted = load.end().await;
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
