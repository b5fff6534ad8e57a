//! `feebox quote list`

use chrono::{DateTime, Utc};
use clap::Args;
use sea_orm::ActiveEnum;
use uuid::Uuid;

use super::{
    super::print::{self, time},
    Status,
    show::document,
};
use crate::{
    database::{Database, Listed},
    quotes::{self, QuoteFilter, QuoteWithFee, ids_with_prefix},
};

/// Options of `feebox quote list`.
#[derive(Args, Debug)]
pub struct List {
    /// Only quotes with this status
    #[arg(long)]
    status: Option<Status>,
    /// Only quotes of this customer
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Only quotes whose id begins like this
    #[arg(long, value_name = "DIGITS", value_parser = ids_with_prefix)]
    id_prefix: Option<(Uuid, Uuid)>,
    /// Only quotes submitted after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    submitted_after: Option<DateTime<Utc>>,
    /// Only quotes submitted before this time
    #[arg(long, value_name = "TIME")]
    submitted_before: Option<DateTime<Utc>>,
    /// Only quotes older than this one, such as the last of the previous page
    #[arg(long, value_name = "QUOTE")]
    before: Option<Uuid>,
    /// Most quotes to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let mut filter = QuoteFilter {
            submitted_by: None,
            status: self.status.map(Into::into),
            customer_id: self.customer,
            ids: self.id_prefix,
            submitted_after: self.submitted_after,
            submitted_before: self.submitted_before,
            before: self.before,
        };
        // A page may have fewer rows than `limit` although more follow.
        let mut found = Vec::new();
        loop {
            let page = quotes::list(db.connection(), &filter, self.limit - found.len() as u64).await?;
            found.extend(page.rows);
            if page.next.is_none() || found.len() as u64 >= self.limit {
                break;
            }
            filter.before = page.next;
        }
        let unreadable = found.iter().filter(|quote| matches!(quote, Listed::Unreadable(_))).count();
        let quotes: Vec<_> = found.into_iter().filter_map(Listed::read).collect();
        if self.json {
            return print::json(&quotes.iter().map(document).collect::<Vec<_>>());
        }
        say!("{}", print::table(["quote", "status", "amount", "customer", "submitted"], quotes.iter().map(row)));
        if unreadable > 0 {
            say!("{unreadable} more quotes cannot be read; GET /v1/quotes lists their ids");
        }
        Ok(())
    }
}

fn row(QuoteWithFee { quote, .. }: &QuoteWithFee) -> [String; 5] {
    [
        quote.id.to_string(),
        quote.status.to_value(),
        format!("{} {}", quote.amount_minor, quote.currency),
        quote.customer_id.clone(),
        time(quote.submitted_at),
    ]
}
