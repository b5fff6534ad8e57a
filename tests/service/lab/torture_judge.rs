//! The judge of a torture finds what it is there to find: each lie is told once, in a house that is sound otherwise.

use std::{fs, time::Duration};

use feebox::outbox::Outcome;
use feebox::submission::{Line, NewQuote};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Desk, Process, desk_tests};

const LIMIT: Duration = Duration::from_mins(1);

desk_tests!(
    a_sound_house_is_silent,
    what_was_accepted_and_is_not_stored_is_lost,
    a_key_that_two_quotes_answered_is_named,
    what_was_refused_and_is_stored_is_a_ghost,
    who_dies_for_another_is_innocent,
    a_cancellation_that_did_not_hold_is_named,
);

async fn a_sound_house_is_silent(desk: Desk) {
    let quote = submit(&desk, "ann").await;
    let cancelled = submit(&desk, "bob").await;
    desk.deliver().await;
    desk.submission.cancel(cancelled, None, None).await.unwrap();
    desk.deliver().await;
    let bob = Heard { accepted: vec![vec![cancelled]], cancelled: Some(cancelled), ..Heard::of("bob") };
    let finding = judge(&desk, &[Heard { accepted: vec![vec![quote]], ..Heard::of("ann") }, bob]).await;
    assert_eq!(finding["violations"], json!([]));
    assert_eq!((&finding["accepted"], &finding["confirmed"], &finding["cancelled"]), (&json!(2), &json!(1), &json!(1)));
}

async fn what_was_accepted_and_is_not_stored_is_lost(desk: Desk) {
    let nowhere = Uuid::now_v7();
    let finding = judge(&desk, &[Heard { accepted: vec![vec![nowhere]], ..Heard::of("ann") }]).await;
    assert_eq!((broken(&finding), &finding["lost"]), (vec![(9, nowhere)], &json!(1)));
}

async fn a_key_that_two_quotes_answered_is_named(desk: Desk) {
    let (first, second) = (submit(&desk, "ann").await, submit(&desk, "ann").await);
    desk.deliver().await;
    let heard = Heard { keyed: true, accepted: vec![vec![first], vec![second]], ..Heard::of("ann") };
    let promises: Vec<_> = broken(&judge(&desk, &[heard]).await).into_iter().map(|(promise, _)| promise).collect();
    assert_eq!(promises, [9, 9], "two answers, and two rows");
}

async fn what_was_refused_and_is_stored_is_a_ghost(desk: Desk) {
    let quote = submit(&desk, "ann").await;
    desk.deliver().await;
    let finding = judge(&desk, &[Heard { refused: true, ..Heard::of("ann") }]).await;
    assert_eq!((broken(&finding), &finding["ghosts"]), (vec![(4, quote)], &json!(1)));
}

async fn who_dies_for_another_is_innocent(desk: Desk) {
    let quotes = [submit(&desk, "ann").await, submit(&desk, "poison-refused-1").await];
    desk.fail(Outcome::Refused("422".into())).await;
    let heard = ["ann", "poison-refused-1"].into_iter().zip(quotes);
    let heard: Vec<_> = heard.map(|(who, id)| Heard { accepted: vec![vec![id]], ..Heard::of(who) }).collect();
    let finding = judge(&desk, &heard).await;
    assert_eq!(broken(&finding), [(10, quotes[0])]);
    assert_eq!((&finding["innocent_dead"], &finding["guilty_dead"]), (&json!(1), &json!(1)));
}

async fn a_cancellation_that_did_not_hold_is_named(desk: Desk) {
    let quote = submit(&desk, "ann").await;
    desk.deliver().await;
    let heard = Heard { accepted: vec![vec![quote]], cancelled: Some(quote), ..Heard::of("ann") };
    assert_eq!(broken(&judge(&desk, &[heard]).await), [(2, quote)]);
}

/// What one client was told.
#[derive(Default)]
struct Heard {
    customer: &'static str,
    keyed: bool,
    accepted: Vec<Vec<Uuid>>,
    refused: bool,
    cancelled: Option<Uuid>,
}

impl Heard {
    fn of(customer: &'static str) -> Self {
        Self { customer, ..Self::default() }
    }

    fn book(&self) -> Value {
        json!({
            "customers": [self.customer], "keyed": self.keyed, "hung_up": 0, "accepted": self.accepted,
            "refused": self.refused, "cancelled": self.cancelled, "cancelling": self.cancelled,
        })
    }
}

async fn submit(desk: &Desk, customer: &str) -> Uuid {
    let quote = NewQuote::parse(customer, "EUR", vec![Line::parse("a thing", 1, 100).unwrap()]).unwrap();
    desk.submission.submit(&[quote], None, None).await.unwrap().quotes[0].id
}

/// Its finding, by a process of its own.
async fn judge(desk: &Desk, heard: &[Heard]) -> Value {
    let submissions: Vec<_> = heard.iter().map(Heard::book).collect();
    let book = json!({ "fee_server": desk.sample.base_url(), "rollback_rate": 0.0, "submissions": submissions });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), book.to_string()).unwrap();
    let arguments = ["torture", "--judge", file.path().to_str().unwrap()];
    let judge = Process::start(&arguments, &[("FEEBOX__DATABASE__URL", desk.database.url())]);
    assert!(judge.wait(LIMIT).await.success(), "{:#?}", judge.lines());
    serde_json::from_str(&judge.lines().join("\n")).unwrap()
}

fn broken(finding: &Value) -> Vec<(u64, Uuid)> {
    let broken = finding["violations"].as_array().unwrap().iter();
    broken.map(|it| (it["promise"].as_u64().unwrap(), it["quote_id"].as_str().unwrap().parse().unwrap())).collect()
}
