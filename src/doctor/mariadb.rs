//! What slows a MariaDB server down, or holds it up.

use std::time::Duration;

use super::{Finding, Named, older, rows};
use crate::database::Database;

/// A transaction as old keeps the server from purging what has become of the outbox since.
const OLD_TRANSACTION: &str = "\
    SELECT CAST(trx_mysql_thread_id AS CHAR) AS name, CAST(trx_started AS CHAR) AS value FROM information_schema.innodb_trx \
    WHERE trx_started <= NOW() - INTERVAL {age} SECOND AND trx_mysql_thread_id <> CONNECTION_ID() ORDER BY trx_started LIMIT 5";
/// What a node of a Galera cluster says about itself; nothing elsewhere.
const CLUSTER: &str = "\
    SELECT LOWER(variable_name) AS name, variable_value AS value FROM information_schema.global_status \
    WHERE variable_name IN ('wsrep_cluster_status', 'wsrep_ready', 'wsrep_local_state_comment', 'wsrep_connected')";

pub(super) async fn examine(db: &Database, transaction_age: Duration) -> Vec<Finding> {
    let mut found = transactions(db, transaction_age).await;
    found.extend(cluster(db).await);
    found
}

async fn transactions(db: &Database, age: Duration) -> Vec<Finding> {
    let check = "long transactions";
    let open: Vec<Named> = match rows(db, &older(OLD_TRANSACTION, age)).await {
        Ok(open) => open,
        Err(error) => return vec![Finding::unknown(check, &error)],
    };
    if open.is_empty() {
        return vec![Finding::fine(check, "none")];
    }
    let wrong = |Named { name, value }: Named| {
        let detail = format!("session {name} has a transaction open since {}", value.unwrap_or_default());
        Finding::wrong(check, detail, format!("it keeps the server from purging old rows: end it, or KILL {name}"))
    };
    open.into_iter().map(wrong).collect()
}

async fn cluster(db: &Database) -> Vec<Finding> {
    let check = "replication";
    let facts: Vec<Named> = match rows(db, CLUSTER).await {
        Ok(facts) => facts,
        Err(error) => return vec![Finding::unknown(check, &error)],
    };
    let of =
        |name: &str| facts.iter().find(|row| row.name == name).and_then(|row| row.value.as_deref()).unwrap_or_default();
    let is_member = of("wsrep_connected") == "ON";
    if !is_member {
        return vec![];
    }
    vec![if of("wsrep_cluster_status") == "Primary" && of("wsrep_ready") == "ON" {
        Finding::fine(check, format!("this node of the cluster is {}", of("wsrep_local_state_comment")))
    } else {
        let detail =
            format!("this node is not ready ({}, {})", of("wsrep_cluster_status"), of("wsrep_local_state_comment"));
        Finding::wrong(
            check,
            detail,
            "it is cut off from most of its cluster: name another node in database.url, and look at its log",
        )
    }]
}
