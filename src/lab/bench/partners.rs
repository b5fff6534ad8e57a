//! Partners, each with a token of its own: its name.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The most that fit into a setting on a command line.
pub(crate) const PARTNERS_MAX: u32 = 1_000;

pub(super) fn name_of(number: u32) -> String {
    format!("partner-{number}")
}

/// The setting that lets those of these names submit.
pub(super) fn tokens(names: impl Iterator<Item = String>) -> String {
    let mut tokens = String::new();
    for name in names {
        let sha256 = HEXLOWER.encode(&Sha256::digest(&name));
        // Writing to a text does not fail.
        let _ = write!(tokens, "{{name='{name}',sha256='{sha256}',role='submitter'}},");
    }
    format!("access.tokens=[{tokens}]")
}
