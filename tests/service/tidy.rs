//! Guards what the compiler does not: the layers, the sizes, and where a risky dependency may be used.

use std::fs;
use std::path::Path;

const LINES_MAX: usize = 350;

/// What code under the first path never mentions.
const LAYERS: &[(&str, &[&str])] = &[
    ("src/submission", &["crate::worker", "crate::destination"]),
    ("src/outbox", &["crate::quotes", "crate::submission", "crate::worker", "crate::destination"]),
    (
        "src/outbox",
        &[
            "crate::settings",
            "crate::inspection",
            "crate::operator",
            "crate::http",
            "entity::quote",
            "entity::fee_record",
        ],
    ),
    ("src/quotes", &["crate::submission", "crate::worker", "crate::destination", "crate::operator", "crate::http"]),
    ("src/worker", &["crate::submission", "crate::http", "crate::quotes", "crate::settings", "crate::fleet"]),
    ("src/http", &["entity::", "SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM"]),
    ("src/database", &["crate::outbox", "crate::settings", "crate::quotes"]),
    ("src/embed", &["crate::quotes", "crate::submission", "crate::settings"]),
    ("migration", &["entity::"]),
];

/// A crate, and where alone its name may stand.
const CONFINED: &[(&str, &[&str])] = &[
    ("backoff", &["src/outbox/retry.rs"]),
    ("rdkafka", &["src/destination/kafka"]),
    (
        "reqwest",
        &[
            "src/destination/fee_server/",
            "src/lab/sample_fee_server/tests/",
            "src/lab/bench/",
            "src/lab/compare/",
            "src/lab/torture/",
            "src/lab/testbed/",
            "src/cli/",
            "src/telemetry/spans/",
        ],
    ),
    ("opentelemetry", &["src/telemetry/spans/"]),
    ("tokio_cron_scheduler", &["src/schedule.rs"]),
];

/// What is finished before it is merged.
const UNFINISHED: &[&str] = &["todo!", "dbg!", "#[ignore", "unimplemented!"];

/// What an entity may implement with functions in it.
const ENTITY_IMPLS: &[&str] = &["ActiveModelBehavior", "Related<", "RelationTrait", "Linked"];

#[test]
fn layers_know_only_what_is_below_them() {
    find("a layer knows too much", |source| {
        let forbidden = LAYERS.iter().filter(|(layer, _)| source.is_under(layer));
        let forbidden: Vec<&str> = forbidden.flat_map(|(_, names)| *names).copied().collect();
        let mut faults = source.lines_where(|code| forbidden.iter().any(|name| mentions(code, name)));
        let imported = source.imported().into_iter().filter(|path| forbidden.contains(&path.as_str()));
        faults.extend(imported.map(|path| format!("{}: {path}", source.path)));
        faults
    });
}

#[test]
fn only_its_transitions_change_a_quotes_status() {
    find("a quote's status changes outside of src/quotes", |source| {
        if !source.is_under("src") || source.is_under("src/quotes") {
            return vec![];
        }
        source.lines_where(|code| code.contains("quotes::statements"))
    });
}

#[test]
fn risky_crates_stay_in_their_files() {
    find("a confined crate got out", |source| {
        if !source.is_under("src") {
            return vec![];
        }
        let elsewhere = CONFINED.iter().filter(|(_, files)| !files.iter().any(|file| source.path.starts_with(file)));
        let paths: Vec<String> = elsewhere.map(|(name, _)| format!("{name}::")).collect();
        source.lines_where(|code| paths.iter().any(|path| mentions(code, path)))
    });
}

#[test]
fn files_are_short() {
    find("a file holds more than one noun", |source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", source.path)).into_iter().collect()
    });
}

#[test]
fn entities_hold_no_behaviour() {
    find("an entity behaves", |source| {
        let mut allowed = false;
        source.lines_where(|code| {
            if code.starts_with("impl") {
                allowed = ENTITY_IMPLS.iter().any(|name| code.contains(name));
            }
            source.is_under("entity") && mentions(code, "fn ") && !allowed
        })
    });
}

#[test]
fn nothing_is_unfinished() {
    find("something is unfinished", |source| {
        if source.path.ends_with("tests/service/tidy.rs") {
            return vec![];
        }
        source.lines_where(|code| UNFINISHED.iter().any(|mark| mentions(code, mark)))
    });
}

struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
}

impl Source {
    /// Whether it is the module or folder `place`: `src/worker` is `src/worker.rs` and all under `src/worker/`.
    fn is_under(&self, place: &str) -> bool {
        let rest = self.path.strip_prefix(place);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    /// What its groups of imports name: `use crate::{clock::after, database}` names `crate::clock` and `crate::database`.
    fn imported(&self) -> Vec<String> {
        let mut imported = vec![];
        for root in ["crate", "entity"] {
            for group in self.text.split(&format!("use {root}::{{")).skip(1) {
                let group = group.split(';').next().unwrap_or_default();
                let mut depth = 0;
                let mut first_of_path = true;
                let mut name = String::new();
                for c in group.chars() {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if first_of_path && (c.is_alphanumeric() || c == '_') {
                        name.push(c);
                    } else if !name.is_empty() {
                        imported.push(format!("{root}::{name}"));
                        name.clear();
                        first_of_path = false;
                    }
                    first_of_path |= c == ',' && depth == 0;
                }
            }
        }
        imported
    }

    /// The lines whose code, without its comment, is at fault.
    fn lines_where(&self, mut at_fault: impl FnMut(&str) -> bool) -> Vec<String> {
        let lines = self.text.lines().enumerate();
        let code = lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()));
        let faults = code.filter(|(_, code)| at_fault(code));
        faults.map(|(number, code)| format!("{}:{number}: {}", self.path, code.trim())).collect()
    }
}

/// Whether `name` stands in `code` as a word of its own, and not as part of a longer path.
fn mentions(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(index, _)| {
        let before = code[..index].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

/// Fails with all faults that `check` names in the tree.
fn find(rule: &str, mut check: impl FnMut(&Source) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = vec![];
    for folder in ["src", "entity", "migration", "tests", "benches", "examples"] {
        collect(root, &root.join(folder), &mut sources);
    }
    assert!(sources.len() > 5, "the tree was not found");
    let faults: Vec<String> = sources.iter().flat_map(&mut check).collect();
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root).unwrap().display().to_string();
            sources.push(Source { path, text });
        }
    }
}
