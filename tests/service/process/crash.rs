//! A process dies at the worst moments, as by `kill -9`, and another takes over: nothing is lost, nothing is doubled.

use std::collections::BTreeSet;
use std::time::Duration;

use entity::{
    outbox_event::{self, Status},
    quote,
};
use feebox::lab::sample_fee_server::Faults;
use feebox::outbox;
use feebox::quotes::FEE_SERVER;
use feebox::submission::ClientKey;
use reqwest::{Response, StatusCode};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Stage, at_each_moment, eventually, http_client, new_quote};

/// Leases are short, so that the other worker takes over soon.
const SETTINGS: [(&str, &str); 2] = [("worker.lease", "1500ms"), ("fee_server.timeout", "1s")];

/// A fee server that honours idempotency keys and knows no look-up, so that the key alone prevents a second fee.
fn keys_alone() -> Faults {
    Faults { no_lookup: true, ..Faults::default() }
}

/// One that ignores keys, so that the look-up alone does.
fn look_ups_alone() -> Faults {
    Faults { no_idempotency: true, ..Faults::default() }
}

at_each_moment!(nothing_is_lost_or_doubled_if_a_worker_dies: after_claim, after_delivery, before_settle_commit);
at_each_moment!(a_repeated_call_stores_one_quote_if_the_service_dies: before_commit, after_commit);
at_each_moment!(each_attempt_is_written_down_once_if_a_rescuer_dies: before_rescue_commit, after_rescue_commit);
at_each_moment!(no_audit_misses_anything_if_retention_dies: after_prune_mark, after_prune_batch);
at_each_moment!(all_quotes_get_their_owners_in_the_end_if_giving_them_dies: before_owners_commit, after_owners_commit);
at_each_moment!(the_rest_is_repaired_if_a_repair_of_times_dies: after_bring_back);

async fn nothing_is_lost_or_doubled_if_a_worker_dies(engine: Engine, moment: &str) {
    // Both at once: each waits for a lease most of the time.
    tokio::join!(
        a_worker_dies_before(engine, moment, keys_alone()),
        a_worker_dies_before(engine, moment, look_ups_alone()),
    );
}

async fn a_worker_dies_before(engine: Engine, moment: &str, faults: Faults) {
    let protection = if faults.no_lookup { "keys alone" } else { "look-ups alone" };
    let stage = Stage::new(engine, faults).await;
    let quote = stage.submit(1).await[0];
    // It may die before it says that it has started.
    let dead = stage.process(&["worker"], &SETTINGS, &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
    assert_killed(dead.wait(LIMIT).await);
    let fees = usize::from(moment != "after_claim");
    assert_eq!(stage.fee_server.fees().len(), fees, "fees made by the worker that died");
    assert_eq!(stage.leases_of(&dead).await, 1);
    assert_eq!(stage.books().await.fee_records, 0);

    let _other = stage.worker(&SETTINGS).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("worker killed at {moment}, {engine:?}, {protection}: {books}");
    books.assert_sound();
    let event = stage.event_of(quote).await;
    assert_eq!(event.attempts, 2);
    assert_eq!(event.failures.as_array().unwrap().len(), 1, "what happened can be read: {:?}", event.failures);
}

/// PostgreSQL claims in one statement, which has committed when a row turns out to be unreadable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_event_costs_nobody_else_if_the_worker_that_claimed_it_dies() {
    let stage = Stage::new(Engine::Postgres, look_ups_alone()).await;
    let (bad, good) = (stage.submit(1).await[0], stage.submit(3).await);
    let spoil = format!("UPDATE outbox_event SET created_at = 'infinity' WHERE aggregate_id = '{bad}'");
    stage.db.connection().execute_unprepared(&spoil).await.unwrap();
    let dead = stage.process(&["worker"], &SETTINGS, &[("FEEBOX_CRASH_AT", "after-unreadable-claim")]);
    assert_killed(dead.wait(LIMIT).await);
    assert_eq!(stage.leases_of(&dead).await, 4);

    let _other = stage.worker(&SETTINGS).await;
    let counted = async |status: Status| {
        outbox_event::Entity::find().filter(outbox_event::Column::Status.eq(status)).count(stage.db.connection()).await
    };
    let settled = async || {
        let [delivered, dead] = [counted(Status::Delivered).await.unwrap(), counted(Status::Dead).await.unwrap()];
        (delivered + dead == 4).then_some([delivered, dead])
    };
    assert_eq!(eventually("all are settled", LIMIT, settled).await, [3, 1]);
    for quote in good {
        assert_eq!(stage.event_of(quote).await.attempts, 2);
    }
}

async fn each_attempt_is_written_down_once_if_a_rescuer_dies(engine: Engine, moment: &str) {
    let stage = Stage::new(engine, look_ups_alone()).await;
    let quotes = stage.submit(5).await;
    let dead = stage.process(&["worker"], &SETTINGS, &[("FEEBOX_CRASH_AT", "after-delivery")]);
    assert_killed(dead.wait(LIMIT).await);
    let leases = stage.leases_of(&dead).await;
    assert!(leases > 0);
    let rescuer = stage.process(&["worker"], &SETTINGS, &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
    assert_killed(rescuer.wait(LIMIT).await);
    let left = if moment == "before_rescue_commit" { leases } else { 0 };
    assert_eq!(stage.leases_of(&dead).await, left, "all of them at once, or none");

    let _other = stage.worker(&SETTINGS).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("rescuer killed at {moment}, {engine:?}: {books}");
    books.assert_sound();
    for quote in quotes {
        let event = stage.event_of(quote).await;
        let failures = event.failures.as_array().unwrap();
        // The rescuer may have claimed what it had just rescued when it died.
        let attempts: BTreeSet<_> = failures.iter().map(|failure| failure["attempt"].as_i64()).collect();
        assert_eq!(attempts.len(), failures.len(), "what left no result is written down once: {failures:?}");
        assert_eq!(usize::try_from(event.attempts).unwrap(), failures.len() + 1);
    }
}

async fn no_audit_misses_anything_if_retention_dies(engine: Engine, moment: &str) {
    let stage = Stage::new(engine, look_ups_alone()).await;
    stage.submit(5).await;
    {
        let _worker = stage.worker(&SETTINGS).await;
        stage.drained().await;
    }
    stage.books().await.assert_sound();
    let [lease, timeout] = SETTINGS;
    let settings = [lease, timeout, ("retention.schedule", "* * * * * *"), ("retention.delivered_for", "0s")];
    let dead = stage.process(&["worker"], &settings, &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
    assert_killed(dead.wait(LIMIT).await);
    // Those that were settled in the same second are pruned together.
    assert_eq!(stage.events().await.len() == 5, moment == "after_prune_mark");
    // By an audit that is set to keep events for longer.
    assert_eq!(stage.books().await.violations, []);

    let _other = stage.worker(&settings).await;
    eventually("all is pruned", LIMIT, async || stage.events().await.is_empty().then_some(())).await;
    let books = stage.books().await;
    println!("retention killed at {moment}, {engine:?}: {books}");
    assert_eq!((books.confirmed, books.fee_records, books.true_records), (5, 5, 5));
    assert_eq!((books.lost, books.at_fee_server.fees, books.violations), (0, 5, vec![]));
}

/// Quotes of an older version, two owners' of two each: each owner's are given by a transaction.
async fn all_quotes_get_their_owners_in_the_end_if_giving_them_dies(engine: Engine, moment: &str) {
    let stage = Stage::new(engine, look_ups_alone()).await;
    let submission = stage.submission();
    for owner in ["ada", "ben"] {
        let key = ClientKey { scope: owner.into(), key: "1".into() };
        let stored = submission.submit(&[new_quote(), new_quote()], Some(&key), None).await.unwrap().quotes;
        stage.accept(&stored.iter().map(|quote| quote.id).collect::<Vec<_>>());
    }
    let owners = async || {
        let quotes = quote::Entity::find().all(stage.db.connection()).await.unwrap();
        let owners: Vec<_> = quotes.into_iter().filter_map(|quote| quote.submitted_by).collect();
        let partners =
            stage.events().await.into_iter().map(|event| event.partner).filter(|partner| !partner.is_empty());
        let mut both = (owners, partners.collect::<Vec<_>>());
        both.0.sort_unstable();
        both.1.sort_unstable();
        both
    };
    let give = ["migrate", "owners"];
    let dead = stage.process(&give, &[], &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
    assert_killed(dead.wait(LIMIT).await);
    let (of_quotes, of_events) = owners().await;
    assert_eq!(of_quotes, of_events, "quotes and their events have one owner");
    assert_eq!(of_quotes.len(), if moment == "before_owners_commit" { 0 } else { 2 });
    assert!(stage.process(&give, &[], &[]).wait(LIMIT).await.success());
    let all = ["ada", "ada", "ben", "ben"].map(String::from).to_vec();
    assert_eq!(owners().await, (all.clone(), all));

    let _worker = stage.worker(&SETTINGS).await;
    stage.drained().await;
    stage.books().await.assert_sound();
}

/// One event is due in a month, another one leased until then.
async fn the_rest_is_repaired_if_a_repair_of_times_dies(engine: Engine, moment: &str) {
    let stage = Stage::new(engine, look_ups_alone()).await;
    let (due, leased) = (stage.submit(1).await[0], stage.submit(1).await[0]);
    let connection = stage.db.connection();
    outbox::ensure_destinations(&stage.db, &[&FEE_SERVER]).await.unwrap();
    let ahead = stage.db.now(connection).await.unwrap() + Duration::from_hours(30 * 24);
    let of = |quote| outbox_event::Entity::update_many().filter(outbox_event::Column::AggregateId.eq(quote));
    let wait = outbox_event::ActiveModel { due_at: Set(ahead), ..Default::default() };
    of(due).set(wait).exec(connection).await.unwrap();
    let lease = outbox_event::ActiveModel {
        status: Set(Status::Leased),
        attempts: Set(1),
        lease_token: Set(Some(Uuid::new_v4())),
        leased_until: Set(Some(ahead)),
        leased_by: Set(Some("a process".into())),
        ..Default::default()
    };
    of(leased).set(lease).exec(connection).await.unwrap();

    let dead = stage.process(&["worker"], &SETTINGS, &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
    assert_killed(dead.wait(LIMIT).await);
    assert!(stage.event_of(due).await.due_at < ahead, "what was done stays done");
    assert_eq!(stage.event_of(leased).await.leased_until, Some(ahead), "the rest was not begun");
    // It may have claimed what it had just repaired when it died.
    let claimed = stage.event_of(due).await.attempts;

    let _other = stage.worker(&SETTINGS).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("killed at {moment}, {engine:?}: {books}");
    books.assert_sound();
    assert_eq!((stage.event_of(due).await.attempts, stage.event_of(leased).await.attempts), (claimed + 1, 2));
}

async fn a_repeated_call_stores_one_quote_if_the_service_dies(engine: Engine, moment: &str) {
    let stage = Stage::new(engine, look_ups_alone()).await;
    let (dead, base_url) = stage.serve(&[], &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]).await;
    let unanswered = submit(&base_url).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    assert_killed(dead.wait(LIMIT).await);
    let stored = stage.books().await;
    let was_committed = moment == "after_commit";
    assert_eq!((stored.quotes, stored.events), if was_committed { (1, 1) } else { (0, 0) });

    let (_alive, base_url) = stage.serve(&[], &[]).await;
    let answer = submit(&base_url).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let replayed = answer.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    assert_eq!(replayed, was_committed);
    let first: Value = answer.json().await.unwrap();
    // And once more, as a client may that lost this answer too.
    let again: Value = submit(&base_url).await.unwrap().json().await.unwrap();
    assert_eq!(again["id"], first["id"]);

    stage.accept(&[first["id"].as_str().unwrap().parse().unwrap()]);
    let _worker = stage.worker(&SETTINGS).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("service killed at {moment}, {engine:?}: {books}");
    books.assert_sound();
    books.assert_each_sent_once();
}

/// The same call each time.
async fn submit(base_url: &str) -> reqwest::Result<Response> {
    let line = json!({ "description": "freight", "quantity": 1, "unit_price_minor": 5_000 });
    let quote = json!({ "customer_id": "customer", "currency": "EUR", "lines": [line] });
    let call = http_client().post(format!("{base_url}/v1/quotes")).header("Idempotency-Key", "order-1");
    call.json(&quote).send().await
}

fn assert_killed(status: std::process::ExitStatus) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "{status}");
}
