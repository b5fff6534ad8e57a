//! What the fleet does once per tick, is done once per tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use feebox::database::Database;
use feebox::upkeep::{Job, Upkeep};
use futures_util::FutureExt;

use crate::support::{Engine, TestDatabase};

/// The job is due at each new year: none comes while the test runs.
const YEAR: Duration = Duration::from_hours(366 * 24);

/// Three processes with a job each, the same one, and how often it was done.
struct Fleet {
    databases: Vec<Database>,
    upkeeps: Vec<Arc<Upkeep>>,
    done: Arc<AtomicU64>,
    _database: TestDatabase,
}

impl Fleet {
    async fn new(engine: Engine) -> Fleet {
        let database = TestDatabase::migrated(engine).await;
        let mut databases = vec![];
        for _ in 0..3 {
            databases.push(database.open().await);
        }
        let mut fleet = Fleet { databases, upkeeps: vec![], done: Arc::default(), _database: database };
        fleet.start();
        fleet
    }

    /// Starts the processes, anew if they ran before.
    fn start(&mut self) {
        let start = |(number, db): (usize, &Database)| {
            let done = Arc::clone(&self.done);
            // Counts how often it is done.
            let run = move || {
                let done = Arc::clone(&done);
                async move { Ok(done.fetch_add(1, Ordering::SeqCst)) }.boxed()
            };
            let job = Job { name: "job", schedule: "0 0 0 1 1 *".into(), run: Box::new(run) };
            Arc::new(Upkeep::new(db.clone(), format!("process {number}"), job).unwrap())
        };
        self.upkeeps = self.databases.iter().enumerate().map(start).collect();
    }

    fn advance(&self, by: Duration) {
        self.databases.iter().for_each(|db| db.clock().advance(by));
    }

    /// All look at the same time, some twice; returns how often the job was done.
    async fn look(&self) -> u64 {
        let before = self.done.load(Ordering::SeqCst);
        let looks: Vec<_> = self
            .upkeeps
            .iter()
            .cycle()
            .take(2 * self.upkeeps.len())
            .map(|upkeep| {
                let upkeep = Arc::clone(upkeep);
                tokio::spawn(async move { upkeep.run_if_due().await.unwrap() })
            })
            .collect();
        let mut told = 0;
        for look in looks {
            told += u64::from(look.await.unwrap());
        }
        let done = self.done.load(Ordering::SeqCst) - before;
        assert_eq!(told, done);
        done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_do_a_job_once_per_tick() {
    for engine in Engine::ALL {
        let fleet = Fleet::new(engine).await;
        // The first look ever, then each year's.
        let mut done = vec![fleet.look().await];
        for _ in 0..5 {
            fleet.advance(YEAR);
            done.push(fleet.look().await);
        }
        assert_eq!(done, [1; 6], "{engine:?}");
        assert_eq!(fleet.look().await, 0, "{engine:?}: between two ticks nothing is done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_that_were_missed_are_made_up_for_once() {
    for engine in Engine::ALL {
        let mut fleet = Fleet::new(engine).await;
        assert_eq!(fleet.look().await, 1, "{engine:?}");
        fleet.advance(7 * YEAR);
        fleet.start();
        assert_eq!(fleet.look().await, 1, "{engine:?}: once for seven ticks");
        assert_eq!(fleet.look().await, 0, "{engine:?}");
    }
}
