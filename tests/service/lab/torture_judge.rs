//! The judge of a torture finds each kind of broken promise, and nothing else.

use std::{fs, time::Duration};

use feebox::outbox::Outcome;
use feebox::quotes::{Line, NewQuote};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Desk, Process, desk_tests};

const LIMIT: Duration = Duration::from_mins(1);

desk_tests!(
    kept_promises_are_not_reported,
    an_accepted_quote_that_is_not_stored_is_lost,
    a_key_with_two_quotes_is_reported,
    a_refused_quote_that_is_stored_is_a_ghost,
    a_quote_that_died_for_anothers_fault_is_reported,
    a_cancelled_quote_that_is_confirmed_is_reported,
);

async fn kept_promises_are_not_reported(desk: Desk) {
    let quote = submit(&desk, "ann").await;
    let cancelled = submit(&desk, "bob").await;
    desk.deliver().await;
    desk.submission.cancel(cancelled, None, None).await.unwrap();
    desk.deliver().await;
    let bob = Seen { accepted: vec![vec![cancelled]], cancelled: Some(cancelled), ..Seen::of("bob") };
    let finding = judge(&desk, &[Seen { accepted: vec![vec![quote]], ..Seen::of("ann") }, bob]).await;
    assert_eq!(finding["violations"], json!([]));
    assert_eq!((&finding["accepted"], &finding["confirmed"], &finding["cancelled"]), (&json!(2), &json!(1), &json!(1)));
}

async fn an_accepted_quote_that_is_not_stored_is_lost(desk: Desk) {
    let nowhere = Uuid::now_v7();
    let finding = judge(&desk, &[Seen { accepted: vec![vec![nowhere]], ..Seen::of("ann") }]).await;
    assert_eq!((broken(&finding), &finding["lost"]), (vec![(9, nowhere)], &json!(1)));
}

async fn a_key_with_two_quotes_is_reported(desk: Desk) {
    let (first, second) = (submit(&desk, "ann").await, submit(&desk, "ann").await);
    desk.deliver().await;
    let seen = Seen { keyed: true, accepted: vec![vec![first], vec![second]], ..Seen::of("ann") };
    let promises: Vec<_> = broken(&judge(&desk, &[seen]).await).into_iter().map(|(promise, _)| promise).collect();
    assert_eq!(promises, [9, 9], "two answers, and two rows");
}

async fn a_refused_quote_that_is_stored_is_a_ghost(desk: Desk) {
    let quote = submit(&desk, "ann").await;
    desk.deliver().await;
    let finding = judge(&desk, &[Seen { refused: true, ..Seen::of("ann") }]).await;
    assert_eq!((broken(&finding), &finding["ghosts"]), (vec![(4, quote)], &json!(1)));
}

async fn a_quote_that_died_for_anothers_fault_is_reported(desk: Desk) {
    let quotes = [submit(&desk, "ann").await, submit(&desk, "poison-refused-1").await];
    desk.fail(Outcome::Refused("422".into())).await;
    let seen = ["ann", "poison-refused-1"].into_iter().zip(quotes);
    let seen: Vec<_> = seen.map(|(who, id)| Seen { accepted: vec![vec![id]], ..Seen::of(who) }).collect();
    let finding = judge(&desk, &seen).await;
    assert_eq!(broken(&finding), [(10, quotes[0])]);
    assert_eq!((&finding["innocent_dead"], &finding["guilty_dead"]), (&json!(1), &json!(1)));
}

async fn a_cancelled_quote_that_is_confirmed_is_reported(desk: Desk) {
    let quote = submit(&desk, "ann").await;
    desk.deliver().await;
    let seen = Seen { accepted: vec![vec![quote]], cancelled: Some(quote), ..Seen::of("ann") };
    assert_eq!(broken(&judge(&desk, &[seen]).await), [(2, quote)]);
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    customer: &'static str,
    keyed: bool,
    accepted: Vec<Vec<Uuid>>,
    refused: bool,
    cancelled: Option<Uuid>,
}

impl Seen {
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

/// The finding of the judge, which runs in a process of its own.
async fn judge(desk: &Desk, seen: &[Seen]) -> Value {
    let submissions: Vec<_> = seen.iter().map(Seen::book).collect();
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
