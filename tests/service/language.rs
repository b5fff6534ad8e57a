//! Keeps the language plain: phrases that puzzled readers do not come back.

use std::fs;
use std::path::Path;

/// Whole words and phrases, in lower case. `docs/glossary.md` says what to write instead.
const AVOIDED: &[&str] = &[
    "whoever",
    "lest",
    "mend",
    "mends",
    "mended",
    "pend",
    "pends",
    "is told of",
    "is away",
    "are away",
    "what the database answers",
    "it does not stand",
    "unfit",
    "wakes nobody",
    "a wait that outlives",
    "for ever and a day",
    "nobody has",
    "tell of",
    "tells of",
    "told of",
    "told apart",
    "does not stand so",
    "stands so that",
    "stands twice",
    "no json or",
    "is no json",
    "costs probes not attempts",
    "what it came to",
    "an attempt came to",
    "whatever it came to",
    "comes back to life",
    "come back to life",
    "hears of",
    "of the settings none",
    "mending",
];

/// Files and folders that are checked.
const CHECKED: &[&str] =
    &["README.md", "README.ko.md", "CHANGELOG.md", "CONTRIBUTING.md", "config", "docs", "src", "benches", "examples"];

#[test]
fn avoided_phrases_do_not_come_back() {
    let mut found = vec![];
    for place in CHECKED {
        check(Path::new(place), &mut found);
    }
    assert!(found.is_empty(), "write it in plain words:\n{}", found.join("\n"));
}

#[test]
fn phrases_are_found_as_whole_words_also_across_a_line_break() {
    assert!(contains(&words("the server is\n/// away for now"), "is away"));
    assert!(contains(&words("it serves whoever calls"), "whoever"));
    assert!(!contains(&words("it depends on the appended file"), "pend"));
}

fn check(place: &Path, found: &mut Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    if path.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            check(&place.join(entry.unwrap().file_name()), found);
        }
        return;
    }
    let is_prose = path.extension().is_some_and(|extension| ["md", "rs", "toml"].iter().any(|kind| extension == *kind));
    if !is_prose || place.ends_with("glossary.md") {
        return;
    }
    let text = fs::read_to_string(&path).unwrap().to_lowercase();
    let words = words(&text);
    let phrases = AVOIDED.iter().filter(|phrase| contains(&words, phrase));
    found.extend(phrases.map(|phrase| format!("{}: {phrase}", place.display())));
}

/// Whether `words` contain `phrase` in a row.
fn contains(words: &[&str], phrase: &str) -> bool {
    let phrase: Vec<_> = phrase.split(' ').collect();
    words.windows(phrase.len()).any(|window| window == phrase)
}

/// The words of `text`; comment marks and line breaks count as blanks.
fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}
