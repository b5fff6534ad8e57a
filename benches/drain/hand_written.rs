//! The reference: the shortest loop that an expert would write against this schema with bare `sqlx` for one database.
//! It claims and settles in batches and keeps calls in flight, but has no retries, fencing, circuit, order or drain.

use std::{collections::VecDeque, sync::Arc};

use anyhow::ensure;
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Client;
use sea_orm::sqlx::{self, PgPool, Row};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "as the fee server writes it")]
struct Fee {
    fee_id: String,
    quote_id: Uuid,
    currency: String,
    amount_minor: i64,
    rate_bps: i32,
    calculated_at: chrono::DateTime<chrono::Utc>,
}

const CLAIM: &str = "WITH due AS MATERIALIZED (SELECT id FROM outbox_event WHERE status = 'pending' AND due_at <= now() \
    ORDER BY due_at, id LIMIT 500 FOR UPDATE SKIP LOCKED) UPDATE outbox_event e SET status = 'leased', \
    attempts = attempts + 1, leased_until = now() + interval '30 s' FROM due WHERE e.id = due.id \
    RETURNING e.id, e.payload";
const STORE: &str = "INSERT INTO fee_record (id, quote_id, event_id, fee_id, currency, amount_minor, rate_bps, \
    calculated_at, created_at) SELECT gen_random_uuid(), *, now() FROM unnest($1::uuid[], $2::uuid[], $3::text[], \
    $4::text[], $5::bigint[], $6::int[], $7::timestamptz[])";
const DELIVERED: &str = "UPDATE outbox_event SET status = 'delivered', settled_at = now() WHERE id = ANY($1)";
const CONFIRMED: &str = "UPDATE quote SET status = 'confirmed', updated_at = now() WHERE id = ANY($1)";

pub async fn drain(database_url: &str, fee_server_url: &str, concurrency: usize) -> anyhow::Result<()> {
    let pool = PgPool::connect(database_url).await?;
    let client = Client::builder().pool_max_idle_per_host(concurrency).build()?;
    let url: Arc<str> = format!("{fee_server_url}/v1/fees").into();
    let (made, results) = mpsc::unbounded_channel();
    let settler = tokio::spawn(settle(pool.clone(), results));
    let mut claimed = VecDeque::new();
    let mut next_claim = Some(tokio::spawn(claim(pool.clone())));
    let mut calls = FuturesUnordered::new();
    loop {
        while calls.len() < concurrency
            && let Some((id, payload)) = claimed.pop_front()
        {
            calls.push(tokio::spawn(call(client.clone(), Arc::clone(&url), id, payload)));
        }
        if claimed.len() < concurrency
            && let Some(claim_ended) = next_claim.take_if(|claim| claim.is_finished() || calls.is_empty())
        {
            let events = claim_ended.await??;
            next_claim = (!events.is_empty()).then(|| tokio::spawn(claim(pool.clone())));
            claimed.extend(events);
            continue;
        }
        match calls.next().await {
            Some(done) => made.send(done??)?,
            None if next_claim.is_none() => break,
            None => {}
        }
    }
    drop(made);
    settler.await?
}

async fn claim(pool: PgPool) -> anyhow::Result<Vec<(Uuid, Value)>> {
    let rows = sqlx::query(CLAIM).fetch_all(&pool).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn call(client: Client, url: Arc<str>, id: Uuid, payload: Value) -> anyhow::Result<(Uuid, Fee)> {
    let answer = client.post(&*url).header("idempotency-key", id.to_string()).json(&payload).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.status());
    Ok((id, serde_json::from_slice(&answer.bytes().await?)?))
}

async fn settle(pool: PgPool, mut results: mpsc::UnboundedReceiver<(Uuid, Fee)>) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    while results.recv_many(&mut batch, 500).await > 0 {
        let events: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
        let quotes: Vec<_> = batch.iter().map(|(_, fee)| fee.quote_id).collect();
        let column = |text: fn(&Fee) -> &String| batch.iter().map(|(_, fee)| text(fee).clone()).collect::<Vec<_>>();
        let mut txn = pool.begin().await?;
        sqlx::query(STORE)
            .bind(&quotes)
            .bind(&events)
            .bind(column(|fee| &fee.fee_id))
            .bind(column(|fee| &fee.currency))
            .bind(batch.iter().map(|(_, fee)| fee.amount_minor).collect::<Vec<_>>())
            .bind(batch.iter().map(|(_, fee)| fee.rate_bps).collect::<Vec<_>>())
            .bind(batch.iter().map(|(_, fee)| fee.calculated_at).collect::<Vec<_>>())
            .execute(&mut *txn)
            .await?;
        sqlx::query(DELIVERED).bind(&events).execute(&mut *txn).await?;
        sqlx::query(CONFIRMED).bind(&quotes).execute(&mut *txn).await?;
        txn.commit().await?;
        batch.clear();
    }
    Ok(())
}
