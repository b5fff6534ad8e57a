//! How to react to a submitted quote without changing Feebox: customers who submit their first quote are put on a list of
//! people to welcome.
//!
//! ```sh
//! cargo run --example welcome_new_customers
//! ```
//!
//! The list is written *before the commit*, in the quote's own transaction: a customer is on it if and only if the first
//! quote is stored. The greeting is printed *after the commit*: it is lost if the process dies in between, so do only what
//! may be lost there. *After a rollback* the example prints that the quotes were not stored.

use std::sync::Arc;

use async_trait::async_trait;
use feebox::{
    database::{Database, DatabaseTransaction},
    quotes::{Line, NewQuote},
    settings::{Settings, Sources},
    submission::{Listener, ListenerError, OutboxRecorder, Submission, Submitted},
};
use migration::MigratorTrait;
use sea_orm::ConnectionTrait;

struct WelcomeNewCustomers;

#[async_trait]
impl Listener for WelcomeNewCustomers {
    async fn before_commit(&self, txn: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        for quote in &submitted.quotes {
            if quote.customer_id == "nobody" {
                return Err(ListenerError::Refused("the customer nobody is not welcome".into()));
            }
            let welcome = "INSERT INTO welcome (customer_id) VALUES (?) ON CONFLICT DO NOTHING";
            let values = [quote.customer_id.as_str().into()];
            let backend = txn.get_database_backend();
            txn.execute_raw(sea_orm::Statement::from_sql_and_values(backend, welcome, values)).await?;
        }
        Ok(())
    }

    async fn after_commit(&self, submitted: &Submitted) {
        for quote in &submitted.quotes {
            println!("stored quote {} of {}", quote.id, quote.customer_id);
        }
    }

    async fn after_rollback(&self, submitted: &Submitted) {
        println!("{} quotes were rolled back", submitted.quotes.len());
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("example.db").display());
    let settings = Settings::load(&Sources::overrides([("database.url", url.as_str())]))?;
    let db = Database::connect(&settings.database).await?;
    migration::Migrator::up(db.connection(), None).await?;
    db.connection().execute_unprepared("CREATE TABLE welcome (customer_id TEXT PRIMARY KEY)").await?;

    let submission = Submission::new(db, Arc::new(OutboxRecorder::default()), vec![Arc::new(WelcomeNewCustomers)]);
    for customer_id in ["ada", "grace", "nobody", "ada"] {
        if let Err(error) = submission.submit(&[quote_of(customer_id)], None, None).await {
            println!("{customer_id}: {error}");
        }
    }
    Ok(())
}

fn quote_of(customer_id: &str) -> NewQuote {
    let line = Line::parse("Consulting, one day", 1, 95_000).expect("a good line");
    NewQuote::parse(customer_id, "EUR", vec![line]).expect("a good quote")
}
