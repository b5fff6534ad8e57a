//! Who takes the quotes: it keeps books, and can go away.

#[cfg(any(feature = "kafka", test))]
use std::collections::HashMap;
use std::{collections::HashSet, io};

#[cfg(feature = "kafka")]
use anyhow::Context;
use serde::Serialize;
use uuid::Uuid;

use super::Comparison;
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

/// Where quotes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// A fee is made for each.
    FeeServer,
    /// A record is written for each.
    Kafka,
}

/// A destination for one design alone.
pub(super) enum Counterpart {
    FeeServer(SampleFeeServer),
    #[cfg(feature = "kafka")]
    Broker(super::broker::Broker),
}

/// What a counterpart's own books say.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Quotes that it has taken, and was not told to forget.
    pub(super) in_force: HashSet<Uuid>,
    /// Fees or records of submission beyond the first of a quote.
    pub(super) duplicates: u64,
}

impl Destination {
    /// What stands in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FeeServer => "the fee server",
            Self::Kafka => "Kafka",
        }
    }
}

impl Counterpart {
    pub(super) async fn start(destination: Destination, plan: &Comparison) -> anyhow::Result<Self> {
        match destination {
            Destination::FeeServer => {
                let faults = Faults { latency: plan.latency, seed: Some(plan.seed), ..Faults::default() };
                Ok(Self::FeeServer(SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?))
            }
            #[cfg(feature = "kafka")]
            Destination::Kafka => {
                let port = plan.broker_port.context("no broker is given")?;
                Ok(Self::Broker(super::broker::Broker::find(port).await?))
            }
            #[cfg(not(feature = "kafka"))]
            Destination::Kafka => anyhow::bail!("this feebox was built without Kafka: cargo build --features kafka"),
        }
    }

    /// What processes must be told to reach it.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::FeeServer(fee_server) => vec![("fee_server.base_url", fee_server.base_url())],
            #[cfg(feature = "kafka")]
            Self::Broker(broker) => {
                vec![("submission.destination", "kafka".to_owned()), ("kafka.brokers", broker.addr().to_string())]
            }
        }
    }

    pub(super) async fn go_away(&self) -> io::Result<()> {
        match self {
            Self::FeeServer(fee_server) => fee_server.down().await,
            #[cfg(feature = "kafka")]
            Self::Broker(broker) => {
                broker.open(false);
                Ok(())
            }
        }
    }

    pub(super) async fn come_back(&self) -> io::Result<()> {
        match self {
            Self::FeeServer(fee_server) => fee_server.up().await,
            #[cfg(feature = "kafka")]
            Self::Broker(broker) => {
                broker.open(true);
                Ok(())
            }
        }
    }

    #[cfg_attr(not(feature = "kafka"), expect(clippy::unused_async, reason = "it is Kafka that makes us wait"))]
    pub(super) async fn tally(&self) -> anyhow::Result<Tally> {
        match self {
            Self::FeeServer(fee_server) => Ok(Tally {
                in_force: fee_server.fees_in_force().into_iter().map(|fee| fee.quote_id).collect(),
                duplicates: fee_server.stats().double_fees,
            }),
            #[cfg(feature = "kafka")]
            Self::Broker(broker) => Ok(Tally::of_records(broker.records().await?)),
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::FeeServer(fee_server) => fee_server.stop().await,
            #[cfg(feature = "kafka")]
            Self::Broker(_) => {}
        }
    }
}

#[cfg(any(feature = "kafka", test))]
impl Tally {
    /// From the records of all quotes, those of each in their order: its id, and the type of the event.
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
    fn a_cancellation_ends_what_was_submitted_before_it_and_not_what_comes_after() {
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
