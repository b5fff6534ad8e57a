//! What remained of the promises.

use std::collections::{HashMap, HashSet};

use entity::quote;
use sea_orm::{EntityTrait, QuerySelect};
use serde::Serialize;
use uuid::Uuid;

use super::Torments;
use crate::{
    audit::{self, Violation},
    database::Database,
    destination::FeeServer,
    quotes::Status,
    sample_fee_server::SampleFeeServer,
    settings::{Settings, Sources},
    trial::Shot,
};

/// What was done, what came of it, and each promise that did not hold.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What was done to the fleet.
    #[serde(flatten)]
    pub torments: Torments,
    /// Submissions that were answered with 201.
    pub accepted: usize,
    /// Quotes that are stored: those, and some whose client got no answer.
    pub stored: usize,
    /// Quotes with a fee.
    pub confirmed: usize,
    /// Calls that the fee server got for fees.
    pub requests: u64,
    /// Fees beyond a quote's first.
    pub double_fees: u64,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
}

/// Looks at all books: the clients', the database's and the fee server's. Nothing is under way any more.
pub(super) async fn reach(
    db: &Database,
    fee_server: &SampleFeeServer,
    shots: &[Shot],
    torments: Torments,
) -> anyhow::Result<Verdict> {
    let settings = Settings::load(&Sources::overrides([("fee_server.base_url", fee_server.base_url())]))?;
    let mut violations = Vec::new();
    audit::audit(db, settings.retention.delivered_for, |violation| violations.push(violation)).await?;
    let client = FeeServer::new(&settings.fee_server, 1)?;
    audit::audit_remote(db, &client, None, |violation| violations.push(violation)).await?;

    let columns = [quote::Column::Id, quote::Column::Status];
    let rows: Vec<(Uuid, Status)> =
        quote::Entity::find().select_only().columns(columns).into_tuple().all(db.connection()).await?;
    let stored: HashMap<Uuid, Status> = rows.into_iter().collect();
    let accepted: HashSet<Uuid> = shots.iter().filter_map(Shot::accepted).collect();
    for id in &accepted {
        let wrong = match stored.get(id) {
            Some(Status::Confirmed) => continue,
            Some(status) => format!("is {status:?} at the end"),
            None => "is not stored".to_owned(),
        };
        let sentence = format!("quote {id} was accepted (201) and {wrong}");
        violations.push(Violation { promise: 2, quote_id: *id, sentence });
    }
    let stats = fee_server.stats();
    Ok(Verdict {
        torments,
        accepted: accepted.len(),
        stored: stored.len(),
        confirmed: stored.values().filter(|status| **status == Status::Confirmed).count(),
        requests: stats.requests,
        double_fees: stats.double_fees,
        violations,
    })
}

impl Verdict {
    /// Whether every promise held.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.violations.is_empty() && self.double_fees == 0
    }
}
