//! Both languages say everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_message_is_in_both_languages_with_the_same_values() {
    let (english, korean) = (messages("en"), messages("ko"));
    assert!(english.len() > 200, "the messages were not found");
    let keys = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<BTreeSet<_>>();
    let missing: Vec<_> = keys(&english).symmetric_difference(&keys(&korean)).cloned().collect();
    assert!(missing.is_empty(), "in one language only: {missing:?}");
    for (key, text) in &english {
        // A form for one thing may leave its number out; Korean has one form.
        assert_eq!(placeholders(text), placeholders(&korean[key]), "{key}");
        assert!(!korean[key].contains('|'), "{key}");
    }
}

#[test]
fn each_message_that_is_used_exists_and_each_that_exists_is_used() {
    let english = messages("en");
    let (mut used, mut prefixes) = (BTreeSet::new(), BTreeSet::new());
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        used.extend(literals(&text).filter(|it| is_key(it, &english)));
        // Templates may be nested, so any piece between backticks may be one.
        let of_scripts = text.split('`').filter_map(|it| it.split_once("${").map(|(prefix, _)| prefix.to_owned()));
        let of_code = literals(&text).filter_map(|it| it.split_once('{').map(|(prefix, _)| prefix.to_owned()));
        let dynamic = of_scripts.chain(of_code.collect::<Vec<_>>());
        prefixes.extend(dynamic.filter(|prefix| prefix.ends_with('.') && !prefix.contains([' ', '/'])));
        // What is surely a key, because it is what t() is called with.
        for called in text.split("t(\"").skip(1) {
            let key = called.split('"').next().unwrap();
            assert!(!key.contains('.') || english.contains_key(key), "{}: {key}", file.display());
        }
    }
    let missing: Vec<_> = used.iter().filter(|key| !english.contains_key(*key)).collect();
    assert!(missing.is_empty(), "used, but in no language: {missing:?}");
    for prefix in &prefixes {
        let is_known = english.keys().any(|key| key.starts_with(prefix.as_str()));
        assert!(is_known, "no message begins with {prefix}");
    }
    // `view.badge()` begins with what it is called with.
    let kinds = ["status.", "quote_status.", "outcome."];
    let is_used = |key: &str| {
        used.contains(key) || prefixes.iter().map(String::as_str).chain(kinds).any(|prefix| key.starts_with(prefix))
    };
    let unused: Vec<_> = english.keys().filter(|key| !is_used(key)).collect();
    assert!(unused.is_empty(), "never used: {unused:?}");
}

#[test]
fn each_violation_is_told_in_both_languages() {
    let (english, korean) = (messages("en"), messages("ko"));
    for check in feebox::audit::check_names() {
        let key = format!("promises.check.{check}");
        assert!(english.contains_key(&key) && korean.contains_key(&key), "{key}");
        assert!(korean[&key].chars().any(|c| ('가'..='힣').contains(&c)), "{key} is not Korean");
    }
}

/// Whether it looks like a key: words and dots, the first of which begins a message.
fn is_key(text: &str, messages: &BTreeMap<String, String>) -> bool {
    let Some((first, rest)) = text.split_once('.') else { return false };
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
    is_word(first) && is_word(rest) && messages.keys().any(|key| key.split('.').next() == Some(first)) && !is_type(text)
}

/// A type of event, which the API writes in the same way.
fn is_type(text: &str) -> bool {
    ["quote.submitted", "quote.cancelled", "quote.rejected", "fee.created"].contains(&text)
}

fn literals(text: &str) -> impl Iterator<Item = String> {
    text.lines().flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
}

fn placeholders(text: &str) -> BTreeSet<String> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

fn messages(language: &str) -> BTreeMap<String, String> {
    toml::from_str(&fs::read_to_string(root().join(format!("language/{language}.toml"))).unwrap()).unwrap()
}

/// What says something: the pages, and the scripts.
fn sources() -> Vec<PathBuf> {
    let folders = [root(), root().join("pages")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    // `files.rs` names files, which look like messages.
    let says =
        |path: &PathBuf| path.extension().is_some_and(|it| it == "js" || it == "rs") && !path.ends_with("files.rs");
    files.filter(says).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/dashboard")
}
