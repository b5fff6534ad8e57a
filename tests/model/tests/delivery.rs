//! The protocol keeps its promises whatever happens in whatever order, and needs each of its guards for that.
//!
//! `cargo test -p delivery-model -- --nocapture` prints the numbers of states and the counterexamples.

use std::collections::BTreeSet;

use delivery_model::{Delivery, Guard, LookUps, promises};
use stateright::{Checker, HasDiscoveries, Model};

/// A fee server that ignores keys, has look-ups, and has done its work by the time at which the worker hangs up.
const IGNORES_KEYS: Delivery = Delivery { honours_keys: false, may_be_late: false, ..BASE };
const BASE: Delivery = Delivery::BASE;

#[test]
fn the_default_is_what_is_checked() {
    assert_eq!(format!("{BASE:?}"), format!("{:?}", Delivery::default()));
}

#[test]
fn a_quote_that_may_be_cancelled_keeps_its_promises_over_three_misfortunes() {
    holds_but_for("one quote", Delivery { misfortunes: 3, ..BASE }, &[promises::VOIDED]);
    holds("one quote, a fee server that is never late", Delivery { misfortunes: 3, may_be_late: false, ..BASE });
}

#[test]
fn two_quotes_share_workers_and_a_circuit_and_keep_their_promises() {
    holds("two quotes", Delivery { quotes: 2, may_be_late: false, ..BASE });
    holds("two quotes, three misfortunes", Delivery { quotes: 2, misfortunes: 3, may_cancel: false, ..BASE });
    holds(
        "two quotes, one failure opens the circuit",
        Delivery { quotes: 2, circuit_failures: 1, may_cancel: false, ..BASE },
    );
}

#[test]
fn three_workers_keep_the_promises() {
    holds("three workers", Delivery { workers: 3, may_be_late: false, ..BASE });
}

#[test]
fn with_attempts_enough_every_stored_quote_is_confirmed_rejected_or_cancelled() {
    holds("attempts enough", Delivery { misfortunes: 3, max_attempts: 4, may_be_late: false, ..BASE });
}

#[test]
fn a_fee_server_that_honours_keys_never_makes_a_second_fee() {
    let no_look_ups = Delivery { look_ups: LookUps::None, misfortunes: 3, ..BASE };
    holds_but_for("keys alone", no_look_ups, &[promises::VOIDED]);
}

#[test]
fn a_fee_server_that_ignores_keys_and_answers_look_ups_in_time_makes_no_second_fee() {
    holds("look-ups alone", Delivery { misfortunes: 3, ..IGNORES_KEYS });
}

/// The windows that docs/delivery.md calls open.
#[test]
fn the_open_windows_are_open() {
    breaks(
        "ignores keys, and works on after we hung up",
        Delivery { may_be_late: true, ..IGNORES_KEYS },
        promises::ONE_FEE,
    );
    breaks("ignores keys and look-ups", Delivery { look_ups: LookUps::None, ..IGNORES_KEYS }, promises::ONE_FEE);
    breaks("a fee is still being made when the void arrives", BASE, promises::VOIDED);
}

#[test]
fn each_guard_is_needed() {
    let late = BASE;
    let in_time = Delivery { may_be_late: false, ..BASE };
    let keys_alone = Delivery { look_ups: LookUps::None, ..BASE };
    let two = Delivery { quotes: 2, may_cancel: false, ..BASE };
    let one_failure_opens = Delivery { circuit_failures: 1, ..two };
    let mut shown = 0;
    for guard in Guard::ALL {
        let (model, promise) = match guard {
            Guard::OneTransaction => (late, promises::NO_GHOST),
            Guard::CountedFirst => (late, promises::COUNTED),
            Guard::Order => (late, promises::IN_ORDER),
            Guard::Fence | Guard::SettledOnce => (late, promises::FENCE),
            Guard::SettledTogether => (late, promises::TOGETHER),
            Guard::CompareAndSet => (late, promises::STAYS_CANCELLED),
            Guard::WithdrawnIsMarked => (in_time, promises::IN_ORDER),
            Guard::Rescue => (late, promises::SETTLED),
            Guard::RescuedIsUnknown | Guard::LookUpFirst | Guard::ListsAreRemembered | Guard::ClockBeforeSending => {
                (IGNORES_KEYS, promises::ONE_FEE)
            }
            Guard::SameKey => (keys_alone, promises::ONE_FEE),
            Guard::HoldBeforeSending => (two, promises::HOLD),
            Guard::OneProbe | Guard::LateProbe => (one_failure_opens, promises::ONE_PROBE),
            Guard::ProbeEnds => (one_failure_opens, promises::SETTLED),
        };
        let checker = explore(model, HasDiscoveries::AnyOf(BTreeSet::from([promise])));
        assert!(checker.discovery(promise).is_none(), "{promise} does not hold with all guards");
        breaks(&format!("without {guard:?}"), Delivery { without: Some(guard), ..model }, promise);
        shown += 1;
    }
    assert_eq!(shown, Guard::ALL.len());
}

fn holds(what: &str, model: Delivery) {
    holds_but_for(what, model, &[]);
}

/// All promises hold in all states, but for those that the fee server makes impossible.
fn holds_but_for(what: &str, model: Delivery, open: &[&str]) {
    let names = promises::names().into_iter().filter(|name| !open.contains(name)).collect();
    let checker = explore(model, HasDiscoveries::AnyOf(names));
    let broken = checker.discoveries().into_iter().filter(|(name, _)| !open.contains(name));
    let broken: Vec<_> = broken.map(|(name, path)| format!("{name}\n{}", trace(&path.into_actions()))).collect();
    assert!(broken.is_empty(), "{what}: broken: {}", broken.join("\n"));
    assert!(checker.is_done());
    println!("{what}: {} states, {} steps", checker.unique_state_count(), checker.state_count());
}

fn explore(model: Delivery, finish: HasDiscoveries) -> impl Checker<Delivery> {
    model.checker().threads(2).symmetry_fn(Delivery::representative).finish_when(finish).spawn_dfs().join()
}

/// `promise` has a counterexample: the shortest is printed.
fn breaks(what: &str, model: Delivery, promise: &'static str) {
    let finish = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    let checker = model.checker().finish_when(finish).spawn_bfs().join();
    let path = checker.discovery(promise).unwrap_or_else(|| panic!("{what}: no counterexample to: {promise}"));
    println!("{what}, not kept is: {promise}\n{}", trace(&path.into_actions()));
}

fn trace(actions: &[delivery_model::Action]) -> String {
    let numbered = actions.iter().enumerate().map(|(step, action)| format!("  {:>2}. {action}", step + 1));
    numbered.collect::<Vec<_>>().join("\n")
}
