//! The inner parts that need no database: how long each takes for one quote or one event. They are small beside the 0.2 ms of CPU
//! that a quote costs in `serve`, and should stay so.
//!
//! `cargo bench --bench inner`

use std::{hint::black_box, time::Duration};

use chrono::{DateTime, Utc};
use criterion::{Criterion, criterion_group, criterion_main};
use feebox::{
    cron,
    outbox::{Retry, RetryPolicy, statements::equal_shares},
    printable,
    quotes::{Line, NewQuote},
};

fn parts(criterion: &mut Criterion) {
    criterion.bench_function("a quote of three lines is parsed", |bench| {
        bench.iter(|| {
            let line = |description| Line::parse(black_box(description), 3, 95_000).expect("a line");
            let lines = ["Consulting, one day", "Travel", "Überstunden"].map(line).to_vec();
            NewQuote::parse(black_box("customer-7"), "EUR", lines).expect("a quote")
        });
    });
    let retry = RetryPolicy::new(Retry::default());
    criterion.bench_function("the pause before the fifth attempt is drawn", |bench| {
        bench.iter(|| retry.delay(black_box(5)));
    });
    let partners: Vec<_> = (0..32).map(|number| format!("partner-{number}")).collect();
    criterion.bench_function("the claim of 32 partners on SQLite is written", |bench| {
        bench.iter(|| equal_shares("e.*", "fee-server", &[], black_box(&partners), DateTime::<Utc>::UNIX_EPOCH, 0, 8));
    });
    let error = "503 the fee server is \u{1b}[31moverloaded\u{1b}[0m, please come back later";
    criterion.bench_function("an error is made printable", |bench| {
        bench.iter(|| printable::printable(black_box(error), 1_000));
    });
    let every_five_seconds = cron::parse("*/5 * * * * *").expect("an expression");
    let now = DateTime::<Utc>::UNIX_EPOCH + Duration::from_secs(1_800_000_003);
    criterion.bench_function("the last tick of a schedule is found", |bench| {
        bench.iter(|| cron::latest_tick(&every_five_seconds, black_box(now)));
    });
}

criterion_group!(benches, parts);
criterion_main!(benches);
