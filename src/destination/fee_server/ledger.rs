//! Reading what the fee server has on its books, for the audit.

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{RequestBuilder, StatusCode, header::AUTHORIZATION};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{FeeServer, chain, expectation::FeeAnswer};
use crate::fees::Fee;

/// The longest page that is read, in bytes: some ten thousand fees.
const PAGE_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// A page of the fee server's list.
#[derive(Debug)]
pub struct FeePage {
    /// Fees that were not voided.
    pub fees: Vec<Fee>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// Why the fee server's books can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the fee server's list of fees cannot be read: {0}")]
pub struct LedgerError(String);

#[derive(Deserialize)]
struct Page {
    fees: Vec<FeeAnswer>,
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
        let page: Page = self.read(self.client.get(self.fees.clone()).query(&query)).await?.ok_or_else(no_list)?;
        Ok(FeePage { fees: page.fees.into_iter().map(Fee::from).collect(), next: page.next })
    }

    /// The fees of quote `quote_id` that were not voided; `None` if the server has no look-up.
    ///
    /// # Errors
    /// The server does not answer, or not with a list.
    pub async fn fees_of(&self, quote_id: Uuid) -> Result<Option<Vec<Fee>>, LedgerError> {
        if !self.lookup {
            return Ok(None);
        }
        let page = self.read::<Page>(self.client.get(self.fees.clone()).query(&[("quote_id", quote_id)])).await?;
        Ok(page.map(|page| page.fees.into_iter().map(Fee::from).collect()))
    }

    /// `None` if the server knows no such call.
    async fn read<T: DeserializeOwned>(&self, mut request: RequestBuilder) -> Result<Option<T>, LedgerError> {
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let mut response = request.send().await.map_err(|error| LedgerError(chain(&error)))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => return Ok(None),
            status if !status.is_success() => return Err(LedgerError(status.to_string())),
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| LedgerError(chain(&error)))? {
            if body.len() + chunk.len() > PAGE_LENGTH_MAX {
                return Err(LedgerError(format!("a page is longer than {PAGE_LENGTH_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| LedgerError(format!("an answer is no list: {error}")))
    }
}

fn no_list() -> LedgerError {
    LedgerError("this server has none".into())
}
