//! `feebox quote cancel`

use clap::Args;
use sea_orm::ActiveEnum;
use uuid::Uuid;

use super::{
    super::{operator::Operator, print},
    show::document,
};
use crate::{
    database::Database,
    operator,
    quotes::{self, CancelError},
    settings::Settings,
    strategy,
    submission::Submission,
    worker::Signal,
};

/// Options of `feebox quote cancel`.
#[derive(Args, Debug)]
pub struct Cancel {
    /// The quote's id
    quote: Uuid,
    #[command(flatten)]
    operator: Operator,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Cancel {
    pub(super) async fn run(self, db: &Database, settings: &Settings) -> anyhow::Result<()> {
        let strategy = strategy::configured(settings, db, &Signal::default())?;
        let submission = Submission::new(db.clone(), strategy.handover, Vec::new());
        let cancel = async |operator: operator::Operator<'_>| {
            operator::cancel_quote(db, &submission, operator, self.quote, None).await
        };
        self.operator.acting(cancel).await?;
        let found = quotes::get(db.connection(), self.quote).await?.ok_or(CancelError::NotFound)?;
        if self.json {
            return print::json(&document(&found));
        }
        say!("quote {} is {}", found.quote.id, found.quote.status.to_value());
        Ok(())
    }
}
