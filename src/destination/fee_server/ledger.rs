//! Reading the fee server's list of fees, for the audit.

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    FeeServer,
    answer::{Answer, Kind},
    expectation::parse,
    wire::{Call, Lost},
};

/// The longest page that is read, in bytes: some ten thousand fees.
const PAGE_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// A page of the fee server's list.
#[derive(Debug)]
pub struct FeePage {
    /// Fees that were not voided.
    pub fees: Vec<ListedFee>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// A fee as the fee server lists it. It is compared, never stored: it may hold what no fee record could.
#[derive(Clone, Debug, Hash, Deserialize)]
pub struct ListedFee {
    /// The fee server's own id.
    pub fee_id: String,
    /// Whose fee it is.
    pub quote_id: Uuid,
    /// In minor units.
    pub amount_minor: i64,
}

/// Why the fee server's list can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the fee server's list of fees cannot be read: {0}")]
pub struct LedgerError(pub(crate) String);

#[derive(Deserialize)]
struct Page {
    fees: Vec<ListedFee>,
    #[serde(default)]
    next: Option<String>,
}

impl FeeServer {
    /// A page of the fees that were made after `created_after`; the first one without a `cursor`.
    ///
    /// # Errors
    /// The server does not answer, or not with a list.
    pub async fn page(
        &self,
        created_after: Option<DateTime<Utc>>,
        cursor: Option<&str>,
    ) -> Result<FeePage, LedgerError> {
        let created_after = created_after.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let query = [("created_after", created_after.as_deref()), ("cursor", cursor)];
        let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let page: Page = self.read(&query).await?.ok_or_else(|| LedgerError("this server has none".into()))?;
        Ok(FeePage { fees: page.fees, next: page.next.filter(|next| !next.is_empty()) })
    }

    /// The fees of quote `quote_id` that were not voided; `None` if the server has no look-up.
    ///
    /// # Errors
    /// The server does not answer, or not with a list.
    pub async fn fees_of(&self, quote_id: Uuid) -> Result<Option<Vec<ListedFee>>, LedgerError> {
        if !self.lookup {
            return Ok(None);
        }
        let page = self.read::<Page>(&[("quote_id", &quote_id.to_string())]).await?;
        Ok(page.map(|page| page.fees))
    }

    /// `None` if the server does not know the call.
    async fn read<T: DeserializeOwned>(&self, query: &[(&str, &str)]) -> Result<Option<T>, LedgerError> {
        let call = Call { method: Method::GET, url: &self.fees, query, body: None, delivery: None };
        let response = self.wire.send_harmless(&call, self.wire.deadline()).await?;
        let answer = Answer::read(response, PAGE_LENGTH_MAX).await;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => return Ok(None),
            status if !status.is_success() => return Err(LedgerError(answer.text())),
            _ => {}
        }
        if answer.kind() != Kind::Json {
            return Err(LedgerError(format!("an answer is not a list: {}", answer.text())));
        }
        parse(answer.json()).map(Some).map_err(|why| LedgerError(format!("an answer is not a list: {why}")))
    }
}

impl From<Lost> for LedgerError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unreachable(error) | Lost::OutOfResources(error) | Lost::Stale(error) | Lost::Unanswered(error) => {
                Self(error)
            }
        }
    }
}
