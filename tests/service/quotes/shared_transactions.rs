//! Calls that share a transaction: each keeps its own answer.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use feebox::database::DatabaseTransaction;
use feebox::quotes::{Line, NewQuote};
use feebox::submission::{
    ClientKey, Listener, ListenerError, OutboxRecorder, StoredQuotes, Submission, SubmissionError, Submitted,
};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;

use crate::support::{Engine, TestOutbox, on_each_engine};

const CALLS: usize = 40;

on_each_engine!(
    calls_that_come_together_share_transactions_and_all_are_stored,
    a_listener_that_refuses_one_call_costs_the_others_nothing,
    each_call_has_the_answer_of_its_own_key,
);

struct RefusesBob;

#[async_trait]
impl Listener for RefusesBob {
    async fn before_commit(&self, _: &DatabaseTransaction, submitted: &Submitted) -> Result<(), ListenerError> {
        let is_his = submitted.quotes.iter().any(|quote| quote.customer_id == "bob");
        if is_his { Err(ListenerError::Refused("not for bob".into())) } else { Ok(()) }
    }
}

fn of(customer: &str) -> [NewQuote; 1] {
    let line = Line::parse("Consulting, one day", 3, 95_000).unwrap();
    [NewQuote::parse(customer, "EUR", vec![line]).unwrap()]
}

async fn at_once(submission: &Submission, customers: &[&str]) -> Vec<Result<StoredQuotes, SubmissionError>> {
    let calls = customers.iter().map(|customer| async move { submission.submit(&of(customer), None, None).await });
    join_all(calls).await
}

async fn calls_that_come_together_share_transactions_and_all_are_stored(outbox: TestOutbox) {
    let stored = at_once(&outbox.submission, &["ada"; CALLS]).await;
    let quotes: Vec<_> = stored.into_iter().map(|stored| stored.unwrap().quotes[0].clone()).collect();
    let ids: HashSet<_> = quotes.iter().map(|quote| quote.id).collect();
    let events: HashSet<_> = outbox.events().await.into_iter().map(|event| event.aggregate_id).collect();
    assert_eq!((ids.len(), events), (CALLS, ids));
    // A transaction has one time.
    let transactions: HashSet<_> = quotes.iter().map(|quote| quote.submitted_at).collect();
    assert!(transactions.len() <= CALLS / 4, "{} transactions", transactions.len());
}

async fn a_listener_that_refuses_one_call_costs_the_others_nothing(outbox: TestOutbox) {
    let recorder = Arc::new(OutboxRecorder::default());
    let submission = Submission::new(outbox.db.clone(), recorder, vec![Arc::new(RefusesBob)]);
    let customers: Vec<_> = (0..CALLS).map(|number| if number % 8 == 5 { "bob" } else { "ada" }).collect();
    let stored = at_once(&submission, &customers).await;
    for (customer, stored) in customers.iter().zip(&stored) {
        match stored {
            Ok(stored) => assert_eq!((*customer, stored.quotes[0].customer_id.as_str()), ("ada", "ada")),
            Err(error) => assert!(*customer == "bob" && matches!(error, SubmissionError::Refused(_)), "{error}"),
        }
    }
    let adas = customers.iter().filter(|customer| **customer == "ada").count();
    assert_eq!(outbox.events().await.len(), adas);
}

async fn each_call_has_the_answer_of_its_own_key(outbox: TestOutbox) {
    let key = |number: usize| ClientKey { scope: "ada".into(), key: number.to_string() };
    let submit =
        async |number: usize, customer: &str| outbox.submission.submit(&of(customer), Some(&key(number)), None).await;
    let first = join_all((0..CALLS).map(|number| submit(number, "ada"))).await;
    let first: Vec<_> = first.into_iter().map(Result::unwrap).collect();
    assert!(first.iter().all(|stored| !stored.replayed));
    // Some are repeated, some are new, and one key comes with another body.
    let customer = |number: usize| if number == 7 { "eve" } else { "ada" };
    let second = join_all((0..2 * CALLS).map(|number| submit(number, customer(number)))).await;
    for (number, stored) in second.iter().enumerate() {
        match stored {
            Ok(stored) if number < CALLS => {
                assert_eq!((stored.quotes[0].id, stored.replayed), (first[number].quotes[0].id, true));
            }
            Ok(stored) => assert!(!stored.replayed),
            Err(error) => assert!(number == 7 && matches!(error, SubmissionError::KeyReused), "{number}: {error}"),
        }
    }
    assert_eq!(outbox.events().await.len(), 2 * CALLS);
}

/// Another process has stored the key and hangs before its commit.
#[tokio::test]
async fn a_key_that_another_process_holds_costs_the_other_calls_nothing() {
    let outbox = TestOutbox::open(Engine::Postgres).await;
    let other = outbox.database.open().await;
    let txn = other.begin().await.unwrap();
    let sql = "INSERT INTO idempotency_key (scope, key, request_sha256, quote_ids, created_at) \
        VALUES ('ada', '3', 'another', '[]', now())";
    txn.execute_unprepared(sql).await.unwrap();
    let key = |number: usize| ClientKey { scope: "ada".into(), key: number.to_string() };
    // The first call is alone in its transaction, and keeps the others together behind it.
    let submit = async |number: usize| outbox.submission.submit(&of("ada"), Some(&key(number)), None).await;
    let began = std::time::Instant::now();
    let stored = join_all((0..CALLS).map(submit)).await;
    for (number, stored) in stored.iter().enumerate() {
        match stored {
            Ok(_) => assert_ne!(number, 3),
            Err(error) => assert!(number == 3 && matches!(error, SubmissionError::KeyInFlight), "{number}: {error}"),
        }
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "nobody waits for a lock: {:?}", began.elapsed());
    txn.rollback().await.unwrap();
    assert!(submit(3).await.is_ok());
}
