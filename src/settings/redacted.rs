//! The settings in force, fit to be shown to anybody.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use toml::Value;

use super::Origin;

/// Settings by dotted key, with every secret masked. Its `Display` is TOML that says where each value came from.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Redacted {
    /// Every key there is, in alphabetical order.
    pub values: BTreeMap<String, InForce>,
}

/// One setting in force.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// Its value; `***` takes the place of a secret.
    pub value: Value,
    /// Where it came from.
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
