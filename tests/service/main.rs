//! Feebox as its users meet it: the real binary, real databases, a real network.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "in a test a panic is the message, and names tell what a test shows"
)]

#[allow(dead_code, unused_imports, reason = "the harness offers more than the tests here use so far")]
mod support;

mod api_access;
mod api_bad_input;
mod api_docs;
mod api_health;
mod api_idempotency;
mod api_operations;
mod api_quotes;
mod audit;
mod audit_remote;
mod cli_operator;
mod cli_output;
mod cli_worker;
mod clocks;
mod compare;
mod conflicts;
mod crash;
mod dashboard;
mod delivery_windows;
mod explain;
mod failover;
mod fee_server_answers;
mod fee_server_look_up;
mod fee_server_table;
mod fee_server_wire;
mod fleet;
mod frozen_worker;
mod harness;
#[cfg(feature = "kafka")]
mod kafka;
mod migrations;
mod operator_cancel;
mod operator_lists;
mod operator_pause;
mod operator_retry;
mod operator_timeline;
mod outage;
mod outbox_age;
mod outbox_blame;
mod outbox_circuit;
mod outbox_claim;
mod outbox_forbidden;
mod outbox_model;
mod outbox_order;
mod outbox_rescue;
mod outbox_retention;
mod outbox_retry;
mod outbox_settle;
mod plans;
mod process_faults;
mod quote_cancel;
mod relay;
mod sessions;
mod settle_isolates;
mod settle_slow;
mod sqlite_full;
mod statement_size;
mod strategies;
mod strategy_processes;
mod sweeper;
mod tidy;
mod torture;
mod torture_judge;
mod upkeep;
mod wakeup;
mod worker_holds;
mod worker_process;
mod worker_run;
