//! Keeps references in the docs true: links lead to files, and named tests exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Functions of `src` whose names look like references to tests.
const FUNCTIONS: &[&str] = &["database::found_status", "database::update_each", "outbox::repair_future_times"];

#[test]
fn links_in_the_docs_lead_to_files() {
    let mut broken = vec![];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or_default();
            if !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn tests_that_the_docs_name_exist() {
    let (mut named, mut missing) = (0, vec![]);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for reference in text.split('`').skip(1).step_by(2).filter(|code| code.contains("::")) {
            let Some(exists) = exists(reference) else { continue };
            named += 1;
            if !exists {
                missing.push(format!("{}: {reference}", page.display()));
            }
        }
    }
    assert!(named > 50, "only {named} tests are named");
    assert!(missing.is_empty(), "tests that do not exist:\n{}", missing.join("\n"));
}

/// Whether `room::file` or `room::file::test` exists below `tests/service`; nothing if it is no such reference. A name that is
/// shortened by `…` is not looked up.
fn exists(reference: &str) -> Option<bool> {
    let mut parts = reference.split("::");
    let (room, file, test) = (parts.next()?, parts.next()?, parts.next());
    let room = root().join("tests/service").join(room);
    if !room.is_dir() || reference.contains('…') || FUNCTIONS.contains(&reference) {
        return None;
    }
    let text = fs::read_to_string(room.join(format!("{file}.rs"))).unwrap_or_default();
    Some(test.map_or(!text.is_empty(), |test| text.contains(test)))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![];
    for folder in ["", "docs", "docs/adr"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}
