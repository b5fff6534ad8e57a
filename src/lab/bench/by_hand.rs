//! The limit: what an expert would write by hand for `PostgreSQL` with bare `sqlx`, against this schema, without HTTP, keys
//! that are looked at, retries, fences or order.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use sea_orm::sqlx::{
    self, Connection, PgConnection, PgPool, Row,
    postgres::{PgListener, PgPoolOptions},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

use super::caller::Accepted;

const STORE: &str = "WITH new AS (SELECT *, now() AS at FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], \
    $5::jsonb[]) AS t(quote_id, event_id, customer_id, lines, payload)), \
    keys AS (INSERT INTO idempotency_key (scope, key, request_sha256, quote_ids, created_at) \
        SELECT 'bench', event_id::text, repeat('0', 64), jsonb_build_array(quote_id), at FROM new), \
    quotes AS (INSERT INTO quote (id, customer_id, currency, amount_minor, lines, status, submitted_at, updated_at, destination) \
        SELECT quote_id, customer_id, 'EUR', 285000, lines, 'pending', at, at, 'fee-server' FROM new) \
    INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, status, attempts, \
        live_since, due_at, outcome_unknown, withdrawn, failures, created_at) \
        SELECT event_id, 'quote', quote_id, 'quote.submitted', 'fee-server', 1, payload, 'pending', 0, at, at, false, false, \
        '[]', at FROM new";

/// How callers share transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Each has its own, in one statement.
    None,
    /// Each has its own, statement by statement.
    Steps,
    /// Those that arrive while one is under way go into the next together.
    Whole,
}

/// What the callers waited for.
pub(super) async fn submit(
    url: &str,
    callers: usize,
    time: Duration,
    sharing: Sharing,
) -> anyhow::Result<Vec<Duration>> {
    let connections = if sharing == Sharing::Whole { 2 } else { callers.min(16) };
    let pool = PgPoolOptions::new().max_connections(u32::try_from(connections)?).connect(url).await?;
    let (queue, waiting) = mpsc::channel::<oneshot::Sender<()>>(callers);
    let waiting = Arc::new(Mutex::new(waiting));
    let mut committers = JoinSet::new();
    for _ in 0..connections {
        committers.spawn(commit_together(pool.clone(), Arc::clone(&waiting), sharing));
    }
    let (mut tasks, end) = (JoinSet::new(), Instant::now() + time);
    for _ in 0..callers {
        let queue = queue.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let (done, stored) = oneshot::channel();
                let begun = Instant::now();
                queue.send(done).await.context("no committer")?;
                stored.await.context("a committer failed")?;
                took.push(begun.elapsed());
            }
            anyhow::Ok(took)
        });
    }
    drop(queue);
    let all: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    for committed in committers.join_all().await {
        committed?;
    }
    pool.close().await;
    Ok(all?.concat())
}

type Waiting = Arc<Mutex<mpsc::Receiver<oneshot::Sender<()>>>>;

async fn commit_together(pool: PgPool, waiting: Waiting, sharing: Sharing) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let most = if sharing == Sharing::Whole { 256 } else { 1 };
    loop {
        let mut some = Vec::new();
        if waiting.lock().await.recv_many(&mut some, most).await == 0 {
            return Ok(());
        }
        if sharing == Sharing::Steps {
            store_in_steps(&mut connection).await?;
        } else {
            store(&mut connection, some.len()).await?;
        }
        for done in some {
            let _ = done.send(());
        }
    }
}

async fn store_in_steps(connection: &mut PgConnection) -> anyhow::Result<()> {
    let (quote_id, event_id) = (Uuid::now_v7(), Uuid::now_v7());
    let lines = json!([{ "description": "Consulting, one day", "quantity": 3, "unit_price_minor": 95_000 }]);
    let payload = json!({ "quote_id": quote_id, "customer_id": "customer-0", "currency": "EUR", "amount_minor": 285_000,
        "submitted_at": "2026-11-26T00:00:00Z" });
    let mut txn = connection.begin().await?;
    let key = "INSERT INTO idempotency_key (scope, key, request_sha256, quote_ids, created_at) \
        VALUES ('bench', $1, repeat('0', 64), jsonb_build_array($2::uuid), now())";
    sqlx::query(key).bind(event_id.to_string()).bind(quote_id).execute(&mut *txn).await?;
    let quote = "INSERT INTO quote (id, customer_id, currency, amount_minor, lines, status, submitted_at, updated_at, destination) \
        VALUES ($1, 'customer-0', 'EUR', 285000, $2, 'pending', now(), now(), 'fee-server')";
    sqlx::query(quote).bind(quote_id).bind(lines).execute(&mut *txn).await?;
    let event = "INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, \
        status, attempts, live_since, due_at, outcome_unknown, withdrawn, failures, created_at) \
        VALUES ($1, 'quote', $2, 'quote.submitted', 'fee-server', 1, $3, 'pending', 0, now(), now(), false, false, '[]', now())";
    sqlx::query(event).bind(event_id).bind(quote_id).bind(payload).execute(&mut *txn).await?;
    Ok(txn.commit().await?)
}

/// Stores one quote each time it is due, and notifies once it is stored.
pub(super) async fn submit_steadily(url: &str, per_second: f64, time: Duration) -> anyhow::Result<Vec<Accepted>> {
    let pool = PgPoolOptions::new().max_connections(4).connect(url).await?;
    let (mut tasks, begun) = (JoinSet::new(), tokio::time::Instant::now());
    for turn in 0_u32.. {
        let after = Duration::from_secs_f64(f64::from(turn) / per_second);
        if after >= time {
            break;
        }
        tokio::time::sleep_until(begun + after).await;
        let pool = pool.clone();
        tasks.spawn(async move {
            let (mut connection, begun) = (pool.acquire().await?, Instant::now());
            let quote_id = store(&mut connection, 1).await?[0];
            let accepted = Accepted { quote_id, took: begun.elapsed(), at: SystemTime::now() };
            sqlx::query("NOTIFY bench").execute(&mut *connection).await?;
            anyhow::Ok(accepted)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// Claims and delivers whatever is stored, each time it is notified; it does not settle.
pub(super) async fn deliver_when_notified(database_url: String, fee_server_url: String) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(2).connect(&database_url).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("bench").await?;
    let (client, url) = (reqwest::Client::new(), format!("{fee_server_url}/v1/fees"));
    loop {
        listener.recv().await?;
        for row in sqlx::query(CLAIM).fetch_all(&pool).await? {
            let (id, payload): (Uuid, Value) = (row.try_get("id")?, row.try_get("payload")?);
            let call = client.post(&url).header("idempotency-key", id.to_string()).json(&payload);
            tokio::spawn(call.send());
        }
    }
}

async fn store(connection: &mut PgConnection, count: usize) -> anyhow::Result<Vec<Uuid>> {
    let quote_ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    let event_ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    let customers: Vec<String> = (0..count).map(|number| format!("customer-{number}")).collect();
    let lines = json!([{ "description": "Consulting, one day", "quantity": 3, "unit_price_minor": 95_000 }]);
    let payloads: Vec<Value> = quote_ids
        .iter()
        .zip(&customers)
        .map(|(id, customer)| {
            json!({ "quote_id": id, "customer_id": customer, "currency": "EUR", "amount_minor": 285_000,
                "submitted_at": "2026-11-26T00:00:00Z" })
        })
        .collect();
    sqlx::query(STORE)
        .bind(&quote_ids)
        .bind(event_ids)
        .bind(customers)
        .bind(vec![lines; count])
        .bind(payloads)
        .execute(connection)
        .await?;
    Ok(quote_ids)
}

const CLAIM: &str = "WITH due AS MATERIALIZED (SELECT id FROM outbox_event WHERE status = 'pending' AND due_at <= now() \
    ORDER BY due_at, id LIMIT 500 FOR UPDATE SKIP LOCKED) UPDATE outbox_event e SET status = 'leased', \
    attempts = attempts + 1, leased_until = now() + interval '30 s' FROM due WHERE e.id = due.id \
    RETURNING e.id, e.payload";
const SETTLE: &str = "WITH made AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) \
    AS t(event_id, quote_id, fee_id, amount_minor)), \
    fees AS (INSERT INTO fee_record (id, quote_id, event_id, fee_id, currency, amount_minor, rate_bps, calculated_at, created_at) \
        SELECT gen_random_uuid(), quote_id, event_id, fee_id, 'EUR', amount_minor, 250, now(), now() FROM made), \
    quotes AS (UPDATE quote SET status = 'confirmed', updated_at = now() FROM made WHERE quote.id = made.quote_id) \
    UPDATE outbox_event SET status = 'delivered', settled_at = now() FROM made WHERE outbox_event.id = made.event_id";

/// One fee, as far as it is looked at.
#[derive(serde::Deserialize)]
#[expect(clippy::struct_field_names, reason = "as the fee server writes it")]
struct Fee {
    fee_id: String,
    quote_id: Uuid,
    amount_minor: i64,
}

/// Claims and settles in batches, with `concurrency` calls in flight.
pub(super) async fn drain(database_url: &str, fee_server_url: &str, concurrency: usize) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(2).connect(database_url).await?;
    let client = reqwest::Client::builder().pool_max_idle_per_host(concurrency).build()?;
    let url = format!("{fee_server_url}/v1/fees");
    let claims = stream::unfold(pool.clone(), |pool| async move {
        let rows = sqlx::query(CLAIM).fetch_all(&pool).await;
        let is_over = rows.as_ref().is_ok_and(Vec::is_empty);
        (!is_over).then_some((rows, pool))
    });
    // The next claim runs while calls are in flight.
    let (events, mut claimed) = mpsc::channel(2);
    let claiming = tokio::spawn(async move {
        let mut claims = std::pin::pin!(claims);
        while let Some(rows) = claims.next().await {
            if events.send(rows).await.is_err() {
                break;
            }
        }
    });
    let due = async_stream(&mut claimed);
    let made = due.map(|event| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move {
            let (id, payload) = event?;
            let call = client.post(&url).header("idempotency-key", id.to_string()).json(&payload).send().await?;
            anyhow::Ok((id, call.error_for_status()?.json::<Fee>().await?))
        })
    });
    let made = made.buffer_unordered(concurrency).ready_chunks(500);
    let mut made = std::pin::pin!(made);
    while let Some(some) = made.next().await {
        let fees: Vec<(Uuid, Fee)> = some.into_iter().map(|done| done?).collect::<anyhow::Result<_>>()?;
        sqlx::query(SETTLE)
            .bind(fees.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .bind(fees.iter().map(|(_, fee)| fee.quote_id).collect::<Vec<_>>())
            .bind(fees.iter().map(|(_, fee)| fee.fee_id.clone()).collect::<Vec<_>>())
            .bind(fees.iter().map(|(_, fee)| fee.amount_minor).collect::<Vec<_>>())
            .execute(&pool)
            .await?;
    }
    claiming.await?;
    pool.close().await;
    Ok(())
}

type Claimed = Result<Vec<sqlx::postgres::PgRow>, sqlx::Error>;

/// The events of all claims, one by one.
fn async_stream(
    claimed: &mut mpsc::Receiver<Claimed>,
) -> impl futures_util::Stream<Item = anyhow::Result<(Uuid, Value)>> + '_ {
    stream::unfold(claimed, |claimed| async move { claimed.recv().await.map(|rows| (rows, claimed)) }).flat_map(
        |rows| {
            let events: Vec<_> = match rows {
                Ok(rows) => rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("payload")?))).collect(),
                Err(error) => vec![Err(error.into())],
            };
            stream::iter(events)
        },
    )
}
