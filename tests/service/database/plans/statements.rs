//! The statements that are sent all the time.

use std::time::Duration;

use feebox::database::update_each::{Cell, Column, Type, UpdateEach};
use feebox::inspection;
use feebox::outbox::{ClaimRequest, EventStatus, Turn, statements};
use feebox::quotes::{self, FEE_SERVER, Status};
use feebox::submission;
use feebox::sweeper::{self, Band, Bounds};
use sea_orm::sea_query::SelectStatement;
use sea_orm::{DbBackend, QueryTrait, Statement, Value};
use uuid::Uuid;

use super::Hot;
use crate::support::{Filling, TestOutbox};

/// How many rows a statement asks for.
const LIMIT: u64 = 100;
/// How many keys a statement names.
const KEYS: u64 = 256;
/// How many rows are read to see whether something was delivered lately: as many, and once more as a table of their own.
const SETTLED_SEEN: u64 = 2_010;

/// All of them, about the last of the rows up to number `last`.
pub async fn hot_statements(outbox: &TestOutbox, last: u64) -> Vec<Hot> {
    let connection = outbox.db.connection();
    let backend = connection.get_database_backend();
    let now = outbox.now().await;
    let clock = outbox.db.clock().as_sql(backend);
    let events = || (last - KEYS + 1..=last).map(Filling::event);
    let of_quotes = || (last - KEYS + 1..=last).map(Filling::quote);
    let hour_ago = now - Duration::from_hours(1);
    let stale = Bounds::of(now, Duration::from_hours(1));
    let (oldest, youngest) = (Filling::stored_at(last - LIMIT), Filling::stored_at(last));
    let (asked, named) = (4 * LIMIT, 4 * KEYS);
    let hot = |name: &str, question: &SelectStatement, rows_max| Hot::new(outbox, name.into(), question, rows_max);
    let built = |name: &str, statement: Statement, rows_max| Hot { name: name.into(), statement, rows_max };
    let lease = statements::leased(events(), "worker", Uuid::nil(), now);
    let advance = quotes::statements::change(of_quotes(), &[Status::Pending], Status::Confirmed, None, now);
    let behind = Some((Filling::stored_at(last - 500), Uuid::nil()));
    let back_to_pending = UpdateEach {
        table: "outbox_event",
        to_all: &[("leased_until", Value::ChronoDateTimeUtc(None))],
        by_row: &[Column("status", Type::Text), Column("due_at", Type::Time)],
    };
    let rows = events().map(|id| (id, vec![Cell::Text("pending".into()), Cell::Keep])).collect();
    let mut all = vec![
        built("write down", back_to_pending.statements(backend, 512 * 1024, rows).remove(0), named + 2 * KEYS),
        hot("look", &statements::work_due(&FEE_SERVER, &clock), 10),
        built("claim", statements::due(backend, &FEE_SERVER, "shop", now, 100).build(backend), asked),
        built(
            "claim of one with little",
            statements::due(backend, &FEE_SERVER, "shop-50", now, 100).build(backend),
            asked,
        ),
        built(
            "claim of two",
            match backend {
                DbBackend::MySql => {
                    let of = |partner| statements::due(backend, &FEE_SERVER, partner, now, 50);
                    statements::together(["shop", "shop-50"].map(of).into_iter())
                }
                DbBackend::Sqlite => {
                    let partners = ["shop", "shop-50"].map(str::to_owned);
                    statements::equal_shares("e.*", &FEE_SERVER, &[], &partners, now, 0, 50)
                }
                // It has one statement for the whole claim.
                _ => statements::due(backend, &FEE_SERVER, "shop", now, 100).build(backend),
            },
            asked,
        ),
        match backend {
            // A page of the index, and nothing else.
            DbBackend::MySql => {
                built("whose turn", statements::heads_of_partners(&FEE_SERVER, "shop-").build(backend), 260)
            }
            // Up to three entries for each of the eleven partners.
            _ => built("whose turn", statements::walk_of_partners(backend, &FEE_SERVER, now, &Turn::default(), 32), 40),
        },
        built("lease", lease.build(backend), named),
        built("lock", statements::locked(&FEE_SERVER, clock.clone(), events()).build(backend), named),
        built("rescue", statements::expired(now, LIMIT).build(backend), asked),
        built("ages of keys", submission::ages(now, LIMIT).build(backend), asked),
        built("deletion of keys", submission::deletion(oldest, youngest).build(backend), asked),
        built("advance", advance.build(backend), named),
        built("last places", statements::last_sequences(&FEE_SERVER, of_quotes().collect()).build(backend), named),
        built(
            "events that end together",
            statements::at_place(&FEE_SERVER, of_quotes().collect(), 1).build(backend),
            named,
        ),
        built("hand-overs", quotes::statements::handovers(&FEE_SERVER, of_quotes()).build(backend), named),
        built("stale", sweeper::oldest_stale(Band::Past, stale, None, LIMIT).build(backend), asked),
        built("stale behind", sweeper::oldest_stale(Band::Past, stale, behind, LIMIT).build(backend), asked),
        hot("number of stale", &sweeper::number_of_stale(Band::Past, stale, LIMIT), asked),
        built("stale ahead", sweeper::oldest_stale(Band::Ahead, stale, None, LIMIT).build(backend), asked),
        built("oldest due", inspection::statements::oldest_due(&FEE_SERVER).build(backend), asked),
    ];
    if backend == DbBackend::Postgres {
        let lease = Duration::from_secs(30);
        let request = ClaimRequest {
            destination: &FEE_SERVER,
            worker: "w",
            limit: 100,
            lease,
            lanes: &[],
            turn: Turn::default(),
        };
        all.push(built("claim at once", statements::claim_at_once(outbox.db.clock(), &request, Uuid::nil()), asked));
    }
    let lately = statements::delivered_lately(backend, FEE_SERVER.as_str(), hour_ago, now);
    all.push(hot("delivered lately", &lately, SETTLED_SEEN));
    // All were settled within this time: no more of them are read than is said.
    let lately = statements::delivered_lately(backend, "kafka", oldest - Duration::from_hours(1), now);
    all.push(hot("delivered in a long time", &lately, SETTLED_SEEN));
    let prunable = statements::prunable(backend, now, LIMIT).into_iter();
    all.extend(prunable.map(|question| built("retention", question.build(backend), asked)));
    let settled = inspection::statements::numbers_of_settled(backend, hour_ago, LIMIT);
    all.extend(settled.iter().map(|question| hot("settled", question, asked)));
    for status in [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead] {
        all.push(hot("unsettled", &inspection::statements::number_of_unsettled(&FEE_SERVER, status, LIMIT), asked));
    }
    all
}
