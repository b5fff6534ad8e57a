//! What commands print, to readers of every kind.

use std::process::{Command, Stdio};

#[test]
fn a_closed_pipe_is_no_failure() {
    for command in [&["openapi"][..], &["config"], &["completions", "bash"]] {
        let mut feebox = Command::new(env!("CARGO_BIN_EXE_feebox"));
        let child = feebox.args(command).env_remove("FEEBOX_ENV").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        // As `head` does after its last line.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
    }
}
