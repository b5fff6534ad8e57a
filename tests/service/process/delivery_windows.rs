//! The windows in which a second fee could be made (docs/delivery.md): which of them Feebox closes, and which stay open at
//! a fee server that ignores keys.

use std::sync::Arc;
use std::time::Duration;

use feebox::destination::FeeServer;
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer, Stats};
use feebox::settings::{Settings, Sources};

use crate::support::{Engine, TestOutbox, eventually, http_client, worker_settings};

const QUOTES: usize = 20;

/// A fleet of one, its fee server, and twenty quotes.
struct House {
    outbox: TestOutbox,
    fee_server: SampleFeeServer,
    settings: Settings,
}

impl House {
    async fn new(faults: Faults, lookup: bool) -> House {
        let _ = http_client();
        let fee_server = SampleFeeServer::start("127.0.0.1:0".parse().unwrap(), faults).await.unwrap();
        let (base_url, lookup) = (fee_server.base_url(), lookup.to_string());
        let settings = [
            ("fee_server.base_url", base_url.as_str()),
            ("fee_server.timeout", "200ms"),
            ("fee_server.lookup", &lookup),
        ];
        let settings = Settings::load(&Sources::overrides(settings)).unwrap();
        let outbox = TestOutbox::open(Engine::Sqlite).await;
        outbox.submit(QUOTES).await;
        House { outbox, fee_server, settings }
    }

    async fn run(&self) {
        let destination = Arc::new(FeeServer::new(&self.settings.fee_server, 64).unwrap());
        self.outbox.worker("w", &destination, worker_settings()).run_once().await.unwrap();
    }

    /// Runs until each quote has its fee record, travelling over the waits.
    async fn run_to_the_end(&self) -> Stats {
        for _ in 0..30 {
            self.run().await;
            if self.outbox.fee_records().await.len() == QUOTES {
                return self.fee_server.stats();
            }
            self.outbox.advance(Duration::from_mins(2));
        }
        panic!("not every quote got its fee: {:?}", self.fee_server.stats());
    }
}

fn loses_half_of_its_answers() -> Faults {
    Faults { commit_reset_rate: 0.5, seed: Some(7), ..Faults::default() }
}

#[tokio::test]
async fn lost_answers_make_no_second_fee_at_a_server_that_honours_keys_and_knows_no_look_up() {
    let house = House::new(Faults { no_lookup: true, ..loses_half_of_its_answers() }, true).await;
    let stats = house.run_to_the_end().await;
    assert_eq!((stats.fees, stats.double_fees), (20, 0));
    assert!(stats.duplicates > 0, "the same key was sent again: {stats:?}");
}

#[tokio::test]
async fn lost_answers_make_no_second_fee_at_a_server_that_ignores_keys_and_answers_look_ups() {
    let house = House::new(Faults { no_idempotency: true, ..loses_half_of_its_answers() }, true).await;
    let stats = house.run_to_the_end().await;
    assert_eq!((stats.fees, stats.double_fees), (20, 0));
}

#[tokio::test]
async fn lost_answers_make_second_fees_at_a_server_that_ignores_keys_and_look_ups() {
    let house = House::new(Faults { no_idempotency: true, no_lookup: true, ..loses_half_of_its_answers() }, true).await;
    let stats = house.run_to_the_end().await;
    assert!(stats.double_fees > 0, "nobody can prevent them: {stats:?}");
}

#[tokio::test]
async fn without_look_ups_lost_answers_make_second_fees_at_a_server_that_ignores_keys() {
    let house = House::new(Faults { no_idempotency: true, ..loses_half_of_its_answers() }, false).await;
    let stats = house.run_to_the_end().await;
    assert!(stats.double_fees > 0, "fee_server.lookup = false is a choice: {stats:?}");
}

#[tokio::test]
async fn failures_after_the_fee_was_made_make_no_second_fee_at_a_server_that_ignores_keys_and_answers_look_ups() {
    for status in [500, 502, 503, 504] {
        let commit_fail_status = status.try_into().unwrap();
        let faults = Faults {
            commit_fail_rate: 0.5,
            commit_fail_status,
            no_idempotency: true,
            seed: Some(7),
            ..Faults::default()
        };
        let stats = House::new(faults, true).await.run_to_the_end().await;
        assert_eq!((stats.fees, stats.double_fees), (20, 0), "{status}");
        assert_eq!(stats.requests, 20, "each was looked up, and found: {status}");
    }
}

#[tokio::test]
async fn cut_answers_make_no_second_fee_at_a_server_that_ignores_keys_and_answers_look_ups() {
    let faults = Faults { cut_rate: 0.7, no_idempotency: true, seed: Some(7), ..Faults::default() };
    let stats = House::new(faults, true).await.run_to_the_end().await;
    assert_eq!((stats.fees, stats.double_fees, stats.requests), (20, 0, 20));
}

/// Time-outs at a server that goes on working after we hung up, and whose fee is not there yet when it is looked up.
async fn hung_up_too_early(no_idempotency: bool) -> Stats {
    let slow = Faults { latency: Duration::from_secs(2), no_idempotency, ..Faults::default() };
    let house = House::new(slow, true).await;
    house.run().await;
    house.outbox.advance(Duration::from_mins(2));
    house.fee_server.set_faults(Faults { no_idempotency, ..Faults::default() });
    let stats = house.run_to_the_end().await;
    assert!(stats.requests > 20, "looked up too early, sent again: {stats:?}");
    let late = async || (house.fee_server.stats().fees >= if no_idempotency { 40 } else { 20 }).then_some(());
    eventually("the fees of the calls that we hung up on", Duration::from_secs(30), late).await;
    house.fee_server.stats()
}

#[tokio::test]
async fn a_call_that_is_still_worked_on_makes_a_second_fee_only_at_a_server_that_ignores_keys() {
    let stats = hung_up_too_early(false).await;
    assert_eq!((stats.fees, stats.double_fees), (20, 0));
    let stats = hung_up_too_early(true).await;
    assert_eq!(stats.double_fees, 20, "this window stays open");
}
