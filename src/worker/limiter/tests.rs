//! The limit before simulated servers: see [`super::simulated`].
#![expect(clippy::cast_precision_loss, reason = "small counts")]

use std::time::{Duration, Instant};

use super::{
    Limiter,
    simulated::{Server, Simulation},
};
use crate::outbox::{DestinationName, Outcome};

/// 503 at once, and time-outs after five times the latency.
#[test]
fn failures_by_chance_lower_nothing_however_fast_the_server_is() {
    for (latency, max, seconds) in [(0.02, 64, 10.0), (0.2, 64, 40.0), (2.0, 256, 150.0)] {
        for share in [0.01, 0.05, 0.1, 0.2] {
            for fails_after in [0.001, 5.0 * latency] {
                let mut simulation = Simulation::new(Server::Chance { latency, share, fails_after }, max, 1, 7);
                let counts = simulation.run_for(seconds);
                // A failure holds its place for at least as long as a success.
                let place = (1.0 - share) * latency + share * f64::max(fails_after, latency);
                let allowed = max as f64 * (1.0 - share) / place;
                let ratio = counts.per_second() / allowed;
                assert!(ratio > 0.85, "{latency} s, {share} after {fails_after} s: {ratio:.2}");
            }
        }
    }
}

#[test]
fn a_server_that_refuses_what_is_too_much_is_served_well_and_refuses_little() {
    for (latency, refuses_after) in [(0.02, 0.001), (0.02, 0.02), (0.2, 0.001), (2.0, 2.0)] {
        for (places, refused_max) in [(16, 0.1), (64, 0.03)] {
            let mut simulation = Simulation::new(Server::Sheds { places, latency, refuses_after }, 256, 1, 7);
            simulation.run_for(latency * 60.0);
            let counts = simulation.run_for(latency * 400.0);
            let part = counts.per_second() * latency / places as f64;
            let refused = counts.refused_a_fee();
            assert!(
                part > 0.75 && refused < refused_max,
                "{places} at {latency} s: {part:.2}, {refused:.3} refused a fee"
            );
        }
    }
}

#[test]
fn a_fleet_finds_out_together_that_it_is_too_much() {
    let server = Server::Sheds { places: 200, latency: 0.02, refuses_after: 0.02 };
    let mut simulation = Simulation::new(server, 256, 4, 7);
    simulation.run_for(35.0);
    let counts = simulation.run_for(15.0);
    let (part, refused) = (counts.per_second() * 0.02 / 200.0, counts.refused_a_fee());
    assert!(part > 0.85 && refused < 0.3, "{part:.2}, {refused:.3} refused a fee");
}

#[test]
fn latency_that_rises_with_our_load_lowers_the_limit() {
    let mut simulation = Simulation::new(Server::Queues { places: 64, latency: 0.02, timeout: 5.0 }, 1_000, 1, 7);
    let at = simulation.instant(0.0);
    simulation.fleet[0].restart(at);
    simulation.run_for(5.0);
    let counts = simulation.run_for(10.0);
    let (part, limit) = (counts.per_second() * 0.02 / 64.0, simulation.limit());
    assert!(part > 0.9 && limit < 300.0, "{part:.2} of what the server bears at a limit of {limit:.0}");
}

#[test]
fn latency_that_rises_for_everybody_lowers_nothing_for_long() {
    let mut simulation = Simulation::new(Server::Chance { latency: 0.02, share: 0.0, fails_after: 0.02 }, 64, 1, 7);
    simulation.run_for(2.0);
    simulation.server = Server::Chance { latency: 0.1, share: 0.0, fails_after: 0.1 };
    let ratio = simulation.run_for(20.0).per_second() * 0.1 / 64.0;
    assert!(ratio > 0.9, "{ratio:.2}");
}

#[test]
fn a_server_of_two_speeds_is_no_overloaded_one() {
    for (fast, slow, slow_share) in [(0.02, 1.0, 0.1), (0.2, 2.0, 0.5)] {
        let mut simulation = Simulation::new(Server::TwoSpeeds { fast, slow, slow_share }, 64, 1, 7);
        let allowed = 64.0 / (fast * (1.0 - slow_share) + slow * slow_share);
        let ratio = simulation.run_for(60.0).per_second() / allowed;
        assert!(ratio > 0.85, "{fast} and {slow}: {ratio:.2}");
    }
}

#[test]
fn a_server_with_a_ration_of_calls_a_second_gives_it_all_and_refuses_little() {
    let mut simulation = Simulation::new(Server::Rations { per_second: 500.0, latency: 0.2 }, 256, 1, 7);
    simulation.run_for(20.0);
    let counts = simulation.run_for(40.0);
    let (part, refused) = (counts.per_second() / 500.0, counts.refused_a_fee());
    assert!(part > 0.75 && refused < 0.1, "{part:.2}, {refused:.3} refused a fee");
}

#[test]
fn after_an_outage_seven_tenths_of_full_speed_are_back_within_ten_round_trips() {
    for (max, latency) in [(1, 0.5), (4, 0.5), (256, 0.02), (256, 0.5)] {
        let working = || Server::Chance { latency, share: 0.0, fails_after: latency };
        let mut simulation = Simulation::new(working(), max, 1, 7);
        simulation.run_for(latency * 30.0);
        simulation.server = Server::Chance { latency, share: 1.0, fails_after: 0.001 };
        simulation.run_for(latency);
        // The circuit is open; a probe fails, and one succeeds.
        for _ in 0..2 {
            let at = simulation.instant(simulation.now);
            simulation.fleet[0].restart(at);
        }
        simulation.server = working();
        simulation.run_for(latency * 10.0);
        let part = simulation.run_for(latency).per_second() * latency / max as f64;
        assert!(part > 0.7, "{part:.2} of {max} at {latency} s");
    }
}

/// The circuit opens while the limit is coming back: then it was not an outage, or not that alone, but what came back.
#[test]
fn a_limit_that_opens_the_circuit_again_comes_back_to_half_of_that() {
    let (max, latency) = (64, 0.2);
    let mut simulation = Simulation::new(Server::Chance { latency, share: 0.0, fails_after: 0.0 }, max, 1, 7);
    simulation.run_for(latency * 30.0);
    let restart = |simulation: &mut Simulation| {
        let at = simulation.instant(simulation.now);
        // A probe, and each look at the open circuit.
        (0..5).for_each(|_| simulation.fleet[0].restart(at));
    };
    restart(&mut simulation);
    simulation.run_for(latency * 4.5);
    let risen = simulation.limit();
    assert!((8.0..=32.0).contains(&risen), "{risen}");
    restart(&mut simulation);
    simulation.run_for(latency * 4.5);
    let risen_again = simulation.limit();
    assert!(risen_again <= risen * 0.8, "{risen_again} after {risen}");
    simulation.run_for(latency * 60.0);
    assert!(simulation.limit() > 0.9 * max as f64, "it comes back in the end: {}", simulation.limit());
}

#[test]
fn the_limit_stays_between_one_and_its_maximum() {
    for max in [1, 4, 10_000] {
        let mut simulation = Simulation::new(Server::Chance { latency: 0.2, share: 1.0, fails_after: 0.01 }, max, 1, 7);
        simulation.run_for(6.0);
        assert!((1.0..=4.0).contains(&simulation.limit()), "nothing succeeds: {}", simulation.limit());
        simulation.server = Server::Chance { latency: 0.2, share: 0.0, fails_after: 0.01 };
        simulation.run_for(if max > 4 { 1.0 } else { 60.0 });
        assert!((1.0..=max as f64).contains(&simulation.limit()), "{}", simulation.limit());
    }
}

#[test]
fn a_lack_of_our_own_lowers_the_limit_at_once_and_other_causes_never() {
    let limiter = Limiter::new(DestinationName::from_static("fee-server"), 100);
    let begun = Instant::now();
    (0..100).for_each(|_| limiter.begin(begun));
    for _ in 0..50 {
        limiter.learn(&Outcome::<()>::NotSent("drained".into()), begun);
        limiter.learn(&Outcome::<()>::Unauthorised("401".into()), begun);
        limiter.learn(&Outcome::<()>::Forbidden("403".into()), begun);
        limiter.learn(&Outcome::<()>::Misdirected { error: "404".into(), unknown: false }, begun);
    }
    assert_eq!(limiter.limit(), 100);
    (0..100).for_each(|_| limiter.begin(Instant::now()));
    limiter.learn(&Outcome::<()>::OutOfResources("too many open files".into()), Instant::now());
    assert!(limiter.limit() <= 70, "{}", limiter.limit());
}

#[test]
fn a_call_that_failed_at_once_keeps_its_place_for_as_long_as_a_success_would_have() {
    let limiter = Limiter::new(DestinationName::from_static("fee-server"), 2);
    let now = Instant::now();
    let long_ago = now.checked_sub(Duration::from_secs(2)).unwrap_or(now);
    (0..2).for_each(|_| limiter.begin(long_ago));
    limiter.learn(&Outcome::Delivered(()), long_ago);
    limiter.learn(&Outcome::Delivered(()), long_ago);
    limiter.begin(now);
    limiter.learn(&Outcome::<()>::Retry("503".into()), now);
    assert_eq!((limiter.places(0), limiter.places(1)), (1, 0));
    assert!(limiter.rested().is_some_and(|until| until > now + Duration::from_secs(1)));
}
