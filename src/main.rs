//! The `feebox` command.

fn main() {}
