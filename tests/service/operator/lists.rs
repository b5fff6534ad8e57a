//! What operators see: events and numbers.

use entity::outbox_event::Status as EventStatus;
use feebox::database::Listed;
use feebox::inspection::{EventCounts, EventFilter, feed_gauges, list, stats};
use feebox::operator;
use feebox::outbox::Outcome;
use feebox::quotes::Relay;
use feebox::telemetry::install_metrics;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    events_are_listed_newest_first_and_filtered,
    events_that_failed_are_found_by_their_error,
    stats_count_what_stands_where,
    gauges_are_fed,
);

async fn events_are_listed_newest_first_and_filtered(desk: Desk) {
    let (_, dead) = desk.submit_refused().await;
    let submitted = desk.submit_many(3).await;
    let db = desk.db.connection();
    let all: Vec<_> =
        list(db, &EventFilter::default(), 10).await.unwrap().rows.into_iter().filter_map(Listed::read).collect();
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
    let ids = async |filter: EventFilter, limit| {
        list(db, &filter, limit)
            .await
            .unwrap()
            .rows
            .into_iter()
            .map(|found| found.id(|event| event.id))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(EventFilter { status: Some(EventStatus::Dead), ..Default::default() }, 10).await, [dead]);
    let (quote, event) = submitted[1];
    assert_eq!(ids(EventFilter { quote_id: Some(quote), ..Default::default() }, 10).await, [event]);
    assert!(ids(EventFilter { destination: Some("kafka".into()), ..Default::default() }, 10).await.is_empty());
    let event_type = Some("quote.submitted".into());
    assert_eq!(ids(EventFilter { event_type, ..Default::default() }, 2).await, [all[0].id, all[1].id]);
    assert_eq!(ids(EventFilter { before: Some(all[1].id), ..Default::default() }, 10).await, [all[2].id, all[3].id]);
}

async fn events_that_failed_are_found_by_their_error(desk: Desk) {
    let (_, dead) = desk.submit_refused().await;
    let (_, delivered) = desk.submit().await;
    desk.fail(Outcome::Retry("503 Service Unavailable: 100% busy".into())).await;
    desk.advance(3600);
    desk.deliver().await;
    let (_, failed) = desk.submit().await;
    desk.fail(Outcome::Retry("503 Service Unavailable: 100% busy".into())).await;
    desk.submit().await;
    let ids = async |text: &str, status, limit| {
        let filter = EventFilter { error_contains: Some(text.into()), status, ..Default::default() };
        let page = list(desk.db.connection(), &filter, limit).await.unwrap();
        (page.rows.into_iter().map(|found| found.id(|event| event.id)).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(ids("unprocessable", None, 10).await, (vec![dead], None));
    assert_eq!(ids("UNAVAILABLE: 100% b", None, 10).await, (vec![failed], None));
    assert_eq!(ids("100_ b", None, 10).await, (vec![], None), "no wildcards");
    assert_eq!(ids("e", None, 10).await, (vec![failed, dead], None), "newest first");
    assert_eq!(ids("e", None, 1).await, (vec![failed], Some(failed)));
    assert_eq!(ids("e", Some(EventStatus::Dead), 10).await, (vec![dead], None));
    assert_eq!(ids("e", Some(EventStatus::Pending), 10).await, (vec![failed], None));
    assert_eq!(ids("e", Some(EventStatus::Leased), 10).await, (vec![], None));
    assert_eq!(ids("busy", Some(EventStatus::Delivered), 10).await, (vec![delivered], None));
    let of_kafka =
        EventFilter { error_contains: Some("e".into()), destination: Some("kafka".into()), ..Default::default() };
    assert_eq!(list(desk.db.connection(), &of_kafka, 10).await.unwrap().rows.len(), 0);
}

async fn stats_count_what_stands_where(desk: Desk) {
    some_of_each(&desk).await;
    desk.advance(30);
    let stats = stats(&desk.db).await.unwrap();
    let names: Vec<_> = stats.destinations.iter().map(|one| one.state.name.as_str()).collect();
    assert_eq!(names, ["fee-server", "kafka"]);
    let fee_server = &stats.destinations[0];
    let expected = EventCounts { pending: 3, leased: 1, delivered: 2, dead: 1, cancelled: 1 };
    assert_eq!(fee_server.events, expected);
    assert_eq!(fee_server.delivered_last_minute, 2);
    assert!((30.0..60.0).contains(&fee_server.oldest_due_seconds), "{}", fee_server.oldest_due_seconds);
    assert_eq!(stats.destinations[1].events, EventCounts::default());
    let json = serde_json::to_value(&stats).unwrap();
    assert_eq!(json["destinations"][0]["name"], "fee-server");
}

async fn gauges_are_fed(desk: Desk) {
    let metrics = install_metrics();
    // A destination of this test's own, as all tests of the process share the metrics.
    some_of_each(&desk).await;
    let engine = format!("gauges_on_{:?}", desk.db.connection().get_database_backend()).to_lowercase();
    desk.sql(&format!("UPDATE outbox_event SET destination = '{engine}'")).await;
    desk.sql(&format!("UPDATE destination SET name = '{engine}', circuit = 'open' WHERE name = 'kafka'")).await;
    feed_gauges(&desk.db).await.unwrap();
    let page = metrics.render();
    for line in [
        format!(r#"feebox_outbox_events{{destination="{engine}",status="dead"}} 1"#),
        format!(r#"feebox_outbox_events{{destination="{engine}",status="delivered"}} 2"#),
        format!(r#"feebox_circuit_open{{destination="{engine}"}} 1"#),
    ] {
        assert!(page.contains(&line), "{line} not in\n{page}");
    }
}

async fn some_of_each(desk: &Desk) {
    desk.submit_refused().await;
    desk.submit_many(2).await;
    desk.deliver().await;
    let (_, cancelled) = desk.submit().await;
    operator::cancel(&desk.db, Relay::default(), ANN, cancelled).await.unwrap();
    desk.submit().await;
    assert_eq!(desk.claim().await.len(), 1);
    desk.submit_many(3).await;
}
