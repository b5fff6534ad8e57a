//! The listener that has others told of submitted quotes.

use async_trait::async_trait;

use super::{Listener, ListenerError, Submitted};
use crate::database::DatabaseTransaction;
use crate::relay::{News, Relay, What};

#[async_trait]
impl Listener for Relay {
    async fn before_commit(&self, txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        if self.is_told_of_submissions() {
            return Ok(());
        }
        let news = submitted
            .quotes
            .iter()
            .map(|quote| News { what: What::Submitted(quote), trace_context: submitted.trace_context.clone() });
        Ok(self.tell(txn, submitted.at, &news.collect::<Vec<_>>()).await?)
    }
}
