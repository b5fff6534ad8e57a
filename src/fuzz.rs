//! Fuzzing on a stable compiler, without instrumentation: inputs of a corpus are mutated, and an input that makes the code
//! behave as none did before is mutated further. What "behave" means each target says: the kind of its answer.
//!
//! `FEEBOX_FUZZ_SECONDS` (1) is each target's time. An input that fails is written to `tests/fuzz/TARGET/`, and so becomes part
//! of the corpus, whose inputs are always tried first.

use std::{
    collections::HashSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// The most inputs that are kept for mutation.
const KEPT_MAX: usize = 2_000;
/// The longest input, in bytes.
const LENGTH_MAX: usize = 4_096;
/// No input may take longer, on however slow a machine.
const ONE_MAX: Duration = Duration::from_secs(10);

/// What is inserted into inputs, besides random bytes and parts of other inputs.
const WORDS: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551616",
    "1e999",
    "1.5",
    "\\u0000",
    "\\ud800",
    "\0",
    "\u{1b}[31m",
    "\u{9b}",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "\r\n",
    "=",
    "*/",
    "*",
    "L",
    "W",
    "#",
    "2026-11-26T10:00:00Z",
    "9999-12-31T23:59:60Z",
    "Bearer ",
    "\u{10ffff}",
    "%",
];

/// Runs `target` on the corpus `name` and on mutations of it. `run` returns the kind of its answer, and panics where the code is
/// wrong.
pub(crate) fn fuzz(name: &str, run: impl Fn(&[u8]) -> String) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name);
    let files = fs::read_dir(&directory).expect("a corpus").map(|file| file.expect("a file").path());
    let mut kept: Vec<Vec<u8>> = files.map(|path| fs::read(path).expect("an input")).collect();
    assert!(!kept.is_empty(), "{} is empty", directory.display());
    let mut seen = HashSet::new();
    let try_one = |input: &[u8]| {
        let timed = || {
            let begun = Instant::now();
            (catch_unwind(AssertUnwindSafe(|| run(input))), begun.elapsed())
        };
        let (answer, mut took) = timed();
        // Others may have the processor meanwhile: what is slow is slow each time.
        for _ in 0..2 {
            if answer.is_ok() && took > ONE_MAX {
                took = took.min(timed().1);
            }
        }
        if answer.is_err() || took > ONE_MAX {
            let file = directory.join(format!("failed-{}", uuid::Uuid::now_v7()));
            fs::write(&file, input).expect("the input that failed");
            panic!("{name}: {} after {took:?} on {:?}", file.display(), String::from_utf8_lossy(input));
        }
        answer.unwrap_or_default()
    };
    for input in &kept {
        seen.insert(try_one(input));
    }
    let seconds = env::var("FEEBOX_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (begun, mut tried) = (Instant::now(), kept.len());
    let mut rng = StdRng::from_rng(&mut rand::rng());
    while begun.elapsed() < Duration::from_secs(seconds) {
        let input = mutated(&kept, &mut rng);
        tried += 1;
        if seen.insert(try_one(&input)) && kept.len() < KEPT_MAX {
            kept.push(input);
        }
    }
    println!("{name}: {tried} inputs, {} kinds of answers", seen.len());
}

fn mutated(kept: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = kept.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=6) {
        let at = rng.random_range(0..=input.len());
        let to = (at + rng.random_range(0..16)).min(input.len());
        match rng.random_range(0..7) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = rng.random(),
            2 => drop(input.drain(at..to)),
            3 => drop(input.splice(at..at, input[at..to].to_vec())),
            4 => drop(input.splice(at..to, WORDS.choose(rng).unwrap_or(&"").bytes())),
            5 => {
                let other = kept.choose(rng).map_or(&[][..], Vec::as_slice);
                let from = rng.random_range(0..=other.len());
                let part = other[from..(from + rng.random_range(0..64)).min(other.len())].to_vec();
                input.splice(at..to, part);
            }
            _ => {
                let mut bytes = [0; 4];
                rng.fill_bytes(&mut bytes);
                input.splice(at..at, bytes);
            }
        }
    }
    input.truncate(LENGTH_MAX);
    input
}

/// An error's text without what differs between inputs of one kind: quoted parts and numbers.
pub(crate) fn kind_of(text: &str) -> String {
    let mut kind: String = text.split('"').step_by(2).collect();
    kind.retain(|char| !char.is_ascii_digit());
    kind.truncate(kind.char_indices().nth(200).map_or(kind.len(), |(at, _)| at));
    kind
}
