//! Keeps references in the docs true: links lead to files, and named tests exist.

use std::fs;
use std::path::{Path, PathBuf};

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

/// Whether `room::file` or `room::file::test` exists below `tests/service`; nothing if it names a function or module of `src`,
/// or is shortened by `…`.
fn exists(reference: &str) -> Option<bool> {
    let mut parts = reference.split("::");
    let (room, file, test) = (parts.next()?, parts.next()?, parts.next());
    let tests = root().join("tests/service").join(room);
    let path = tests.join(format!("{file}.rs"));
    if !tests.is_dir() || reference.contains('…') || (!path.exists() && is_code(&root().join("src").join(room), file))
    {
        return None;
    }
    let source = fs::read_to_string(path).unwrap_or_default();
    Some(test.map_or(!source.is_empty(), |test| source.contains(test)))
}

/// Whether the module at `place` has a function or a module `name`.
fn is_code(place: &Path, name: &str) -> bool {
    let files = fs::read_dir(place).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.chain([place.with_extension("rs")]).any(|file| {
        let text = fs::read_to_string(&file).unwrap_or_default();
        (file.is_dir() && is_code(&file, name))
            || text.contains(&format!("fn {name}"))
            || text.contains(&format!("mod {name};"))
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![];
    for folder in ["", "docs", "docs/adr", "docs/ko"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}
