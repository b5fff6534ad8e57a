//! A Kafka broker on this machine, behind a proxy.

use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::broker_proxy;
use crate::{destination::KafkaReader, lab::listener::Listener};

/// The broker as one design sees it.
pub(super) struct Broker {
    address: String,
    proxy: Listener,
    /// The end of the topic before the run.
    began_at: Arc<KafkaReader>,
}

impl Broker {
    pub(super) async fn find(port: u16) -> anyhow::Result<Self> {
        let (address, proxy) = (format!("127.0.0.1:{port}"), broker_proxy::before(port)?);
        let (brokers, through_proxy) = (address.clone(), proxy.addr().to_string());
        let expected = through_proxy.clone();
        let (names, began_at) = spawn_blocking(move || {
            anyhow::Ok((KafkaReader::broker_names(&through_proxy)?, KafkaReader::begin(&brokers)?))
        })
        .await?
        .with_context(|| format!("no broker answers at {address}"))?;
        // Otherwise clients would bypass the proxy, and the outage would not affect them.
        ensure!(
            names == [expected],
            "the broker must be the only one of its cluster and advertise itself as 127.0.0.1:{port} \
             (advertised.listeners); it advertises {names:?}"
        );
        Ok(Self { address, proxy, began_at: Arc::new(began_at) })
    }

    pub(super) fn proxy(&self) -> &Listener {
        &self.proxy
    }

    /// The records written since the start: quote id and event type of each.
    pub(super) async fn records(&self) -> anyhow::Result<Vec<(Uuid, String)>> {
        let reader = Arc::clone(&self.began_at);
        let records = spawn_blocking(move || reader.read()).await?;
        let records = records.with_context(|| format!("the records at {} cannot be read", self.address))?;
        records.into_iter().map(|record| Ok((record.key.parse()?, record.event_type))).collect()
    }
}
