//! The leader of partitions dies or freezes.

use std::time::Duration;

use feebox::quotes::{QUOTE_REJECTED, QUOTE_SUBMITTED};

use super::{QUOTES, Telling};
use crate::support::KafkaCluster;

/// Longer than the brokers take to elect another leader.
const AWAY: Duration = Duration::from_secs(10);
const FROZEN: Duration = Duration::from_secs(15);
/// Nothing at all may be told while a leader is elected, which the brokers begin after 6 s.
const GAP_MAX: Duration = Duration::from_secs(15);

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
    telling.under_load(killing).await;
    telling.all_are_delivered().await;
    let gap = telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    println!("a leader killed: nothing told for {gap:?}");
    assert!(gap < GAP_MAX, "{gap:?}");
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
    telling.under_load(freezing).await;
    telling.all_are_delivered().await;
    let gap = telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    println!("a leader frozen: nothing told for {gap:?}");
    assert!(gap < GAP_MAX, "{gap:?}");
}
