//! What is wrong with the settings.

use std::fmt;

use super::Origin;

/// One thing that is wrong, told so that it can be mended without reading the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The dotted key, or the name of the variable or file that is wrong as a whole.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong with it. Never contains a secret.
    pub wrong: String,
    /// How to mend it.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, wrong, mend } = self;
        write!(f, "{key} ({origin}): {wrong}; {mend}")
    }
}

/// Everything that is wrong with the settings, one fault a line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFaults {
    /// The faults, in the order in which they were found.
    pub faults: Vec<Fault>,
}

impl fmt::Display for SettingsFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsFaults {}
