//! The destination of a run: it keeps books, and can be taken down.

#[cfg(any(feature = "kafka", test))]
use std::collections::HashMap;
use std::collections::HashSet;

use serde::Serialize;
use uuid::Uuid;

use super::Comparison;
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

/// Where quotes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// Makes a fee for each quote.
    FeeServer,
    /// Gets a record for each quote.
    Kafka,
}

/// A destination that serves one design.
pub(super) enum TestDestination {
    FeeServer(SampleFeeServer),
    #[cfg(feature = "kafka")]
    Brokers(super::broker::Brokers),
}

/// What a destination's own books say.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Quotes that it accepted, and that were not cancelled there.
    pub(super) in_force: HashSet<Uuid>,
    /// Fees or records of submission beyond a quote's first.
    pub(super) duplicates: u64,
}

impl Destination {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FeeServer => "the fee server",
            Self::Kafka => "Kafka",
        }
    }
}

impl TestDestination {
    pub(super) async fn start(destination: Destination, plan: &Comparison) -> anyhow::Result<Self> {
        match destination {
            Destination::FeeServer => {
                let faults = Faults { latency: plan.latency, seed: Some(plan.seed), ..Faults::default() };
                Ok(Self::FeeServer(SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?))
            }
            #[cfg(feature = "kafka")]
            Destination::Kafka => {
                let outage = plan.kafka_down.clone().zip(plan.kafka_up.clone());
                let outage = outage.map(|(begin, end)| super::broker::Outage { begin, end });
                Ok(Self::Brokers(super::broker::Brokers::find(&plan.brokers(), outage).await?))
            }
            #[cfg(not(feature = "kafka"))]
            Destination::Kafka => anyhow::bail!("this feebox was built without Kafka: cargo build --features kafka"),
        }
    }

    /// The settings with which processes reach it.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::FeeServer(fee_server) => vec![("fee_server.base_url", fee_server.base_url())],
            #[cfg(feature = "kafka")]
            Self::Brokers(brokers) => {
                vec![("submission.destination", "kafka".to_owned()), ("kafka.brokers", brokers.addresses())]
            }
        }
    }

    pub(super) async fn take_down(&self) -> anyhow::Result<()> {
        match self {
            Self::FeeServer(fee_server) => Ok(fee_server.down().await?),
            #[cfg(feature = "kafka")]
            Self::Brokers(brokers) => brokers.take_down().await,
        }
    }

    pub(super) async fn bring_up(&self) -> anyhow::Result<()> {
        match self {
            Self::FeeServer(fee_server) => Ok(fee_server.up().await?),
            #[cfg(feature = "kafka")]
            Self::Brokers(brokers) => brokers.bring_up().await,
        }
    }

    /// Its books of the quotes that came by `api`. A fee server serves one design, but brokers are shared.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(clippy::unused_async, unused_variables, reason = "it is Kafka that makes us wait, and is shared")
    )]
    pub(super) async fn tally(&self, api: &str) -> anyhow::Result<Tally> {
        match self {
            Self::FeeServer(fee_server) => Ok(Tally {
                in_force: fee_server.fees_in_force().into_iter().map(|fee| fee.quote_id).collect(),
                duplicates: fee_server.stats().double_fees,
            }),
            #[cfg(feature = "kafka")]
            Self::Brokers(brokers) => Ok(Tally::of_records(brokers.records(api).await?)),
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::FeeServer(fee_server) => fee_server.stop().await,
            #[cfg(feature = "kafka")]
            Self::Brokers(_) => {}
        }
    }
}

#[cfg(any(feature = "kafka", test))]
impl Tally {
    /// Counts the records of all quotes: quote id and event type, in the order of each quote.
    pub(super) fn of_records(records: impl IntoIterator<Item = (Uuid, String)>) -> Self {
        let (mut submissions, mut tally) = (HashMap::<_, u64>::new(), Self::default());
        for (quote, event_type) in records {
            if event_type == "quote.submitted" {
                *submissions.entry(quote).or_default() += 1;
                tally.in_force.insert(quote);
            } else {
                tally.in_force.remove(&quote);
            }
        }
        tally.duplicates = submissions.values().map(|count| count - 1).sum();
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_undoes_only_earlier_submissions() {
        let [kept, cancelled, cancelled_too_early] = [1, 2, 3].map(Uuid::from_u128);
        let records = [
            (kept, "quote.submitted"),
            (cancelled, "quote.submitted"),
            (cancelled, "quote.cancelled"),
            (cancelled_too_early, "quote.cancelled"),
            (cancelled_too_early, "quote.submitted"),
            (kept, "quote.submitted"),
        ];
        let tally = Tally::of_records(records.map(|(quote, event_type)| (quote, event_type.to_owned())));
        assert_eq!(tally.in_force, HashSet::from([kept, cancelled_too_early]));
        assert_eq!(tally.duplicates, 1);
    }
}
