//! An orders service with a table of its own. It tells a shop about each order by an outbox in its own database: each order
//! reaches the shop once, also if the service dies at any moment.
//!
//! ```sh
//! cargo run --no-default-features --example own_events              # a few orders, and a shop that plays along
//! DATABASE_URL=postgres://… cargo run --example own_events place 3  # stores three orders
//! DATABASE_URL=postgres://… SHOP_URL=http://… cargo run --example own_events work  # delivers until it is stopped
//! ```

use std::{env, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use feebox::{
    database::DatabaseTransaction,
    destination::Destination,
    embed::{Event, Migrator, MigratorTrait, Outbox},
    outbox::{AggregateType, DestinationName, Disposition, EventType, LeasedEvent, Outcome, Policy, Receipt, Settled},
    worker::{Settings, Worker},
};
use reqwest::{Client, StatusCode};
use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Value,
};
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

const ORDER: AggregateType = AggregateType::from_static("order");
const ORDER_PLACED: EventType = EventType::from_static("order.placed");
static SHOP: DestinationName = DestinationName::from_static("shop");

/// Longer than a look-up and a call, each of which takes a second at most.
const LEASE: Duration = Duration::from_secs(3);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Stores an order and the news of it, or neither.
async fn place(connection: &DatabaseConnection, outbox: &Outbox, item: &str) -> Result<Uuid, DbErr> {
    // SQLite: a transaction that begins as a reader cannot become a writer if another wrote in between.
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
    let txn = connection.begin_with_options(options).await?;
    let order = Uuid::now_v7();
    run(&txn, "INSERT INTO orders (id, item) VALUES (?, ?)", [order.to_string().into(), item.into()]).await?;
    let payload = json!({ "order": order, "item": item });
    outbox.record(&txn, vec![Event::new(ORDER, order, ORDER_PLACED, SHOP.clone(), payload)]).await?;
    txn.commit().await?;
    outbox.wake();
    Ok(order)
}

/// The shop, which takes orders over HTTP.
struct Shop {
    client: Client,
    url: String,
}

/// The shop's number of an order.
struct Number(String);

impl Receipt for Number {
    fn kept(&self) -> Map<String, serde_json::Value> {
        Map::from_iter([("number".to_owned(), self.0.clone().into())])
    }
}

#[async_trait]
impl Destination for Shop {
    type Receipt = Number;

    fn name(&self) -> &DestinationName {
        &SHOP
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<Number> {
        // An earlier attempt left no answer: the order may be there.
        if event.outcome_unknown {
            match self.look_up(event.aggregate_id).await {
                Ok(Some(number)) => return Outcome::Delivered(Number(number)),
                Ok(None) => {}
                Err(error) => return Outcome::Retry(error.to_string()),
            }
        }
        let call = self.client.post(format!("{}/orders", self.url)).header("Idempotency-Key", event.id.to_string());
        let answer = match call.json(&event.payload).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Outcome::Unreachable(error.to_string()),
            // It may have arrived.
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED => match answer.text().await {
                Ok(number) => Outcome::Delivered(Number(number)),
                Err(error) => Outcome::Unknown(error.to_string()),
            },
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                Outcome::Refused("the shop refuses it".into())
            }
            status if status.is_server_error() => Outcome::Unknown(status.to_string()),
            status => Outcome::Retry(status.to_string()),
        }
    }

    /// The number that the shop gave, in the transaction that settles the event: an order has it if and only if its event is
    /// delivered.
    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, Number>],
        _now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        for (attempt, became) in settled {
            if let (Disposition::Delivered, Outcome::Delivered(Number(number))) = (became, &attempt.outcome) {
                let values = [number.as_str().into(), attempt.event.aggregate_id.to_string().into()];
                run(txn, "UPDATE orders SET shop_number = ? WHERE id = ?", values).await?;
            }
        }
        Ok(())
    }
}

impl Shop {
    /// `None` if the shop has no such order, or answers no such question: then the key protects.
    async fn look_up(&self, order: Uuid) -> reqwest::Result<Option<String>> {
        let answer = self.client.get(format!("{}/orders/{order}", self.url)).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.error_for_status()?.text().await.map(Some)
    }
}

/// Runs `sql`, whose parameters are question marks, on any of the three databases.
async fn run(db: &impl ConnectionTrait, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let mut numbers = 1..;
    let numbered = |part: &str| format!("${}{part}", numbers.next().unwrap_or_default());
    let sql = match (backend, sql.split_once('?')) {
        (DbBackend::Postgres, Some((first, others))) => {
            first.to_owned() + &others.split('?').map(numbered).collect::<String>()
        }
        _ => sql.to_owned(),
    };
    db.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.map(drop)
}

async fn work(outbox: &Outbox, url: String) -> Result<(), Failure> {
    // This client needs no TLS, but where others of the build do, it wants to know whose.
    #[cfg(feature = "server")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(1)).build()?;
    let (name, settings) = (format!("orders:{}", std::process::id()), Settings { lease: LEASE, ..Settings::default() });
    let (db, signals) = (outbox.database().clone(), outbox.signals().clone());
    let worker = Worker::new(db, Arc::new(Shop { client, url }), Policy::default(), settings, name, signals);
    worker.work_every(Duration::from_millis(200)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let of_example = format!("sqlite://{}?mode=rwc", directory.path().join("orders.db").display());
    let connection = Database::connect(env::var("DATABASE_URL").unwrap_or(of_example)).await?;
    Migrator::up(&connection, None).await?;
    let orders = "CREATE TABLE IF NOT EXISTS orders (id varchar(36) PRIMARY KEY, item varchar(64) NOT NULL, shop_number varchar(64))";
    connection.execute_unprepared(orders).await?;
    let outbox = Outbox::beside(&connection)?;

    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["place", count] => {
            for number in 0..count.parse()? {
                println!("placed {}", place(&connection, &outbox, &format!("book {number}")).await?);
            }
        }
        ["work"] => work(&outbox, env::var("SHOP_URL")?).await?,
        _ => show(&connection, outbox).await?,
    }
    Ok(())
}

/// A few orders, and a shop that plays along.
async fn show(connection: &DatabaseConnection, outbox: Outbox) -> Result<(), Failure> {
    let shop = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", shop.local_addr()?);
    let (orders_seen, mut seen) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = shop.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let answer = "HTTP/1.1 201 Created\r\ncontent-length: 4\r\nconnection: close\r\n\r\nA-17";
            let _ = stream.write_all(answer.as_bytes()).await;
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let _ = orders_seen.send(text.lines().last().unwrap_or_default().to_owned()).await;
        }
    });
    let working = tokio::spawn({
        let outbox = outbox.clone();
        async move { work(&outbox, url).await }
    });
    for item in ["a book", "a lamp"] {
        println!("placed {}", place(connection, &outbox, item).await?);
        println!("the shop got {}", seen.recv().await.unwrap_or_default());
    }
    outbox.drain();
    working.await??;
    Ok(())
}
