//! The leader of partitions dies or freezes.

use std::time::Duration;

use feebox::quotes::{QUOTE_REJECTED, QUOTE_SUBMITTED};

use super::bare::Bare;
use super::{LIMIT, QUOTES, Telling};
use crate::support::{KafkaCluster, eventually};

/// Longer than the brokers take to elect another leader.
const AWAY: Duration = Duration::from_secs(10);
const FROZEN: Duration = Duration::from_secs(15);
/// For so much longer than to a producer without an outbox a partition may be closed to us.
const LONGER_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_under_load_loses_nothing_and_repeats_nothing() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    let leader = cluster.leader_of(QUOTES);
    let killing = async {
        telling.pass(Duration::from_secs(2)).await;
        cluster.tell(&format!("crash {leader}"), "crashed");
        telling.pass(AWAY).await;
        cluster.tell(&format!("start {leader}"), "started");
        telling.pass(Duration::from_secs(3)).await;
    };
    let bare = Bare::to(&cluster, "bare-killed").await;
    telling.under_load(killing).await;
    let bare = bare.longest_gap().await;
    telling.all_are_delivered().await;
    let gap = telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    let of_a_partition = telling.longest_gap_of_a_partition().await;
    println!(
        "a leader killed: nothing told for {gap:?}, to a partition for {of_a_partition:?}, beside {bare:?} of a bare producer"
    );
    assert!(of_a_partition <= bare + LONGER_MAX, "{of_a_partition:?} beside {bare:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_change_again_and_again_under_load_lose_nothing_and_repeat_nothing() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    let changing = async {
        for leader in [1, 2, 3, 1] {
            cluster.tell(&format!("lead {leader} {QUOTES}"), "leads");
            eventually("it leads", LIMIT, async || (cluster.leader_of(QUOTES) == leader).then_some(())).await;
        }
    };
    telling.under_load(changing).await;
    telling.all_are_delivered().await;
    telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_under_load_loses_nothing_and_repeats_nothing() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    let leader = cluster.leader_of(QUOTES);
    let freezing = async {
        telling.pass(Duration::from_secs(2)).await;
        cluster.tell(&format!("freeze {leader}"), "frozen");
        telling.pass(FROZEN).await;
        cluster.tell(&format!("thaw {leader}"), "thawed");
        telling.pass(Duration::from_secs(3)).await;
    };
    let bare = Bare::to(&cluster, "bare-frozen").await;
    telling.under_load(freezing).await;
    let bare = bare.longest_gap().await;
    telling.all_are_delivered().await;
    let gap = telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    let of_a_partition = telling.longest_gap_of_a_partition().await;
    println!(
        "a leader frozen: nothing told for {gap:?}, to a partition for {of_a_partition:?}, beside {bare:?} of a bare producer"
    );
    assert!(of_a_partition <= bare + LONGER_MAX, "{of_a_partition:?} beside {bare:?}");
}
