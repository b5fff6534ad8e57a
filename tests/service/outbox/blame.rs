//! Whom a failed attempt is held against: its event, or the destination. A bad event costs itself alone, and an outage costs
//! no event anything.

use std::time::Duration;

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::outbox::{Disposition, LeasedEvent, Outcome};

use crate::support::{TestOutbox, attempt, delivered, on_each_engine, retry, unknown};

on_each_engine!(
    one_bad_event_opens_no_circuit_and_reaches_its_last_attempt,
    many_failures_of_one_event_count_as_one_when_another_fails,
    a_bad_event_after_another_opens_no_circuit_either,
    a_probe_spends_an_attempt_when_its_event_alone_fails,
    a_probe_spends_an_attempt_when_others_were_delivered_just_now,
    in_an_outage_probes_rotate_and_spend_nothing,
    a_call_that_nobody_takes_opens_the_circuit_and_its_probes_spend_nothing,
    a_page_in_place_of_an_answer_never_makes_an_event_dead,
    pages_for_several_events_open_the_circuit,
    a_page_after_a_2xx_leaves_the_outcome_unknown,
    what_this_process_lacks_is_handed_back_and_counts_for_nothing,
    a_probe_that_was_not_sent_is_free_for_another_event_at_once,
);

const COOL_DOWN: Duration = Duration::from_secs(15);

async fn one_bad_event_opens_no_circuit_and_reaches_its_last_attempt(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 2;
    let bad = outbox.submit(1).await[0];
    for number in 1..=6 {
        let became = outbox.deliver("a", if number % 2 == 0 { retry() } else { unknown() }).await;
        assert_eq!(matches!(became, Disposition::Dead(_)), number == 6, "{became:?}");
        let row = outbox.fee_server().await;
        assert_eq!((row.circuit, row.consecutive_failures, row.failing_event), (Circuit::Closed, 1, Some(bad)));
        outbox.advance(Duration::from_mins(1));
    }
    let good = outbox.submit(1).await[0];
    outbox.deliver("a", delivered()).await;
    assert_eq!(outbox.statuses(&[bad, good]).await, [Status::Dead, Status::Delivered]);
    let row = outbox.fee_server().await;
    assert_eq!((row.consecutive_failures, row.failing_event, row.failing_since), (0, None, None));
}

async fn many_failures_of_one_event_count_as_one_when_another_fails(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 3;
    outbox.submit(1).await;
    for _ in 0..5 {
        outbox.deliver("a", retry()).await;
        outbox.advance(Duration::from_mins(1));
    }
    outbox.submit(2).await;
    let claimed = outbox.claim("a", 3).await;
    outbox.settle_one("a", &claimed[1], retry()).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Closed, 2));
    assert_eq!(row.failing_event, Some(claimed[1].id));
    outbox.settle_one("a", &claimed[2], retry()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}

async fn a_bad_event_after_another_opens_no_circuit_either(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 4;
    for count in 1..=3 {
        let bad = outbox.submit(1).await[0];
        for _ in 0..6 {
            outbox.deliver("a", unknown()).await;
            outbox.advance(Duration::from_mins(1));
        }
        assert_eq!(outbox.event(bad).await.status, Status::Dead);
        let row = outbox.fee_server().await;
        assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Closed, count));
    }
}

async fn a_probe_spends_an_attempt_when_its_event_alone_fails(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 1;
    let bad = outbox.submit(1).await[0];
    outbox.deliver("a", retry()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
    for number in 2..=6 {
        // By its own backoff, which is longer than the cool-down in the end.
        outbox.advance(Duration::from_mins(1));
        let probe = only_probe(&outbox).await;
        assert_eq!((probe.id, probe.attempt), (bad, number));
        outbox.settle_one("a", &probe, unknown()).await;
    }
    assert_eq!(outbox.event(bad).await.status, Status::Dead);
}

async fn a_probe_spends_an_attempt_when_others_were_delivered_just_now(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 2;
    let events = outbox.submit(4).await;
    let claimed = outbox.claim("a", 3).await;
    outbox.settle("a", &[attempt(&claimed[0], retry()), attempt(&claimed[1], retry())]).await;
    outbox.advance(COOL_DOWN);
    let probe = only_probe(&outbox).await;
    // A straggler, from before the circuit opened.
    outbox.settle_one("b", &claimed[2], delivered()).await;
    outbox.settle_one("a", &probe, retry()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
    assert_eq!(outbox.event(probe.id).await.attempts, probe.attempt);

    outbox.advance(COOL_DOWN);
    let other = only_probe(&outbox).await;
    outbox.advance(Duration::from_secs(1));
    outbox.settle_one("a", &other, retry()).await;
    assert_eq!(outbox.event(other.id).await.attempts, other.attempt - 1, "nothing was delivered since");
    assert!(events.contains(&other.id) && other.id != probe.id);
}

async fn in_an_outage_probes_rotate_and_spend_nothing(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 2;
    let events = outbox.submit(3).await;
    let claimed = outbox.claim("a", 2).await;
    outbox.settle("a", &[attempt(&claimed[0], unknown()), attempt(&claimed[1], retry())]).await;
    outbox.advance(Duration::from_mins(1));
    let mut probed = vec![];
    for _ in 0..30 {
        let probe = only_probe(&outbox).await;
        probed.push(probe.id);
        outbox.settle_one("a", &probe, if probed.len() % 2 == 0 { retry() } else { unknown() }).await;
        outbox.advance(COOL_DOWN);
    }
    for id in events {
        assert_eq!(probed.iter().filter(|probe| **probe == id).count(), 10);
        let row = outbox.event(id).await;
        assert!(row.status == Status::Pending && row.attempts <= 1, "{row:?}");
    }
}

async fn a_call_that_nobody_takes_opens_the_circuit_and_its_probes_spend_nothing(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 3;
    let event = outbox.submit(1).await[0];
    for _ in 0..3 {
        outbox.deliver("a", unreachable()).await;
        outbox.advance(Duration::from_mins(1));
    }
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.circuit_reason.as_deref()), (Circuit::Open, Some("connection refused")));
    for _ in 0..20 {
        let probe = only_probe(&outbox).await;
        outbox.settle_one("a", &probe, unreachable()).await;
        outbox.advance(COOL_DOWN);
    }
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Pending, 3, false));
}

async fn a_page_in_place_of_an_answer_never_makes_an_event_dead(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 2;
    let event = outbox.submit(1).await[0];
    for seconds in [10, 20, 40].into_iter().chain(std::iter::repeat_n(60, 40)) {
        let before = outbox.now().await;
        outbox.deliver("a", page(false)).await;
        let row = outbox.event(event).await;
        assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Pending, 0, false));
        let wait = Duration::from_secs(seconds);
        let ended_at = row.due_at - wait;
        assert!((before..=outbox.now().await).contains(&ended_at), "{seconds} s");
        outbox.advance(wait);
    }
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed, "one event alone gets it");
    outbox.deliver("a", delivered()).await;
    assert_eq!(outbox.event(event).await.status, Status::Delivered);
}

async fn pages_for_several_events_open_the_circuit(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 3;
    let events = outbox.submit(3).await;
    for claimed in outbox.claim("a", 3).await {
        outbox.settle_one("a", &claimed, page(false)).await;
    }
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.circuit_reason.as_deref()), (Circuit::Open, Some("404: a page")));
    outbox.advance(Duration::from_mins(1));
    for _ in 0..20 {
        let probe = only_probe(&outbox).await;
        outbox.settle_one("a", &probe, page(false)).await;
        outbox.advance(Duration::from_mins(1));
    }
    for id in events {
        let row = outbox.event(id).await;
        assert_eq!((row.status, row.attempts), (Status::Pending, 0));
    }
}

async fn a_page_after_a_2xx_leaves_the_outcome_unknown(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.deliver("a", page(true)).await;
    let row = outbox.event(event).await;
    assert!(row.outcome_unknown && row.status == Status::Pending);
    assert_eq!(row.failures[0]["outcome"], "unknown");
}

async fn what_this_process_lacks_is_handed_back_and_counts_for_nothing(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 1;
    let event = outbox.submit(1).await[0];
    let before = (outbox.event(event).await, outbox.fee_server().await);
    for _ in 0..8 {
        outbox.deliver("a", Outcome::OutOfResources("too many open files".into())).await;
    }
    assert_eq!((outbox.event(event).await, outbox.fee_server().await), before);
}

async fn a_probe_that_was_not_sent_is_free_for_another_event_at_once(outbox: TestOutbox) {
    outbox.submit(2).await;
    let claimed = outbox.claim("a", 1).await;
    outbox.settle_one("a", &claimed[0], Outcome::Unauthorised("401".into())).await;
    outbox.advance(COOL_DOWN);
    for outcome in [Outcome::NotSent("drained".into()), Outcome::OutOfResources("too many open files".into())] {
        let probe = only_probe(&outbox).await;
        outbox.settle_one("a", &probe, outcome).await;
    }
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
    only_probe(&outbox).await;
}

async fn only_probe(outbox: &TestOutbox) -> LeasedEvent {
    let mut claimed = outbox.claim("a", 10).await;
    assert_eq!(claimed.iter().map(|event| event.probe).collect::<Vec<_>>(), [true]);
    claimed.remove(0)
}

fn unreachable() -> Outcome<()> {
    Outcome::Unreachable("connection refused".into())
}

fn page(unknown: bool) -> Outcome<()> {
    Outcome::Misdirected { error: "404: a page".into(), unknown }
}
