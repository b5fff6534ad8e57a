//! Reads the merged layers and collects all errors.
//!
//! An invalid field yields its default, so that reading goes on and finds further errors. That value is never used:
//! [`Fields::finish`] fails if there was any error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::layers::Layers;
use super::{InForce, InvalidSetting, Origin, Redacted, SettingsError};

/// Why a value is invalid: the problem, and how to fix it.
pub(super) type Invalid = (String, String);

/// The merged layers, being read.
pub(super) struct Fields {
    defaults: BTreeMap<String, Value>,
    values: BTreeMap<String, InForce>,
    unread: BTreeSet<String>,
    invalid: Vec<InvalidSetting>,
    dir: PathBuf,
}

impl Fields {
    pub(super) fn new(layers: Layers, dir: &Path) -> Self {
        Self {
            unread: layers.defaults.keys().cloned().collect(),
            defaults: layers.defaults,
            values: layers.values,
            invalid: layers.invalid,
            dir: dir.to_owned(),
        }
    }

    /// The settings with secrets masked, or all errors.
    pub(super) fn finish(self) -> Result<Redacted, SettingsError> {
        debug_assert!(self.unread.is_empty(), "documented, but never read: {:?}", self.unread);
        if self.invalid.is_empty() {
            Ok(Redacted { values: self.values })
        } else {
            Err(SettingsError { invalid: self.invalid })
        }
    }

    /// Reads `key` with `parse`. The readers in `typed` all use it.
    ///
    /// # Panics
    ///
    /// If `key` is not in `config/default.toml` or its default is invalid, which is a bug.
    pub(super) fn read<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Result<T, Invalid>) -> T {
        self.unread.remove(key);
        let setting = self.values.get(key).expect("every key has a default");
        match parse(&setting.value) {
            Ok(value) => value,
            Err((problem, advice)) => {
                self.refuse(key, problem, advice);
                let default = self.defaults.get(key).map(parse);
                default.and_then(Result::ok).expect("the embedded defaults are valid")
            }
        }
    }

    /// Records that the value of `key` is invalid.
    pub(super) fn refuse(&mut self, key: &str, problem: impl Into<String>, advice: impl Into<String>) {
        self.invalid.push(InvalidSetting {
            key: key.to_owned(),
            origin: self.origin(key),
            problem: problem.into(),
            advice: advice.into(),
        });
    }

    /// Whether none of `keys` has an error. Only then are their values comparable.
    pub(super) fn are_valid(&self, keys: &[&str]) -> bool {
        !self.invalid.iter().any(|setting| keys.contains(&setting.key.as_str()))
    }

    pub(super) fn is_default(&self, key: &str) -> bool {
        self.origin(key).is_default()
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Replaces the default of `key` by `value`, because key `to` was set, and returns it.
    pub(super) fn adapt_default(&mut self, key: &str, value: Duration, to: &'static str) -> Duration {
        let shown = humantime::format_duration(value).to_string();
        self.show(key, shown, Origin::AdaptedTo(to));
        value
    }

    /// Makes `feebox config` show `value` for `key`: a mask, or an adapted default.
    pub(super) fn show(&mut self, key: &str, value: impl Into<Value>, origin: Origin) {
        let value = value.into();
        self.values.insert(key.to_owned(), InForce { value, origin });
    }

    /// Resolves `path` against the working directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}
