//! Keeps the Korean README in step with the English one.

use std::fs;
use std::path::Path;

/// What both languages share: the levels of the headings, and all code blocks with their contents, in their order.
#[derive(Debug, PartialEq)]
enum Part {
    Heading(usize),
    Code(String),
}

#[test]
fn both_readmes_have_the_same_headings_and_commands() {
    assert_eq!(parts("README.md"), parts("README.ko.md"));
}

#[test]
fn both_readmes_link_to_the_same_files() {
    let own_name = |link: &String| !link.starts_with("README");
    let links = |name| links(&read(name)).into_iter().filter(own_name).collect::<Vec<_>>();
    assert_eq!(links("README.md"), links("README.ko.md"));
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn parts(name: &str) -> Vec<Part> {
    let text = read(name);
    let mut parts = vec![];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let level = line.chars().take_while(|c| *c == '#').count();
        if let Some(language) = line.strip_prefix("```") {
            let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            parts.push(Part::Code(format!("{language}\n{}", code.join("\n"))));
        } else if level > 0 {
            parts.push(Part::Heading(level));
        }
    }
    assert!(parts.len() > 10, "{name} has hardly any parts: {parts:?}");
    parts
}

/// The targets of inline links, sorted: the languages put them in different orders.
fn links(text: &str) -> Vec<String> {
    let mut links: Vec<_> =
        text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect();
    links.sort();
    links
}
