//! A Kafka broker on this machine, behind a gate.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, ensure};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::gate::Gate;
use crate::destination::KafkaReader;

/// The broker, as one design sees it.
pub(super) struct Broker {
    address: String,
    gate: Gate,
    /// Where the topic stood before.
    began_at: Arc<KafkaReader>,
}

impl Broker {
    /// The one at `port`.
    pub(super) async fn find(port: u16) -> anyhow::Result<Self> {
        let (address, gate) = (format!("127.0.0.1:{port}"), Gate::before(port).await?);
        let (brokers, through_gate) = (address.clone(), gate.addr().to_string());
        let expected = through_gate.clone();
        let (names, began_at) = spawn_blocking(move || {
            anyhow::Ok((KafkaReader::broker_names(&through_gate)?, KafkaReader::begin(&brokers)?))
        })
        .await?
        .with_context(|| format!("no broker answers at {address}"))?;
        // Else clients would find their way around the gate, and never see it shut.
        ensure!(
            names == [expected],
            "the broker must be the only one of its cluster, and call itself 127.0.0.1:{port} (advertised.listeners); \
             it says {names:?}"
        );
        Ok(Self { address, gate, began_at: Arc::new(began_at) })
    }

    /// Where the processes find it.
    pub(super) fn addr(&self) -> SocketAddr {
        self.gate.addr()
    }

    pub(super) fn open(&self, is_open: bool) {
        self.gate.open(is_open);
    }

    /// What was written since it was found: the quote's id and the event's type of each record.
    pub(super) async fn records(&self) -> anyhow::Result<Vec<(Uuid, String)>> {
        let reader = Arc::clone(&self.began_at);
        let records = spawn_blocking(move || reader.read()).await?;
        let records = records.with_context(|| format!("the records at {} cannot be read", self.address))?;
        records.into_iter().map(|record| Ok((record.key.parse()?, record.event_type))).collect()
    }
}
