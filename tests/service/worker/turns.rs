//! A worker's places are shared by the partners that have something due.

use std::sync::Arc;
use std::time::Duration;

use feebox::quotes::FEE_SERVER;
use feebox::settings;
use feebox::worker::Signals;
use tokio_util::sync::CancellationToken;

use crate::support::{Cue, Scripted, TestOutbox, delivered, on_each_engine, worker_settings};

on_each_engine!(
    an_event_of_another_partner_is_delivered_in_the_next_round,
    a_partner_that_comes_later_gets_its_places_while_another_has_all,
);

const PLACES: usize = 4;
const BACKLOG: usize = 400;

/// Delivers one after the other of those that were begun, until `count` more have begun.
async fn deliver(scripted: &Scripted, answered: &mut usize, answers: &[CancellationToken], count: usize) {
    let enough = scripted.calls().len() + count;
    while scripted.calls().len() < enough {
        answers[*answered].cancel();
        *answered += 1;
        scripted.begun(*answered + 1).await;
    }
}

/// Each delivery is answered when the test says so, in their order.
fn scripted() -> (Arc<Scripted>, Vec<CancellationToken>) {
    let answers: Vec<_> = (0..2 * BACKLOG).map(|_| CancellationToken::new()).collect();
    let (number, given) = (std::sync::atomic::AtomicUsize::new(0), answers.clone());
    let script = move |_: &_| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Cue::AnswerAfter(given[number].clone(), delivered())
    };
    (Arc::new(Scripted::new(&FEE_SERVER, script)), answers)
}

fn settings() -> settings::Worker {
    settings::Worker { concurrency: PLACES, lease: Duration::from_mins(5), ..worker_settings() }
}

async fn an_event_of_another_partner_is_delivered_in_the_next_round(outbox: TestOutbox) {
    outbox.submit_by("big", BACKLOG).await;
    let (scripted, answers) = scripted();
    let signals = Signals::default();
    let worker = outbox.worker_told("a", &scripted, settings(), signals.clone());
    let test = async {
        scripted.begun(PLACES).await;
        let mut answered = 0;
        for number in 0..5 {
            let small = outbox.submit_by(&format!("small-{number}"), 1).await[0];
            signals.wake.send();
            let before = scripted.calls().len();
            // What was claimed before it, and a turn of the others.
            deliver(&scripted, &mut answered, &answers, 5 * PLACES).await;
            let calls = scripted.calls();
            assert!(calls[before..].iter().any(|call| call.event.id == small), "small {number} waits");
        }
        signals.drain.cancel();
        answers.iter().for_each(CancellationToken::cancel);
    };
    let (run, ()) = tokio::join!(worker.run_once(), test);
    run.unwrap();
}

async fn a_partner_that_comes_later_gets_its_places_while_another_has_all(outbox: TestOutbox) {
    outbox.submit_by("big", BACKLOG).await;
    let (scripted, answers) = scripted();
    let signals = Signals::default();
    let worker = outbox.worker_told("a", &scripted, settings(), signals.clone());
    let test = async {
        scripted.begun(PLACES).await;
        outbox.submit_by("later", BACKLOG / 2).await;
        signals.wake.send();
        let mut answered = 0;
        deliver(&scripted, &mut answered, &answers, 100).await;
        let calls = scripted.calls();
        let later = calls.iter().filter(|call| call.event.partner == "later").count();
        assert!((38..=52).contains(&later), "{later} of {} calls", calls.len());
        signals.drain.cancel();
        answers.iter().for_each(CancellationToken::cancel);
    };
    let (run, ()) = tokio::join!(worker.run_once(), test);
    run.unwrap();
}
