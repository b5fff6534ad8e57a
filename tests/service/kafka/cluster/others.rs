//! What others do with the topics: an administrator limits us, adds partitions or has the topic compacted, another producer leaves a
//! transaction open.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use feebox::quotes::{QUOTE_REJECTED, QUOTE_SUBMITTED};

use super::super::settings_for;
use super::{LIMIT, QUOTES, Telling, by_quote, ids};
use crate::support::{KafkaCluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_500_bytes_a_second_delays_and_repeats_nothing() {
    let cluster = KafkaCluster::turn().await;
    cluster.tell("quota 500", "limited");
    let telling = Telling::to(&cluster).await;
    for _ in 0..20 {
        telling.quote().await;
    }
    let begun = Instant::now();
    telling.all_are_delivered().await;
    println!("under a quota of 500 bytes a second: 60 events told after {:?}", begun.elapsed());
    cluster.tell("quota none", "limited");
    telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_another_leaves_open_delays_only_who_reads_committed_records() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::to(&cluster).await;
    let transaction = cluster.open_transaction(QUOTES);
    for _ in 0..10 {
        telling.quote().await;
    }
    telling.all_are_delivered().await;
    let recorded = by_quote(&telling.outbox.events().await);
    let unread = telling.read(QUOTES, recorded.keys()).await;
    assert!(unread.values().all(Vec::is_empty), "its readers wait behind the open transaction");
    transaction.abort();
    let all = async || {
        let read = telling.read(QUOTES, recorded.keys()).await;
        recorded.iter().all(|(quote, events)| ids(&read[quote]) == *events).then_some(())
    };
    eventually("readers see all of ours and nothing of the other's", LIMIT, all).await;
    telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_under_load_lose_nothing_and_keep_the_order_within_each() {
    let cluster = KafkaCluster::turn().await;
    let mut telling = Telling::to(&cluster).await;
    telling.under_load(telling.pass(Duration::from_secs(1))).await;
    let before = cluster.partitions_of(QUOTES);
    let adding = async {
        telling.pass(Duration::from_millis(500)).await;
        cluster.add_partitions(QUOTES, before * 2).await;
        telling.pass(Duration::from_millis(500)).await;
    };
    telling.under_load(adding).await;
    // It knows the new partitions from its start; the other learns of them within a minute.
    telling.work("b", &settings_for(cluster.brokers(), &[]));
    telling.under_load(telling.pass(Duration::from_secs(3))).await;
    telling.all_are_delivered().await;

    let events = telling.outbox.events().await;
    let recorded = by_quote(&events);
    let read = telling.read(QUOTES, recorded.keys()).await;
    let told: usize = read.values().map(Vec::len).sum();
    assert_eq!(told, events.len(), "each is told once");
    let mut used = HashSet::new();
    for (quote, expected) in &recorded {
        let mut by_partition = HashMap::<i64, Vec<_>>::new();
        for record in &read[quote] {
            by_partition.entry(record.partition).or_default().push(record.event_id());
        }
        for (partition, told) in by_partition {
            let of_partition = expected.iter().filter(|id| told.contains(id)).copied().collect::<Vec<_>>();
            assert_eq!(told, of_partition, "the order of {quote} in partition {partition}");
            used.insert(partition);
        }
    }
    let split = recorded.keys().filter(|quote| read[quote].iter().any(|it| it.partition != read[quote][0].partition));
    println!("partitions added: {} of {} quotes told in two of them", split.count(), recorded.len());
    assert!(used.iter().any(|partition| usize::try_from(*partition).unwrap() >= before), "the new ones are used");
}
