//! A PostgreSQL primary with a synchronous standby, which takes over: `database.url` names both, or `HAProxy` stands before them.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use sea_orm::ConnectionTrait;

use crate::support::{Load, Server, Stage, TestDatabase};

const CLIENTS: usize = 8;
/// How many quotes are accepted before the primary fails, and after its standby has taken over.
const QUOTES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_primary_is_killed_and_its_standby_takes_over() {
    fails_over("crash", "crashed", By::Url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_primary_freezes_and_its_standby_takes_over() {
    fails_over("freeze", "frozen", By::Url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_a_primary_behind_haproxy_is_killed_and_its_standby_takes_over() {
    fails_over("crash", "crashed", By::Balancer).await;
}

/// How Feebox finds the primary.
enum By {
    Url,
    Balancer,
}

async fn fails_over(fault: &str, done: &str, by: By) {
    let pair = Server::postgres_pair();
    let database = TestDatabase::create_on_all(&pair).await;
    let primary = database.at(&pair.hosts()[0]).connect().await;
    primary.execute_unprepared("CREATE ROLE haproxy LOGIN").await.unwrap();
    let balancer = matches!(by, By::Balancer).then(|| Server::haproxy("postgres", &pair.hosts()));
    let stage = match &balancer {
        Some(balancer) => Stage::on(database.at(balancer.url()), Faults::default()).await,
        None => Stage::on(database, Faults::default()).await,
    };
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _workers: [_; 2] = stage.workers(&[]).await;
    // Once there, and once back.
    for (old, new) in [(1, 2), (2, 1)] {
        let load = Load::start(CLIENTS, from_ref(&base_url));
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
