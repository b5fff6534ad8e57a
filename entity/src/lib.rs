//! Feebox's tables as types, one file a table, without behaviour. The schema itself is written by `migration`;
//! a drift test compares the two.

pub mod audit_progress;
pub mod audit_run;
pub mod audit_violation;
pub mod bulk;
pub mod bulk_piece;
pub mod cause_count;
pub mod circuit_opening;
pub mod destination;
pub mod fee_record;
pub mod idempotency_key;
pub mod operator_action;
pub mod outbox_event;
pub mod process;
pub mod prune_mark;
pub mod quote;
pub mod schedule;
pub mod series;
