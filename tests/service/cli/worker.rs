//! A worker that somebody else's cron starts, and a laptop's Feebox that comes across a database server.

use std::time::Duration;

use entity::quote::Status;
use entity::schedule;
use feebox::outbox::Outcome;
use sea_orm::EntityTrait;

use crate::support::{Desk, Process, desk_tests, eventually};

const LIMIT: Duration = Duration::from_secs(30);

desk_tests!(a_single_run_delivers_due_events_and_runs_due_jobs);

async fn a_single_run_delivers_due_events_and_runs_due_jobs(desk: Desk) {
    // Its event is dead, so only the sweeper can end its pending state.
    let (stale, _) = desk.submit().await;
    desk.fail(Outcome::Broken("200 OK with a body that is no fee".into())).await;
    let (due, _) = desk.submit().await;

    let said = desk.worker_once().await;
    assert!(said.contains("fee-server: "), "{said}");
    assert_eq!(desk.quote(due).await.status, Status::Confirmed);
    let jobs = schedule::Entity::find().all(desk.db.connection()).await.unwrap();
    let mut jobs: Vec<_> = jobs.into_iter().map(|job| job.name).collect();
    jobs.sort();
    assert_eq!(jobs, ["audit", "bulk", "clock", "parking", "retention", "series", "sweeper"]);

    eventually("the sweeper cancels what is stale", LIMIT, async || {
        desk.worker_once().await;
        (desk.quote(stale).await.status == Status::Cancelled).then_some(())
    })
    .await;
}

impl Desk {
    /// Runs `feebox worker --once` and returns its output. The sweeper runs each time, with the shortest possible age.
    async fn worker_once(&self) -> String {
        let base_url = self.sample.base_url();
        let env = [
            ("DATABASE_URL", self.database.url()),
            ("FEEBOX__FEE_SERVER__BASE_URL", base_url.as_str()),
            ("FEEBOX__SWEEPER__ACTION", "cancel"),
            ("FEEBOX__SWEEPER__SCHEDULE", "* * * * * *"),
            ("FEEBOX__SWEEPER__STALE_AFTER", "1s"),
        ];
        let worker = Process::start(&["worker", "--once"], &env);
        assert!(worker.wait(LIMIT).await.success(), "{:#?}", worker.lines());
        worker.lines().join("\n")
    }
}

/// It may be the one in production, whose quotes would be given sample fees.
#[tokio::test]
async fn dev_accepts_a_database_server_only_from_the_command_line() {
    let server = "postgres://feebox:secret@127.0.0.1:1/production";
    for variable in ["DATABASE_URL", "FEEBOX__DATABASE__URL"] {
        let dev = Process::start(
            &["dev", "--bind", "127.0.0.1:0", "--fee-server-bind", "127.0.0.1:0"],
            &[(variable, server)],
        );
        assert_eq!(dev.wait(LIMIT).await.code(), Some(2), "{:#?}", dev.lines());
        let said = dev.lines().join("\n");
        assert!(said.contains(variable) && said.contains("--database-url") && !said.contains("secret"), "{said}");
    }
    let dev = Process::start(&["dev", "--fee-server-bind", "127.0.0.1:0", "--database-url", server], &[]);
    assert_eq!(dev.wait(LIMIT).await.code(), Some(1), "it was meant, and there is none: {:#?}", dev.lines());
}
