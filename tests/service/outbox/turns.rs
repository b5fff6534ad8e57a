//! Partners take turns: the backlog of one delays an event of another by a turn, not by its length.

use std::collections::{BTreeMap, HashSet};

use feebox::outbox::{self, Claim, ClaimRequest, Turn};
use feebox::quotes::FEE_SERVER;
use uuid::Uuid;

use crate::support::{TestOutbox, on_each_engine};

on_each_engine!(
    a_single_event_is_claimed_beside_a_backlog_of_another_partner,
    what_is_due_is_shared_equally_and_what_one_leaves_goes_to_the_others,
    everybody_with_something_due_gets_a_share_of_a_claim_of_any_size,
    each_partner_keeps_its_order,
    more_partners_than_a_claim_serves_come_one_circle_after_another,
    a_probe_is_of_another_partner_each_time,
);

async fn claim(outbox: &TestOutbox, limit: usize, turn: &Turn) -> Claim {
    let (worker, lease) = ("worker", TestOutbox::LEASE);
    let request = ClaimRequest { destination: &FEE_SERVER, worker, limit, lease, lanes: &[], turn: turn.clone() };
    outbox::claim(&outbox.db, &request).await.unwrap()
}

/// How many events of each partner there are in `claim`.
fn shares(claim: &Claim) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for event in &claim.events {
        *shares.entry(event.partner.as_str()).or_default() += 1;
    }
    shares
}

async fn a_single_event_is_claimed_beside_a_backlog_of_another_partner(outbox: TestOutbox) {
    outbox.submit_by("big", 300).await;
    let nobodys = outbox.submit(1).await[0];
    let small = outbox.submit_by("small", 1).await[0];
    let claim = claim(&outbox, 50, &Turn::default()).await;
    assert_eq!(shares(&claim), BTreeMap::from([("", 1), ("big", 48), ("small", 1)]));
    assert!(claim.is_full);
    let ids: HashSet<_> = claim.events.iter().map(|event| event.id).collect();
    assert!(ids.contains(&nobodys) && ids.contains(&small));
}

async fn what_is_due_is_shared_equally_and_what_one_leaves_goes_to_the_others(outbox: TestOutbox) {
    for (partner, count) in [("ann", 100), ("ben", 100), ("cat", 4)] {
        outbox.submit_by(partner, count).await;
    }
    let first = claim(&outbox, 60, &Turn::default()).await;
    assert_eq!(shares(&first), BTreeMap::from([("ann", 28), ("ben", 28), ("cat", 4)]));
    let second = claim(&outbox, 200, &first.next_turn).await;
    assert_eq!(shares(&second), BTreeMap::from([("ann", 72), ("ben", 72)]));
    assert!(!second.is_full, "nothing is left");
    assert!(claim(&outbox, 10, &second.next_turn).await.events.is_empty());
}

/// Shares that are rounded up would be used up before the last partners have theirs, claim after claim.
async fn everybody_with_something_due_gets_a_share_of_a_claim_of_any_size(outbox: TestOutbox) {
    const PARTNERS: usize = 20;
    for number in 0..PARTNERS {
        outbox.submit_by(&format!("partner-{number:02}"), 40).await;
    }
    for limit in [20, 21, 33, 39, 47] {
        let claim = claim(&outbox, limit, &Turn::default()).await;
        assert_eq!(shares(&claim).len(), PARTNERS, "{:?}", shares(&claim));
        assert!(claim.events.len() <= limit, "{} of {limit}", claim.events.len());
    }
}

async fn each_partner_keeps_its_order(outbox: TestOutbox) {
    let ann = outbox.submit_by("ann", 20).await;
    let ben = outbox.submit_by("ben", 20).await;
    let (mut turn, mut claimed): (_, BTreeMap<String, Vec<Uuid>>) = (Turn::default(), BTreeMap::new());
    loop {
        let claim = claim(&outbox, 6, &turn).await;
        for event in claim.events {
            claimed.entry(event.partner).or_default().push(event.id);
        }
        turn = claim.next_turn;
        if !claim.is_full {
            break;
        }
    }
    assert_eq!(claimed, BTreeMap::from([("ann".into(), ann), ("ben".into(), ben)]));
}

async fn more_partners_than_a_claim_serves_come_one_circle_after_another(outbox: TestOutbox) {
    const PARTNERS: usize = 70;
    outbox.submit_by("partner-00", 200).await;
    for number in 1..PARTNERS {
        outbox.submit_by(&format!("partner-{number:02}"), 2).await;
    }
    let (mut turn, mut seen, mut claims, mut circles) = (Turn::default(), Vec::new(), 0, 0);
    loop {
        let claim = claim(&outbox, 32, &turn).await;
        seen.extend(claim.events.iter().map(|event| event.partner.clone()));
        claims += 1;
        turn = claim.next_turn;
        circles += usize::from(turn == Turn::default());
        if circles == 1 && turn == Turn::default() {
            // Everybody had a turn, and the one with the backlog no more than the others.
            assert_eq!(seen.iter().collect::<HashSet<_>>().len(), PARTNERS);
            assert!(seen.iter().filter(|partner| *partner == "partner-00").count() <= 2);
            assert!(claims > 2, "{claims}");
        }
        if !claim.is_full {
            break;
        }
        assert!(claims < 100, "it goes on in vain");
    }
    assert_eq!(seen.len(), 200 + 2 * (PARTNERS - 1));
}

/// One whose head fails again and again does not keep the circuit open.
async fn a_probe_is_of_another_partner_each_time(outbox: TestOutbox) {
    for partner in ["ann", "ben", "cat"] {
        outbox.submit_by(partner, 5).await;
    }
    let (mut turn, mut partners) = (Turn::default(), Vec::new());
    for _ in 0..6 {
        let claim = claim(&outbox, 1, &turn).await;
        partners.extend(claim.events.into_iter().map(|event| event.partner));
        turn = claim.next_turn;
    }
    // The circle begins anew after a claim that may find nobody at its end.
    assert_eq!(partners[..4], ["ann", "ben", "cat", "ann"]);
}
