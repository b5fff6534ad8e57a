//! At three in the morning: five thousand fees are missing, and one look says why.

use entity::fee_record;
use entity::quote::Status;
use feebox::outbox::Outcome;
use sea_orm::{EntityTrait, PaginatorTrait};
use uuid::Uuid;

use super::Console;
use super::console::LIMIT;
use crate::support::{Desk, Engine, Process, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_causes_among_five_thousand_dead_one_is_retried_at_a_pace_and_the_other_is_cancelled() {
    let desk = Desk::open(Engine::Postgres).await;
    let refused = submit_thousands(&desk, 4).await;
    desk.fail_all(Outcome::Refused("422 Unprocessable Entity: unknown customer".into())).await;
    let foreign = submit_thousands(&desk, 1).await;
    desk.fail_all(Outcome::Refused("400 Bad Request: no such currency".into())).await;
    let console = Console::open(&desk).await;
    console.go("").await;
    console.mark().await;
    console.sees("#headline", "dead: 5000 events for fee-server").await;
    console.click_named("#next", "5,000 dead events for fee-server: find their causes, fix them, retry.").await;
    console.sees("[data-list=causes] tbody tr:nth-child(1)", "unknown customer").await;
    console.sees("[data-list=causes] tbody tr:nth-child(2)", "no such currency").await;

    console.click_named("[data-list=causes] tbody tr:nth-child(1)", "Retry all").await;
    console.sees("dialog .count", "4,000 events").await;
    console.browser.fill("dialog input[name=per_second]", "1000").await;
    console.confirm("customers are known now").await;
    console.sees(".notices", "4,000 of 4,000 events retried. Finished.").await;
    console.sees("[data-list=causes] tbody tr:nth-child(1)", "no such currency").await;
    console.click_named("[data-list=causes] tbody tr:nth-child(1)", "Cancel all").await;
    console.sees("dialog .count", "1,000 events").await;
    console.confirm("made by a test").await;
    // Each is cancelled in a transaction of its own, together with its quote.
    eventually("they are cancelled", 3 * LIMIT, async || {
        let told = console.browser.text(".notices").await;
        told.contains("1,000 of 1,000 events cancelled. Finished.").then_some(())
    })
    .await;

    // What was wrong is repaired: a worker delivers them, and the page that is open sees it.
    let fee_server = desk.sample.base_url();
    let env = [
        ("DATABASE_URL", desk.database.url()),
        ("FEEBOX__FEE_SERVER__BASE_URL", fee_server.as_str()),
        ("FEEBOX__WORKER__BIND", "127.0.0.1:0"),
    ];
    let _worker = Process::start(&["worker"], &env);
    eventually("all fees are there", 3 * LIMIT, async || {
        let fees = fee_record::Entity::find().count(desk.db.connection()).await.unwrap();
        (fees == 4_000).then_some(())
    })
    .await;
    console.click_named("nav", "Overview").await;
    console.sees("#headline", "Deliveries keep up.").await;
    console.sees("#causes", "Nothing has failed.").await;
    console.was_not_reloaded().await;
    for (quotes, status) in [(&refused, Status::Confirmed), (&foreign, Status::Cancelled)] {
        assert_eq!(desk.quote(quotes[0].0).await.status, status);
        assert_eq!(desk.quote(quotes[quotes.len() - 1].0).await.status, status);
    }
    console.click_named("nav", "Actions").await;
    console.sees("main table", "customers are known now").await;
    console.sees("main table", "made by a test").await;
}

async fn submit_thousands(desk: &Desk, thousands: usize) -> Vec<(Uuid, Uuid)> {
    let mut submitted = vec![];
    for _ in 0..thousands {
        submitted.extend(desk.submit_many(1_000).await);
    }
    submitted
}
