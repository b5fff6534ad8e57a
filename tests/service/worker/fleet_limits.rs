//! Limits of the fleet, kept by eight processes that share nothing but the database.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::outbox_event::{Column, Entity};
use feebox::lab::sample_fee_server::Faults;
use feebox::operator;
use feebox::outbox::{self, LimitChange, LimitsChange};
use feebox::quotes::FEE_SERVER;
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QuerySelect, sea_query::Query};

use super::limits::most_within;
use crate::support::{ANN, Engine, LIMIT, Signal, Stage, eventually, name_of};

const WINDOW: Duration = Duration::from_secs(10);

async fn limited(engine: Engine, faults: Faults, per_second: Option<u32>, in_flight: Option<u32>) -> Stage {
    let stage = Stage::new(engine, faults).await;
    outbox::ensure_destinations(&stage.db, &[&FEE_SERVER]).await.unwrap();
    let to = |limit: Option<u32>| limit.map_or(LimitChange::Keep, LimitChange::Set);
    let limits = LimitsChange { per_second: to(per_second), in_flight: to(in_flight) };
    operator::limit(&stage.db, ANN, &FEE_SERVER, limits).await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_keep_calls_a_second_over_any_ten_seconds_on_postgres() {
    eight_processes_keep_calls_a_second_over_any_ten_seconds(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_keep_calls_a_second_over_any_ten_seconds_on_mariadb() {
    eight_processes_keep_calls_a_second_over_any_ten_seconds(Engine::MariaDb).await;
}

async fn eight_processes_keep_calls_a_second_over_any_ten_seconds(engine: Engine) {
    let stage = limited(engine, Faults::default(), Some(20), None).await;
    note_claims(&stage).await;
    // Time enough for each call, however busy the machine is: what is cut off is called again.
    let workers = stage.workers::<8>(&[("worker.lease", "30s"), ("fee_server.timeout", "10s")]).await;
    stage.submit(300).await;
    stage.drained().await;
    let mut begun = stage.fee_server.arrivals();
    begun.sort();
    let (most, took) = (most_within(&begun, WINDOW), *begun.last().unwrap() - begun[0]);
    let claims = claims(&stage).await;
    let claimed = most_within(&claims, TimeDelta::from_std(WINDOW).unwrap());
    println!(
        "{engine:?}, 20 a second by eight processes: {claimed} claimed and {most} begun within 10 s, 300 in {took:.1?}"
    );
    assert_eq!(begun.len(), 300, "each once");
    // Those that came late make up for a quarter of a second.
    assert!(claims.len() >= 300 && claimed <= 206, "{claimed} of {}", claims.len());
    // A process that a busy machine does not let run calls a moment after its claim.
    assert!(most <= 220, "{most}");
    // As slow as it may be on a busy machine.
    assert!(took < Duration::from_secs(40), "{took:?}");
    drop(workers);
}

/// Lets the database write down when each event was claimed, or rather when its lease ends: each is as long.
async fn note_claims(stage: &Stage) {
    let trigger = match stage.db.connection().get_database_backend() {
        DbBackend::Postgres => {
            "CREATE TABLE claimed (at timestamptz);
             CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN INSERT INTO claimed VALUES (NEW.leased_until); RETURN NULL; END';
             CREATE TRIGGER note_claim AFTER UPDATE ON outbox_event FOR EACH ROW
                 WHEN (NEW.leased_until IS DISTINCT FROM OLD.leased_until AND NEW.leased_until IS NOT NULL)
                 EXECUTE FUNCTION note_claim()"
        }
        _ => {
            "CREATE TABLE claimed (at datetime(6));
             CREATE TRIGGER note_claim AFTER UPDATE ON outbox_event FOR EACH ROW
                 INSERT INTO claimed SELECT NEW.leased_until FROM dual
                     WHERE NOT (NEW.leased_until <=> OLD.leased_until) AND NEW.leased_until IS NOT NULL"
        }
    };
    for statement in trigger.split_inclusive(";\n") {
        stage.db.connection().execute_unprepared(statement).await.unwrap();
    }
}

async fn claims(stage: &Stage) -> Vec<DateTime<Utc>> {
    let claimed = Query::select().column("at").from("claimed").take();
    let rows = stage.db.connection().query_all(&claimed).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_a_killed_process_count_until_its_lease_ends_on_postgres() {
    the_calls_of_a_killed_process_count_until_its_lease_ends(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_a_killed_process_count_until_its_lease_ends_on_mariadb() {
    the_calls_of_a_killed_process_count_until_its_lease_ends(Engine::MariaDb).await;
}

async fn the_calls_of_a_killed_process_count_until_its_lease_ends(engine: Engine) {
    const MOST: usize = 8;
    // No call is answered.
    let stage = limited(engine, Faults { hang_rate: 1.0, ..Faults::default() }, None, Some(8)).await;
    let times = [("fee_server.timeout", "8s"), ("worker.lease", "12s"), ("circuit.failures", "1000")];
    let workers = stage.workers::<8>(&times).await;
    stage.submit(60).await;
    let (dead, held) = eventually("all calls that may be are in flight", LIMIT, async || {
        let leases = leases(&stage).await;
        let held = |index: &usize| leases.get(&name_of(&workers[*index])).copied().unwrap_or(0);
        let most = (0..workers.len()).max_by_key(held)?;
        (leases.values().sum::<usize>() == MOST).then_some((most, held(&most)))
    })
    .await;
    workers[dead].signal(Signal::Kill);
    let (name, mut seen) = (name_of(&workers[dead]), 0);
    let held_at_death = leases(&stage).await.get(&name).copied().unwrap_or(0);
    eventually("the leases of the dead have ended", LIMIT, async || {
        let leases = leases(&stage).await;
        let of_dead = leases.get(&name).copied().unwrap_or(0);
        let of_others = leases.values().sum::<usize>() - of_dead;
        assert!(of_dead + of_others <= MOST, "{leases:?}");
        seen += usize::from(of_dead > 0);
        (of_dead == 0).then_some(())
    })
    .await;
    println!("{engine:?}: killed with {held} calls, {held_at_death} leases left, seen {seen} times");
    assert!(held_at_death > 0 && seen > 1, "it died with calls in its hands, and they counted: {seen}");
    eventually("the others make all calls that may be", LIMIT, async || {
        let leases = leases(&stage).await;
        let all = leases.values().sum::<usize>();
        assert!(all <= MOST, "{leases:?}");
        (all == MOST && !leases.contains_key(&name)).then_some(())
    })
    .await;
}

/// Leases that have not ended, by worker.
async fn leases(stage: &Stage) -> BTreeMap<String, usize> {
    let now = stage.db.now(stage.db.connection()).await.unwrap();
    let rows = Entity::find().select_only().column(Column::LeasedBy).filter(Column::LeasedUntil.gt(now));
    let rows: Vec<Option<String>> = rows.into_tuple().all(stage.db.connection()).await.unwrap();
    let mut leases = BTreeMap::new();
    for worker in rows.into_iter().flatten() {
        *leases.entry(worker).or_default() += 1;
    }
    leases
}
