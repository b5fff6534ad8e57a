//! The merged layers while they are being read, and what was found wrong with them.
//!
//! A field that is at fault yields its default, so that reading goes on and finds the other faults too. Such a
//! value never gets out: [`Fields::finish`] fails if there was any fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::layers::Layers;
use super::{Fault, InForce, Origin, Redacted, SettingsFaults};

/// Why a value is unfit: what is wrong with it, and how to mend it.
pub(super) type Unfit = (String, String);

/// The merged layers, being read.
pub(super) struct Fields {
    defaults: BTreeMap<String, Value>,
    values: BTreeMap<String, InForce>,
    unread: BTreeSet<String>,
    faults: Vec<Fault>,
    dir: PathBuf,
}

impl Fields {
    pub(super) fn new(layers: Layers, dir: &Path) -> Self {
        Self {
            unread: layers.defaults.keys().cloned().collect(),
            defaults: layers.defaults,
            values: layers.values,
            faults: layers.faults,
            dir: dir.to_owned(),
        }
    }

    /// The settings as they may be shown, or all the faults.
    pub(super) fn finish(self) -> Result<Redacted, SettingsFaults> {
        debug_assert!(self.unread.is_empty(), "documented, but read by nobody: {:?}", self.unread);
        if self.faults.is_empty() {
            Ok(Redacted { values: self.values })
        } else {
            Err(SettingsFaults { faults: self.faults })
        }
    }

    /// Reads `key` by `parse`; the readers of `typed` all come down to this one.
    ///
    /// # Panics
    ///
    /// If `key` is not in `config/default.toml`, or its default is unfit: a mistake in this crate.
    pub(super) fn read<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Result<T, Unfit>) -> T {
        self.unread.remove(key);
        let setting = self.values.get(key).expect("every key that is read has a default");
        match parse(&setting.value) {
            Ok(value) => value,
            Err((wrong, mend)) => {
                self.refuse(key, wrong, mend);
                let default = self.defaults.get(key).map(parse);
                default.and_then(Result::ok).expect("an embedded default is fit")
            }
        }
    }

    /// Records that the value of `key` is unfit.
    pub(super) fn refuse(&mut self, key: &str, wrong: impl Into<String>, mend: impl Into<String>) {
        self.faults.push(Fault {
            key: key.to_owned(),
            origin: self.origin(key),
            wrong: wrong.into(),
            mend: mend.into(),
        });
    }

    /// Whether none of `keys` is at fault: only then does comparing their values tell anything.
    pub(super) fn are_fit(&self, keys: &[&str]) -> bool {
        !self.faults.iter().any(|fault| keys.contains(&fault.key.as_str()))
    }

    pub(super) fn is_default(&self, key: &str) -> bool {
        self.origin(key).is_default()
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Replaces the default of `key` by `value`, to fit the key `to` that somebody has set, and returns it.
    pub(super) fn make_fit(&mut self, key: &str, value: Duration, to: &'static str) -> Duration {
        let shown = humantime::format_duration(value).to_string();
        self.show(key, shown, Origin::MadeToFit(to));
        value
    }

    /// Makes `feebox config` show `value` for `key` from now on: a mask, or what a default became.
    pub(super) fn show(&mut self, key: &str, value: impl Into<Value>, origin: Origin) {
        let value = value.into();
        self.values.insert(key.to_owned(), InForce { value, origin });
    }

    /// `path`, seen from the working directory.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }
}
