//! Quotes that an older version stored, which does not write who submitted them.

use feebox::submission::{ClientKey, give_owners};
use uuid::Uuid;

use crate::support::{TestOutbox, delivered, new_quote, on_each_engine};

on_each_engine!(
    a_quote_of_an_older_version_gets_the_owner_that_its_key_names,
    an_owner_that_a_quote_has_is_kept,
    more_than_a_page_of_keys_is_gone_through,
);

/// As v0.1.0 stores quotes: a key with its scope, and no owner.
async fn store(outbox: &TestOutbox, scope: &str, key: &str, quotes: usize) -> Vec<Uuid> {
    let (quotes, key) = (vec![new_quote(); quotes], ClientKey { scope: scope.into(), key: key.into() });
    let stored = outbox.submission.submit(&quotes, Some(&key), None).await.unwrap().quotes;
    stored.into_iter().map(|quote| quote.id).collect()
}

async fn owners(outbox: &TestOutbox, quotes: &[Uuid]) -> Vec<Option<String>> {
    let mut owners = vec![];
    for id in quotes {
        owners.push(outbox.quote(*id).await.submitted_by);
    }
    owners
}

async fn partners(outbox: &TestOutbox, quote: Uuid) -> Vec<String> {
    outbox.events_of(quote).await.into_iter().map(|event| event.partner).collect()
}

async fn a_quote_of_an_older_version_gets_the_owner_that_its_key_names(outbox: TestOutbox) {
    let settled = store(&outbox, "ada", "1", 1).await[0];
    outbox.deliver("worker", delivered()).await;
    let batch = store(&outbox, "ada", "2", 2).await;
    let of_ben = store(&outbox, "ben", "2", 1).await[0];
    let of_nobody = store(&outbox, "anonymous", "1", 1).await[0];
    let without_key = outbox.submission.submit(&[new_quote()], None, None).await.unwrap().quotes[0].id;
    assert_eq!(give_owners(&outbox.db, "anonymous").await.unwrap(), 4);
    let [ada, ben] = ["ada", "ben"].map(|name| Some(name.to_owned()));
    let found = owners(&outbox, &[settled, batch[0], batch[1], of_ben, of_nobody, without_key]).await;
    assert_eq!(found, [ada.clone(), ada.clone(), ada, ben, None, None]);
    assert_eq!(partners(&outbox, batch[1]).await, ["ada"], "it takes the turns of its owner");
    assert_eq!(partners(&outbox, settled).await, [""], "what is settled takes none");
    assert_eq!(give_owners(&outbox.db, "anonymous").await.unwrap(), 0, "a second run finds nothing");
}

async fn an_owner_that_a_quote_has_is_kept(outbox: TestOutbox) {
    let key = ClientKey { scope: "ada".into(), key: "1".into() };
    let stored = outbox.submission.submit_by(Some("ben"), &[new_quote()], Some(&key), None).await.unwrap().quotes;
    assert_eq!(give_owners(&outbox.db, "anonymous").await.unwrap(), 0);
    assert_eq!(owners(&outbox, &[stored[0].id]).await, [Some("ben".to_owned())]);
}

async fn more_than_a_page_of_keys_is_gone_through(outbox: TestOutbox) {
    let mut stored = vec![];
    for number in 0..510 {
        stored.extend(store(&outbox, if number < 505 { "ada" } else { "ben" }, &number.to_string(), 1).await);
    }
    assert_eq!(give_owners(&outbox.db, "anonymous").await.unwrap(), 510);
    let [first, last] = [stored[0], stored[509]];
    assert_eq!(owners(&outbox, &[first, last]).await, [Some("ada".to_owned()), Some("ben".to_owned())]);
}
