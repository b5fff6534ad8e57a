//! A Galera cluster with one writer at a time, which fails: behind `HAProxy`, and by a URL that names all nodes.

use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;
use sea_orm::{EntityTrait, PaginatorTrait};

use crate::support::{Galera, Load, Stage, TestDatabase};

const CLIENTS: usize = 8;
/// How many quotes are accepted before the writer fails, and after another node has taken over.
const QUOTES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_writer_behind_haproxy_is_killed_and_joins_again() {
    the_writer_fails("crash", By::Balancer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_writer_behind_haproxy_is_cut_off_from_its_cluster() {
    the_writer_fails("cut", By::Balancer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_first_node_of_the_url_freezes() {
    the_writer_fails("freeze", By::Url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_first_node_of_the_url_is_cut_off_from_its_cluster() {
    the_writer_fails("cut", By::Url).await;
}

/// How Feebox finds a node.
enum By {
    Balancer,
    Url,
}

async fn the_writer_fails(fault: &str, by: By) {
    let galera = Galera::turn().await;
    let database = TestDatabase::create_on_all(&galera).await;
    let balancer = galera.balancer(&database).await;
    let first = galera.node(&database, 1).open().await;
    let stage = match by {
        By::Balancer => Stage::on(database.at(balancer.url()), Faults::default()).await,
        By::Url => Stage::on(database, Faults::default()).await,
    };
    let (_serve, base_url) = stage.serve(&[], &[]).await;
    let _workers: [_; 2] = stage.workers(&[]).await;

    let load = Load::start(CLIENTS, &[base_url]);
    load.accepts(QUOTES).await;
    let (command, done, mend, mended) = match fault {
        "crash" => ("crash 1", "crashed", "join 1", "joined"),
        "freeze" => ("freeze 1", "frozen", "thaw 1", "thawed"),
        _ => ("cut 1", "cut", "heal 1", "healed"),
    };
    galera.tell(command, done);
    let failed = Instant::now();
    load.accepts(QUOTES).await;
    galera.tell(mend, mended);
    galera.tell("settle", "settled");
    load.accepts(QUOTES).await;
    assert_eq!(load.server_errors(), 0);
    let accepted = load.end().await;
    let mut times: Vec<_> = accepted.iter().map(|(_, at)| *at).collect();
    times.sort_unstable();
    let gap = times.windows(2).filter(|two| two[1] > failed).map(|two| two[1] - two[0]).max().unwrap();
    println!("{fault} 1: longest gap {gap:?}, {} accepted", accepted.len());
    // The others wait for five seconds before they give a node up.
    assert!(gap < Duration::from_secs(30), "{fault}: {gap:?}");

    stage.accept(&accepted.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    stage.drained().await;
    stage.books().await.assert_sound();
    // The node that failed is in step.
    let stored = entity::quote::Entity::find().count(first.connection()).await.unwrap();
    assert_eq!(usize::try_from(stored).unwrap(), accepted.len());
}
