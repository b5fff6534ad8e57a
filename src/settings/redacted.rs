//! The effective settings with secrets masked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use toml::Value;

use super::Origin;

/// Settings by dotted key, with secrets masked. Its `Display` is TOML with the source of each value.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Redacted {
    /// All keys, in alphabetical order.
    pub values: BTreeMap<String, InForce>,
}

/// An effective setting.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// The value; `***` in place of a secret.
    pub value: Value,
    /// Where the value came from.
    #[serde(serialize_with = "in_words")]
    pub origin: Origin,
}

fn in_words<S: Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(origin)
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section_before = "";
        for (dotted, InForce { value, origin }) in &self.values {
            let (section, key) = dotted.split_once('.').unwrap_or(("", dotted));
            if section != section_before {
                let gap = if section_before.is_empty() { "" } else { "\n" };
                writeln!(f, "{gap}[{section}]")?;
                section_before = section;
            }
            writeln!(f, "{key} = {value} # {origin}")?;
        }
        Ok(())
    }
}
