//! Events of a service's own kinds, recorded in its own transactions and delivered by workers of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entity::outbox_event::{self, Status};
use feebox::destination::Destination;
use feebox::embed::{Event, Migrator, MigratorTrait, Outbox};
use feebox::outbox::{AggregateType, DestinationName, EventType, LeasedEvent, Outcome};
use parking_lot::Mutex;
use sea_orm::{
    DatabaseConnection, DbErr, EntityTrait, IsolationLevel, PaginatorTrait, QueryOrder, SqlErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, TestDatabase, on_engines, on_servers};

on_engines!(
    what_a_service_records_reaches_a_destination_whose_name_is_known_at_run_time_only,
    events_of_one_thing_are_delivered_in_order_and_a_failed_one_holds_back_its_own,
    a_transaction_that_is_rolled_back_leaves_no_event,
    what_is_refused_before_it_is_sent_leaves_the_transaction_usable,
    workers_open_sessions_of_their_own,
);
on_servers!(a_transaction_that_misses_an_event_recorded_meanwhile_fails_and_succeeds_when_it_is_run_again);

const PARCEL: AggregateType = AggregateType::from_static("parcel");
const SENT: EventType = EventType::from_static("parcel.sent");

async fn what_a_service_records_reaches_a_destination_whose_name_is_known_at_run_time_only(engine: Engine) {
    let own = Own::new(engine).await;
    let (parcel, label) = (Uuid::now_v7(), json!({ "label": "Łódź 3'\"\\" }));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let event = own.event(parcel, label.clone());
    let event = Event { partner: "Ünal & Söhne".into(), trace_context: Some(trace.into()), ..event };
    let untraced = Event { trace_context: Some("not a trace ".repeat(20)), ..own.event(Uuid::now_v7(), label.clone()) };
    own.record(vec![event, untraced]).await.unwrap();

    let carrier = own.delivers(|_| Outcome::Delivered(())).await;
    let calls = carrier.calls();
    assert_eq!(calls.len(), 2);
    let (first, second): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.aggregate_id == parcel);
    let (first, second) = (first[0], second[0]);
    assert_eq!((first.aggregate_id, &first.payload, &*first.partner), (parcel, &label, "Ünal & Söhne"));
    assert_eq!((&first.event_type, first.trace_context.as_deref()), (&SENT, Some(trace)));
    assert_eq!(second.trace_context, None);
    for event in own.events().await {
        assert_eq!((event.status, &*event.aggregate_type), (Status::Delivered, "parcel"));
        assert_eq!(event.destination, own.carrier.to_string());
    }
}

async fn events_of_one_thing_are_delivered_in_order_and_a_failed_one_holds_back_its_own(engine: Engine) {
    let own = Own::new(engine).await;
    let (held, free) = (Uuid::now_v7(), Uuid::now_v7());
    own.record(vec![own.event(held, json!(1)), own.event(free, json!(1)), own.event(held, json!(2))]).await.unwrap();
    own.record(vec![own.event(held, json!(3)), own.event(free, json!(2))]).await.unwrap();

    let carrier =
        own.delivers(
            move |event| {
                if event.aggregate_id == held { Outcome::Retry("later".into()) } else { Outcome::Delivered(()) }
            },
        );
    let carrier = carrier.await;
    let calls = carrier.calls();
    let of =
        |thing| calls.iter().filter(|call| call.aggregate_id == thing).map(|call| &call.payload).collect::<Vec<_>>();
    assert_eq!(of(free), [&json!(1), &json!(2)]);
    assert_eq!(of(held), [&json!(1)], "the others wait for it");

    own.outbox.database().clock().advance(Duration::from_mins(1));
    let carrier = own.delivers(|_| Outcome::Delivered(())).await;
    let payloads: Vec<_> = carrier.calls().into_iter().map(|call| call.payload).collect();
    assert_eq!(payloads, [json!(1), json!(2), json!(3)]);
}

async fn a_transaction_that_is_rolled_back_leaves_no_event(engine: Engine) {
    let own = Own::new(engine).await;
    let txn = own.begin().await;
    own.outbox.record(&txn, vec![own.event(Uuid::now_v7(), json!(1))]).await.unwrap();
    txn.rollback().await.unwrap();
    let dropped = own.begin().await;
    own.outbox.record(&dropped, vec![own.event(Uuid::now_v7(), json!(1))]).await.unwrap();
    drop(dropped);
    assert_eq!(own.events().await.len(), 0);
    assert_eq!(own.delivers(|_| Outcome::Delivered(())).await.calls().len(), 0);
}

async fn what_is_refused_before_it_is_sent_leaves_the_transaction_usable(engine: Engine) {
    let own = Own::new(engine).await;
    let txn = own.begin().await;
    let partner = "ü".repeat(65);
    let refused = own.outbox.record(&txn, vec![Event { partner, ..own.event(Uuid::now_v7(), json!(1)) }]).await;
    assert!(matches!(refused, Err(DbErr::Custom(_))), "{refused:?}");
    own.outbox.record(&txn, vec![]).await.unwrap();
    let partner = "ü".repeat(64);
    own.outbox.record(&txn, vec![Event { partner, ..own.event(Uuid::now_v7(), json!(2)) }]).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(own.events().await.into_iter().map(|event| event.payload).collect::<Vec<_>>(), [json!(2)]);
}

/// All connections of the service's pool are in use: its workers deliver all the same, and settle.
async fn workers_open_sessions_of_their_own(engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let mut options = sea_orm::ConnectOptions::new(database.url());
    options.max_connections(1).acquire_timeout(Duration::from_secs(30));
    let own = Own::on(database, sea_orm::Database::connect(options).await.unwrap()).await;
    own.record(vec![own.event(Uuid::now_v7(), json!(1))]).await.unwrap();
    // A reader, so that it is in nobody's way on SQLite.
    let busy = own.connection.begin().await.unwrap();
    assert_eq!(own.outbox.database().sessions_max(), 1);
    assert_eq!(own.delivers(|_| Outcome::Delivered(())).await.calls().len(), 1);
    busy.rollback().await.unwrap();
    assert_eq!(own.events().await[0].status, Status::Delivered);
}

async fn a_transaction_that_misses_an_event_recorded_meanwhile_fails_and_succeeds_when_it_is_run_again(engine: Engine) {
    let own = Own::new(engine).await;
    let thing = Uuid::now_v7();
    let second = own.connection.begin_with_config(Some(IsolationLevel::RepeatableRead), None).await.unwrap();
    // From here on it sees the table as it is now.
    assert_eq!(outbox_event::Entity::find().count(&second).await.unwrap(), 0);
    own.record(vec![own.event(thing, json!("first"))]).await.unwrap();
    let taken = own.outbox.record(&second, vec![own.event(thing, json!("second"))]).await.unwrap_err();
    assert!(matches!(taken.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{taken}");
    second.rollback().await.unwrap();

    own.record(vec![own.event(thing, json!("second"))]).await.unwrap();
    let events = own.events().await;
    let stored: Vec<_> = events.iter().map(|event| (event.sequence, event.payload.as_str().unwrap())).collect();
    assert_eq!(stored, [(1, "first"), (2, "second")]);
}

/// A service that sends parcels.
struct Own {
    _database: TestDatabase,
    connection: DatabaseConnection,
    outbox: Outbox,
    carrier: DestinationName,
}

impl Own {
    async fn new(engine: Engine) -> Own {
        let database = TestDatabase::create(engine).await;
        let connection = database.connect().await;
        Own::on(database, connection).await
    }

    async fn on(database: TestDatabase, connection: DatabaseConnection) -> Own {
        Migrator::up(&connection, None).await.unwrap();
        let outbox = Outbox::beside(&connection).unwrap();
        let carrier = DestinationName::try_from(format!("carrier/{}", database.url().len())).unwrap();
        Own { _database: database, connection, outbox, carrier }
    }

    fn event(&self, thing: Uuid, payload: Value) -> Event {
        Event::new(PARCEL, thing, SENT, self.carrier.clone(), payload)
    }

    async fn begin(&self) -> sea_orm::DatabaseTransaction {
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
        self.connection.begin_with_options(options).await.unwrap()
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), DbErr> {
        let txn = self.begin().await;
        self.outbox.record(&txn, events).await?;
        txn.commit().await
    }

    async fn events(&self) -> Vec<outbox_event::Model> {
        let events = outbox_event::Entity::find().order_by_asc(outbox_event::Column::Id);
        events.all(&self.connection).await.unwrap()
    }

    /// Delivers all that is due; each attempt ends as `answer` says.
    async fn delivers(&self, answer: impl Fn(&LeasedEvent) -> Outcome<()> + Send + Sync + 'static) -> Arc<Carrier> {
        let (name, calls) = (self.carrier.clone(), Mutex::default());
        let carrier = Arc::new(Carrier { name, answer: Box::new(answer), calls });
        self.outbox.worker("a worker", Arc::clone(&carrier)).run_once().await.unwrap();
        carrier
    }
}

type Answer = dyn Fn(&LeasedEvent) -> Outcome<()> + Send + Sync;

struct Carrier {
    name: DestinationName,
    answer: Box<Answer>,
    calls: Mutex<Vec<LeasedEvent>>,
}

impl Carrier {
    fn calls(&self) -> Vec<LeasedEvent> {
        self.calls.lock().clone()
    }
}

#[async_trait]
impl Destination for Carrier {
    type Receipt = ();

    fn name(&self) -> &DestinationName {
        &self.name
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<()> {
        self.calls.lock().push(event.clone());
        (self.answer)(event)
    }
}
