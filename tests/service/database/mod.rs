//! Sessions, transactions, plans and migrations on the three databases.

mod conflicts;
mod failover;
mod galera;
mod galera_clocks;
mod galera_nodes;
mod lists;
mod migrations;
mod plans;
mod replica;
mod sessions;
mod sqlite_files;
mod sqlite_full;
mod standby;
mod statement_size;
