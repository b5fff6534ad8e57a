//! Operators see which processes live, and that none does.

use std::time::Duration;

use entity::process;
use feebox::fleet::{self, Member, Role};
use feebox::inspection::{explain, stats};
use feebox::quotes::{FEE_SERVER, KAFKA};
use feebox::settings::{Settings, Sources};
use sea_orm::EntityTrait;
use tokio_util::sync::CancellationToken;

use crate::support::{Desk, desk_tests, eventually};

desk_tests!(
    a_process_is_alive_until_it_has_been_silent_for_a_minute,
    settings_that_differ_within_the_fleet_are_named,
    with_no_worker_alive_the_headline_and_each_event_that_waits_say_so,
    a_process_says_that_it_lives_and_that_it_leaves,
);

async fn a_process_is_alive_until_it_has_been_silent_for_a_minute(desk: Desk) {
    nobody(&desk).await;
    let worker = member("host:7", Role::Worker, &[]);
    worker.vitals.ticked(desk.now().await);
    worker.vitals.delivers(&FEE_SERVER, 3, 256);
    worker.vitals.delivers(&KAFKA, 1, 16);
    worker.beat(&desk.db, false).await.unwrap();
    member("host:8", Role::Serve, &[]).beat(&desk.db, false).await.unwrap();
    let seen = fleet::workers(&desk.db).await.unwrap();
    assert_eq!((seen.workers_alive, seen.processes.len()), (1, 2), "serve does not deliver");
    let process = seen.processes.iter().find(|process| process.id == worker.id).unwrap();
    assert_eq!((process.name.as_str(), process.role.as_deref()), ("host:7", Some("worker")));
    assert_eq!(process.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!((process.in_flight, process.limit), (Some(4), Some(272)));
    assert!(process.alive && process.last_tick_at.is_some() && process.host.is_some());

    desk.advance(59);
    assert_eq!(fleet::workers(&desk.db).await.unwrap().workers_alive, 1);
    desk.advance(2);
    let seen = fleet::workers(&desk.db).await.unwrap();
    assert_eq!((seen.workers_alive, seen.processes.len()), (0, 2));
    worker.beat(&desk.db, true).await.unwrap();
    assert_eq!(fleet::workers(&desk.db).await.unwrap().workers_alive, 1);
    desk.advance(3_700);
    // It was forgotten meanwhile, and says everything again.
    member("host:9", Role::Worker, &[]).beat(&desk.db, false).await.unwrap();
    worker.beat(&desk.db, true).await.unwrap();
    let seen = fleet::workers(&desk.db).await.unwrap();
    assert_eq!((seen.workers_alive, seen.processes.len()), (2, 2));
    assert!(seen.processes.iter().all(|process| process.role.as_deref() == Some("worker")));

    // What cron starts once in a while counts for longer.
    nobody(&desk).await;
    for name in ["host:10", "host:11"] {
        member(name, Role::Once, &[]).has_run(&desk.db).await.unwrap();
    }
    desk.advance(1_800);
    let seen = fleet::workers(&desk.db).await.unwrap();
    assert_eq!((seen.workers_alive, seen.processes.len()), (1, 1), "the last one of a host stands for all");
}

async fn settings_that_differ_within_the_fleet_are_named(desk: Desk) {
    nobody(&desk).await;
    let one = member("one", Role::Worker, &[("worker.concurrency", "7")]);
    let other = member("other", Role::Worker, &[("retry.max_attempts", "9"), ("fee_server.token", "secret")]);
    one.beat(&desk.db, false).await.unwrap();
    assert!(fleet::workers(&desk.db).await.unwrap().differing_settings.is_empty());
    other.beat(&desk.db, false).await.unwrap();
    let seen = fleet::workers(&desk.db).await.unwrap();
    assert!(seen.differing_settings.contains(&"retry.max_attempts".to_owned()), "{:?}", seen.differing_settings);
    assert!(!seen.differing_settings.contains(&"worker.concurrency".to_owned()), "a process may have its own");
    let differs = |name: &str| {
        let process = seen.processes.iter().find(|process| process.name == name).unwrap();
        process.differs["retry.max_attempts"].clone()
    };
    assert_eq!((differs("one").as_str(), differs("other").as_str()), ("25", "9"));
    assert!(!serde_json::to_string(&seen).unwrap().contains("secret"));
}

async fn with_no_worker_alive_the_headline_and_each_event_that_waits_say_so(desk: Desk) {
    nobody(&desk).await;
    assert_eq!(stats(&desk.db).await.unwrap().headline, "Deliveries keep up.", "nothing waits");
    let (_, event) = desk.submit().await;
    let headline = stats(&desk.db).await.unwrap().headline;
    assert_eq!(headline, "No worker is alive; 1 event wait. Start one with `feebox worker`.");
    let explanation = explain(&desk.db, event).await.unwrap().unwrap();
    assert!(explanation.no_worker_alive);
    assert!(explanation.sentence.contains("No worker is alive"), "{}", explanation.sentence);
    member("one", Role::Worker, &[]).beat(&desk.db, false).await.unwrap();
    assert!(!explain(&desk.db, event).await.unwrap().unwrap().no_worker_alive);
    assert_eq!(stats(&desk.db).await.unwrap().workers_alive, 1);
}

async fn a_process_says_that_it_lives_and_that_it_leaves(desk: Desk) {
    nobody(&desk).await;
    let (worker, drain) = (member("one", Role::Worker, &[]), CancellationToken::new());
    let keeping = tokio::spawn({
        let (worker, db, drain) = (worker.clone(), desk.db.clone(), drain.clone());
        async move { worker.keep(&db, &drain).await }
    });
    let alive = async |count: u64| (fleet::workers(&desk.db).await.unwrap().workers_alive == count).then_some(());
    eventually("it is alive", Duration::from_secs(20), async || alive(1).await).await;
    drain.cancel();
    keeping.await.unwrap();
    assert_eq!(fleet::workers(&desk.db).await.unwrap().processes.len(), 0);
}

async fn nobody(desk: &Desk) {
    process::Entity::delete_many().exec(desk.db.connection()).await.unwrap();
}

fn member(name: &str, role: Role, overrides: &[(&str, &str)]) -> Member {
    let overrides = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Member::new(name.into(), role, &Settings::load(&Sources::overrides(overrides)).unwrap())
}
