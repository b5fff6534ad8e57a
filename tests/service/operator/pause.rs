//! Operators stop and start deliveries in the whole fleet.

use feebox::operator::{self, ActionFilter, Operator, OperatorError, actions};
use feebox::outbox::destinations;
use feebox::quotes::FEE_SERVER;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(a_pause_stops_claims_until_it_is_resumed, the_first_pause_stays, an_unknown_destination_is_refused,);

const BOB: Operator<'static> = Operator { name: "bob", reason: None };

async fn a_pause_stops_claims_until_it_is_resumed(desk: Desk) {
    desk.submit().await;
    let paused = operator::pause(&desk.db, ANN, &FEE_SERVER).await.unwrap().paused.unwrap();
    assert_eq!((paused.by.as_str(), paused.reason.as_deref()), ("ann", Some("because I can")));
    assert!(desk.claim().await.is_empty());
    let all = destinations(desk.db.connection()).await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["fee-server", "kafka"]);
    assert!(all[0].paused.is_some() && all[1].paused.is_none());
    assert_eq!(operator::resume(&desk.db, BOB, &FEE_SERVER).await.unwrap().paused, None);
    assert_eq!(desk.claim().await.len(), 1);
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    let done: Vec<_> = done.iter().map(|action| (action.actor.as_str(), action.action.as_str())).collect();
    assert_eq!(done, [("bob", "destination.resume"), ("ann", "destination.pause")]);
}

async fn the_first_pause_stays(desk: Desk) {
    let first = operator::pause(&desk.db, ANN, &FEE_SERVER).await.unwrap();
    assert_eq!(operator::pause(&desk.db, BOB, &FEE_SERVER).await.unwrap(), first);
    operator::resume(&desk.db, BOB, &FEE_SERVER).await.unwrap();
    operator::resume(&desk.db, ANN, &FEE_SERVER).await.unwrap();
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done.len(), 2, "only changes are written down");
    let older = ActionFilter { quote_id: None, before: Some(done[0].id) };
    assert_eq!(actions::list(desk.db.connection(), &older, 10).await.unwrap().rows, done[1..]);
}

async fn an_unknown_destination_is_refused(desk: Desk) {
    let error = operator::pause(&desk.db, ANN, "moon").await.unwrap_err();
    assert!(matches!(&error, OperatorError::NotFound(what) if what.contains("moon")), "{error}");
}
