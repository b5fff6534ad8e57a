//! The Kafka brokers on this machine, each behind a proxy.

use std::{
    collections::{BTreeSet, HashSet},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::broker_proxy;
use crate::{
    destination::KafkaReader,
    lab::{listener::Listener, testbed},
};

/// The longest that a broker may be down and the cluster has not recovered.
const OUTAGE_MAX: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);

/// All brokers of a cluster, as one design sees them.
pub(super) struct Brokers {
    addresses: String,
    proxies: Vec<Listener>,
    outage: Option<Outage>,
    /// The end of the topic before the run.
    began_at: Arc<KafkaReader>,
}

/// Shell commands that begin and end an outage: without them, the way to all brokers is closed.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) begin: String,
    pub(super) end: String,
}

impl Brokers {
    /// Those at `addresses`, each `host:port` on this machine.
    pub(super) async fn find(addresses: &[String], outage: Option<Outage>) -> anyhow::Result<Self> {
        let ports = addresses.iter().map(|address| port(address)).collect::<anyhow::Result<Vec<_>>>()?;
        let proxies = broker_proxy::before(&ports)?;
        let (brokers, through_proxies) = (addresses.join(","), listed(&proxies));
        let expected: BTreeSet<_> = proxies.iter().map(|proxy| proxy.addr().to_string()).collect();
        let of_reader = brokers.clone();
        let (names, began_at) = spawn_blocking(move || {
            anyhow::Ok((KafkaReader::broker_names(&through_proxies)?, KafkaReader::begin(&of_reader)?))
        })
        .await?
        .with_context(|| format!("no broker answers at {brokers}"))?;
        // Otherwise clients would bypass the proxies, and the outage would not affect them.
        ensure!(
            names.iter().cloned().collect::<BTreeSet<_>>() == expected,
            "{brokers} must be all brokers of the cluster, and each must advertise itself as 127.0.0.1 and its port \
             (advertised.listeners); through proxies at {expected:?} they advertise {names:?}"
        );
        Ok(Self { addresses: brokers, proxies, outage, began_at: Arc::new(began_at) })
    }

    /// Where clients reach them.
    pub(super) fn addresses(&self) -> String {
        listed(&self.proxies)
    }

    pub(super) async fn take_down(&self) -> anyhow::Result<()> {
        if let Some(outage) = &self.outage {
            return run(&outage.begin).await;
        }
        for proxy in &self.proxies {
            proxy.shut().await?;
        }
        Ok(())
    }

    pub(super) async fn bring_up(&self) -> anyhow::Result<()> {
        if let Some(outage) = &self.outage {
            return run(&outage.end).await;
        }
        for proxy in &self.proxies {
            proxy.open().await?;
        }
        Ok(())
    }

    /// The records of quotes that came by `api` since the start: quote id and event type of each. Other designs write to the same
    /// topic meanwhile, and a record of a quote that was rolled back has nothing else that says whose it is.
    pub(super) async fn records(&self, api: &str) -> anyhow::Result<Vec<(Uuid, String)>> {
        let begun = Instant::now();
        let mut records = loop {
            let reader = Arc::clone(&self.began_at);
            match spawn_blocking(move || reader.read()).await? {
                Ok(records) => break records,
                // The storm of another design may have one of the brokers down.
                Err(_) if begun.elapsed() < OUTAGE_MAX => sleep(PAUSE).await,
                Err(error) => {
                    return Err(error).with_context(|| format!("the records at {} cannot be read", self.addresses));
                }
            }
        };
        let mark = testbed::description(api);
        let own: HashSet<_> =
            records.iter().filter(|record| record.value.contains(&mark)).map(|record| record.key.clone()).collect();
        records.retain(|record| own.contains(&record.key));
        records.into_iter().map(|record| Ok((record.key.parse()?, record.event_type))).collect()
    }
}

fn listed(proxies: &[Listener]) -> String {
    proxies.iter().map(|proxy| proxy.addr().to_string()).collect::<Vec<_>>().join(",")
}

fn port(address: &str) -> anyhow::Result<u16> {
    match address.trim().rsplit_once(':') {
        Some(("127.0.0.1" | "localhost", port)) => Ok(port.parse()?),
        _ => bail!("{address} is no broker on this machine: write 127.0.0.1:PORT"),
    }
}

async fn run(command: &str) -> anyhow::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    let status = spawn_blocking(move || shell.status()).await??;
    ensure!(status.success(), "`{command}` failed: {status}");
    Ok(())
}
