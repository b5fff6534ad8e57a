//! `feebox compare` with small numbers: it runs every design, and its report has the promised shape.

use std::time::Duration;

use serde_json::Value;

#[cfg(feature = "kafka")]
use crate::support::KafkaCluster;
use crate::support::{Process, Server};

const LIMIT: Duration = Duration::from_mins(5);

const DESIGNS: [&str; 6] = [
    "in-transaction",
    "before-commit-async",
    "after-commit",
    "after-commit-compensated",
    "outbox-cron",
    "outbox-wakeup",
];

#[tokio::test]
async fn every_design_is_measured_and_the_outbox_loses_invents_and_doubles_nothing() {
    let compared = Compared::with(&[]).await;
    let designs: Vec<_> = compared.rows.iter().map(|row| row["design"].as_str().unwrap()).collect();
    assert_eq!(designs, DESIGNS);
    compared.has_the_promised_shape();
}

#[tokio::test]
async fn each_design_is_measured_again_with_kafka_if_a_broker_is_given() {
    let broker = Server::own_kafka();
    let port = broker.url().rsplit(':').next().unwrap();
    with_kafka(&["--kafka-port", port], "after-commit-compensated").await;
}

/// Clients reach each broker by a proxy of its own.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn brokers_of_a_cluster_are_measured_and_commands_make_their_outage() {
    let cluster = KafkaCluster::turn().await;
    let marks = tempfile::tempdir().unwrap();
    let [down, up] = ["down", "up"].map(|name| marks.path().join(name));
    let [begin, end] = [&down, &up].map(|path| format!("touch {}", path.display()));
    let outage = ["--kafka-down", &begin, "--kafka-up", &end];
    with_kafka(&[&["--kafka-brokers", cluster.brokers()][..], &outage].concat(), "outbox-wakeup").await;
    assert!(down.exists() && up.exists(), "the commands ran");
}

async fn with_kafka(options: &[&str], design: &str) {
    let compared = Compared::with(&[options, &["--design", design]].concat()).await;
    let measured = |destination| {
        let rows = compared.rows.iter().filter(move |row| row["destination"] == destination);
        rows.map(|row| row["design"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!([measured("fee-server"), measured("kafka")], [[design]; 2]);
    compared.has_the_promised_shape();
    assert!(compared.page.contains("## Quotes go to Kafka"), "{}", compared.page);
}

/// The results of a small comparison.
struct Compared {
    rows: Vec<Value>,
    page: String,
    picture: String,
}

impl Compared {
    async fn with(more: &[&str]) -> Compared {
        let load = ["--quotes", "20", "--rate", "40", "--latency", "50ms", "--crashes", "1"];
        let times = ["--idle", "200ms", "--rush", "200ms"];
        let compare = Process::start(&[&["compare", "--json", "--out", "out"][..], &load, &times, more].concat(), &[]);
        assert!(compare.wait(LIMIT).await.success(), "{:#?}", compare.lines());
        let read = |name: &str| std::fs::read_to_string(compare.directory().join("out").join(name)).unwrap();
        let report: Value = serde_json::from_str(&read("compare.json")).unwrap();
        let rows = report["rows"].as_array().unwrap().clone();
        Compared { rows, page: read("compare.md"), picture: read("compare.svg") }
    }

    fn has_the_promised_shape(&self) {
        for row in &self.rows {
            for count in ["accepted", "lost", "ghosts", "duplicates", "cancelled"] {
                assert!(row[count].is_u64(), "{count} of {row:#}");
            }
            let any = row["accepted"].as_u64() > Some(0);
            for (time, is_told) in [("response_ms", any), ("calm_response_ms", true), ("calm_fee_lag_ms", true)] {
                let [p50, p99] = ["p50", "p99"].map(|percentile| row[time][percentile].is_number());
                assert!((p50 && p99) == is_told, "{time} of {row:#}");
            }
            for rate in ["statements_per_quote", "accepted_per_second", "confirmed_per_second"] {
                assert!(row[rate].as_f64().unwrap() > 1.0, "{rate} of {row:#}");
            }
            let design = row["design"].as_str().unwrap();
            let broken = ["lost", "ghosts", "duplicates", "cancelled"].map(|count| row[count].as_u64().unwrap());
            if design.starts_with("outbox") {
                // What a dead worker had under way reaches Kafka once more, with the same id.
                let duplicates = if row["destination"] == "kafka" { broken[2] } else { 0 };
                assert_eq!(broken, [0, 0, duplicates, 0], "{row:#}");
            }
            if design == "after-commit-compensated" {
                assert_eq!(broken[..2], [0, 0], "{row:#}");
            }
            assert!(self.page.contains(&format!("| {design} ")), "{}", self.page);
            assert!(self.picture.contains(design), "{}", self.picture);
        }
    }
}

#[tokio::test]
async fn numbers_out_of_range_are_refused() {
    for wrong in [["--rate", "0"], ["--quotes", "0"], ["--rollback-rate", "2"], ["--design", "hope"]] {
        let compare = Process::start(&[&["compare"][..], &wrong[..]].concat(), &[]);
        assert_eq!(compare.wait(LIMIT).await.code(), Some(2), "{wrong:?}: {:#?}", compare.lines());
    }
    let compare = Process::start(&["compare", "--set", "worker.lease=45s"], &[]);
    assert_eq!(compare.wait(LIMIT).await.code(), Some(2), "settings are refused: {:#?}", compare.lines());
}
