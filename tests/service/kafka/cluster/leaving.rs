//! A worker is asked to stop while its records are under way: those that were sent are waited for, the others are handed back.

use entity::outbox_event::Status;
use feebox::quotes::{QUOTE_REJECTED, QUOTE_SUBMITTED};

use super::{LIMIT, QUOTES, Telling};
use crate::support::{KafkaCluster, Process, Signal, eventually, name_of};

/// How many times a worker is replaced.
const ROUNDS: usize = 2;
/// Quotes that wait when a worker is asked to stop, beside those of the load.
const BURST: usize = 60;

impl Telling {
    /// A process with the default settings but for times that spare the test's.
    async fn process(&self) -> Process {
        let settings = [
            ("log.format", "json"),
            ("worker.bind", "127.0.0.1:0"),
            ("worker.schedule", "* * * * * *"),
            ("circuit.cool_down", "4s"),
            ("database.url", self.outbox.database.url()),
            ("kafka.brokers", &self.brokers),
        ];
        let settings = settings.map(|(key, value)| format!("--set={key}={value}"));
        let arguments: Vec<_> = ["worker"].into_iter().chain(settings.iter().map(String::as_str)).collect();
        let process = Process::start(&arguments, &[]);
        process.wait_for_line(LIMIT, |line| line.contains(r#""message":"started""#)).await;
        process
    }

    /// How many leases `worker` holds.
    async fn leases_of(&self, worker: &Process) -> usize {
        let name = name_of(worker);
        let leased = self.with_status(Status::Leased).await;
        leased.iter().filter(|event| event.leased_by.as_deref() == Some(&name)).count()
    }

    /// Asks `worker` to stop once it has claimed something. It ends well, and leaves no lease behind.
    async fn stop(&self, worker: Process) {
        let claimed = async || (self.leases_of(&worker).await > 0).then_some(());
        eventually("the worker claims", LIMIT, claimed).await;
        worker.signal(Signal::Terminate);
        assert!(worker.wait(LIMIT).await.success(), "{:#?}", worker.lines());
        assert_eq!(self.leases_of(&worker).await, 0);
        let cut_off = worker.lines().iter().any(|line| line.contains("cut off"));
        assert!(!cut_off, "all that was sent was acknowledged in time");
    }

    async fn each_is_told_at_its_first_attempt(&self) {
        self.all_are_delivered().await;
        let again = self.outbox.events().await.into_iter().filter(|event| event.attempts != 1).count();
        assert_eq!(again, 0, "attempts beyond the first");
        self.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_replaced_under_load_lose_nothing_and_repeat_nothing() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::by_nobody(&cluster).await;
    let replacing = async {
        let mut worker = telling.process().await;
        for _ in 0..ROUNDS {
            let next = telling.process().await;
            for _ in 0..BURST {
                telling.quote().await;
            }
            telling.stop(worker).await;
            worker = next;
        }
        worker
    };
    let _last = telling.under_load(replacing).await;
    telling.each_is_told_at_its_first_attempt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_stop_while_a_leader_is_elected_waits_for_what_it_sent() {
    let cluster = KafkaCluster::turn().await;
    let telling = Telling::by_nobody(&cluster).await;
    let worker = telling.process().await;
    let leader = cluster.leader_of(QUOTES);
    for _ in 0..BURST {
        telling.quote().await;
    }
    let begun = async || (telling.delivered(&QUOTE_SUBMITTED).await > 0).then_some(());
    eventually("it delivers", LIMIT, begun).await;
    cluster.tell(&format!("crash {leader}"), "crashed");
    for _ in 0..BURST {
        telling.quote().await;
    }
    telling.stop(worker).await;
    let (report, found) = telling.audited().await;
    assert!(found.is_empty() && report.report.checked > 0, "a broker that is down hides nothing: {found:?}");
    let _next = telling.process().await;
    cluster.tell(&format!("start {leader}"), "started");
    telling.each_is_told_at_its_first_attempt().await;
}
