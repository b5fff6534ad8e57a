//! Errors in the settings.

use std::fmt;

use super::Origin;

/// One error, described so that it can be fixed without reading the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    /// The dotted key, or the name of the variable or file that is invalid as a whole.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong. Contains no secret.
    pub problem: String,
    /// How to fix it.
    pub advice: String,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, problem, advice } = self;
        write!(f, "{key} ({origin}): {problem}; {advice}")
    }
}

/// All errors in the settings, printed one per line. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The errors, in the order in which they were found.
    pub invalid: Vec<InvalidSetting>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.invalid.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for SettingsError {}
