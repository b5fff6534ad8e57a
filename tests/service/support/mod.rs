//! What tests stand on: databases of their own, the real binary, a network that can be cut.

mod api;
mod browser;
mod client;
#[cfg(feature = "otel")]
mod collector;
mod database;
mod desk;
mod engines;
mod eventually;
mod filling;
mod galera;
#[cfg(feature = "kafka")]
mod kafka_cluster;
mod load;
mod outbox;
mod ports;
mod process;
mod raw_server;
mod scripted;
mod server;
mod stage;
mod tcp_proxy;
mod tls_front;

pub use api::{Api, a_quote, open};
pub use browser::Browser;
pub use client::http_client;
#[cfg(feature = "otel")]
pub use collector::{Collector, attribute, hex};
pub use database::{Engine, TestDatabase};
pub(crate) use desk::desk_tests;
pub use desk::{ANN, Desk};
pub(crate) use engines::{at_each_moment, on_engines};
pub use eventually::eventually;
pub use filling::Filling;
pub use galera::Galera;
#[cfg(feature = "kafka")]
pub use kafka_cluster::KafkaCluster;
pub use load::Load;
pub use outbox::{
    Receipt, TestOutbox, attempt, delivered, fee_server, new_quote, refused, retry, unknown, with_fee, worker_settings,
};
pub(crate) use outbox::{on_each_engine, on_servers};
pub use ports::free_port;
pub use process::{Process, Signal};
pub use raw_server::{RawServer, Reply};
pub use scripted::{Cue, Scripted};
pub use server::Server;
pub use stage::{Books, LIMIT, Stage, base_url_of, name_of};
pub use tcp_proxy::Proxy;
pub use tls_front::{Authority, Identity, TlsFront};
