//! What `deploy/` ships: alerts, a dashboard, units, manifests and proxies, checked by the programs that will read them.

mod files;
mod proxy;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below `deploy/`.
fn shipped() -> Vec<PathBuf> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else {
                files.push(path);
            }
        }
    }
    let mut files = vec![];
    collect(&root().join("deploy"), &mut files);
    assert!(files.len() > 10, "{files:?}");
    files
}

/// Runs a program in the root of the tree; it must succeed. Returns what it wrote.
fn succeed(program: &str, args: &[&str]) -> String {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    let done = Command::new(program).args(args).current_dir(root()).env("PATH", path).output();
    let done = done.unwrap_or_else(|error| panic!("{program} is not installed: run tests/servers/install ({error})"));
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {said}");
    said
}
