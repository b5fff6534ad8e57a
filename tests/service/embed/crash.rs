//! `examples/own_events.rs` dies at each named moment, as by `kill -9`: each order reaches the shop once, none is lost and none
//! is invented.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use entity::outbox_event::{self, Status};
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait, Statement};

use super::shop::{Protection, Shop};
use crate::support::{Engine, LIMIT, Process, TestDatabase, at_each_moment, eventually};

at_each_moment!(each_order_is_made_once_if_a_worker_dies: after_claim, after_delivery, before_settle_commit);
at_each_moment!(each_order_is_made_once_if_a_rescuer_dies: before_rescue_commit, after_rescue_commit);
at_each_moment!(an_order_and_its_event_are_stored_or_neither_if_the_service_dies: after_record, before_wake);

async fn each_order_is_made_once_if_a_worker_dies(engine: Engine, moment: &str) {
    let moments = &[moment];
    // Both at once: each waits for a lease most of the time.
    tokio::join!(a_worker_dies(engine, moments, Protection::Keys), a_worker_dies(engine, moments, Protection::LookUps));
}

async fn each_order_is_made_once_if_a_rescuer_dies(engine: Engine, moment: &str) {
    a_worker_dies(engine, &["after_delivery", moment], Protection::LookUps).await;
}

async fn a_worker_dies(engine: Engine, moments: &[&str], protection: Protection) {
    let service = Service::new(engine, protection).await;
    service.place(2).await;
    for moment in moments {
        service.dies_at(moment, &["work"]).await;
    }
    assert_eq!(service.numbers().await.values().flatten().count(), 0, "what the shop answered was not stored");

    let _other = service.start(&["work"], &[]);
    service.assert_sound(2).await;
    let attempts: Vec<_> = service.events().await.iter().map(|event| event.attempts).collect();
    println!("worker killed at {moments:?}, {engine:?}, {protection:?}: attempts {attempts:?}");
    assert!(attempts.iter().any(|attempts| *attempts > 1), "the attempt of the dead counts: {attempts:?}");
}

async fn an_order_and_its_event_are_stored_or_neither_if_the_service_dies(engine: Engine, moment: &str) {
    let service = Service::new(engine, Protection::Keys).await;
    service.dies_at(moment, &["place", "1"]).await;
    let stored = usize::from(moment == "before_wake");
    assert_eq!((service.numbers().await.len(), service.events().await.len()), (stored, stored));

    service.place(1).await;
    let _worker = service.start(&["work"], &[]);
    service.assert_sound(stored + 1).await;
}

/// The orders service, its database and the shop.
struct Service {
    database: TestDatabase,
    connection: DatabaseConnection,
    shop: Shop,
}

impl Service {
    async fn new(engine: Engine, protection: Protection) -> Service {
        let database = TestDatabase::create(engine).await;
        let service = Service { connection: database.connect().await, database, shop: Shop::open(protection).await };
        service.place(0).await;
        service
    }

    fn start(&self, args: &[&str], env: &[(&str, &str)]) -> Process {
        let own = [("DATABASE_URL", self.database.url()), ("SHOP_URL", self.shop.base_url())];
        let env: Vec<_> = own.iter().chain(env).copied().collect();
        Process::start_example("own_events", args, &env)
    }

    /// Stores `count` orders, with nobody at work.
    async fn place(&self, count: usize) {
        let placed = self.start(&["place", &count.to_string()], &[]);
        assert!(placed.wait(LIMIT).await.success(), "{:#?}", placed.lines());
    }

    async fn dies_at(&self, moment: &str, args: &[&str]) {
        let dead = self.start(args, &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
        assert_eq!(dead.wait(LIMIT).await.signal(), Some(9), "{:#?}", dead.lines());
    }

    /// The orders, each with the shop's number if it has one.
    async fn numbers(&self) -> BTreeMap<String, Option<String>> {
        let sql = "SELECT id, shop_number FROM orders";
        let statement = Statement::from_string(self.connection.get_database_backend(), sql);
        let rows = self.connection.query_all_raw(statement).await.unwrap();
        rows.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())).collect()
    }

    async fn events(&self) -> Vec<outbox_event::Model> {
        outbox_event::Entity::find().all(&self.connection).await.unwrap()
    }

    /// Waits until all is delivered. Then the shop has made each of `orders` once, by its event's key, and nothing else, and the
    /// service knows its number.
    async fn assert_sound(&self, orders: usize) {
        let delivered = async || {
            let events = self.events().await;
            events.iter().all(|event| event.status == Status::Delivered).then_some(events)
        };
        let events = eventually("all is delivered", LIMIT, delivered).await;
        let known: BTreeMap<_, _> =
            self.numbers().await.into_iter().map(|(order, number)| (order, number.unwrap_or_default())).collect();
        assert_eq!((known.len(), events.len()), (orders, orders));
        assert_eq!(known, self.shop.numbers(), "what the service knows, and what the shop has made");
        let keys: BTreeMap<_, _> = self.shop.made().into_iter().map(|made| (made.order, made.key)).collect();
        for event in events {
            assert_eq!(keys[&event.aggregate_id.to_string()], event.id.to_string());
            assert_eq!((&*event.aggregate_type, &*event.destination), ("order", "shop"));
        }
    }
}
