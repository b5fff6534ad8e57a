//! Merges the sources, key by key, and records where each value came from.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use toml::{Table, Value};

use super::{InForce, InvalidSetting, Origin, Sources};

/// The embedded defaults. They are also the schema: other keys are unknown.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "FEEBOX__";

/// The merged layers, not yet typed or validated.
pub(super) struct Layers {
    pub(super) defaults: BTreeMap<String, Value>,
    pub(super) values: BTreeMap<String, InForce>,
    pub(super) invalid: Vec<InvalidSetting>,
}

/// Merges the embedded defaults and the `sources`, the lowest layer first.
pub(super) fn merge(sources: &Sources) -> Layers {
    let mut layers = Layers::of_defaults();
    layers.add_file(sources);
    layers.add_environment(&sources.env);
    for (key, text) in &sources.overrides {
        layers.set_text(key, text, Origin::CommandLine);
    }
    layers
}

impl Layers {
    fn of_defaults() -> Self {
        let table: Table = DEFAULTS.parse().expect("the embedded defaults are TOML");
        let defaults: BTreeMap<_, _> = flatten("", table).into_iter().collect();
        let in_force = |value: &Value| InForce { value: value.clone(), origin: Origin::Default };
        Self {
            values: defaults.iter().map(|(key, value)| (key.clone(), in_force(value))).collect(),
            defaults,
            invalid: Vec::new(),
        }
    }

    fn add_file(&mut self, sources: &Sources) {
        let Some(name) = sources.env.get("FEEBOX_ENV").filter(|it| !it.is_empty()) else {
            return;
        };
        let path = Path::new("config").join(format!("{name}.toml"));
        match read_table(&sources.dir.join(&path)) {
            Ok(table) => {
                for (key, value) in flatten("", table) {
                    self.set(&key, value, Origin::File(path.clone()));
                }
            }
            Err(problem) => self.invalid.push(InvalidSetting {
                key: "FEEBOX_ENV".to_owned(),
                origin: Origin::File(path),
                problem,
                advice: "fix the file, set FEEBOX_ENV to the name of another, or unset it".to_owned(),
            }),
        }
    }

    fn add_environment(&mut self, env: &BTreeMap<String, String>) {
        // Hosting platforms set DATABASE_URL. Feebox's own variable is more specific and overrides it.
        if let Some(url) = env.get("DATABASE_URL").filter(|it| !it.is_empty()) {
            self.set_text("database.url", url, Origin::Variable("DATABASE_URL".to_owned()));
        }
        for (name, text) in env {
            if let Some(path) = name.strip_prefix(PREFIX) {
                let key = path.to_lowercase().replace("__", ".");
                self.set_text(&key, text, Origin::Variable(name.clone()));
            }
        }
    }

    /// Sets a value given as plain text. The type of its default decides whether the text is the value or TOML.
    fn set_text(&mut self, key: &str, text: &str, origin: Origin) {
        let value = match self.defaults.get(key) {
            None | Some(Value::String(_)) => Value::String(text.to_owned()),
            // Invalid TOML stays text, which is refused when the field is read.
            Some(_) => text.trim().parse().unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        self.set(key, value, origin);
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        if let Some(entry) = self.values.get_mut(key) {
            *entry = InForce { value, origin };
            return;
        }
        let section = format!("{key}.");
        let is_empty = value.as_table().is_some_and(Table::is_empty);
        if is_empty && self.defaults.keys().any(|known| known.starts_with(&section)) {
            return;
        }
        self.invalid.push(InvalidSetting {
            key: key.to_owned(),
            origin,
            problem: "is not a known key".to_owned(),
            advice: match self.nearest(key) {
                Some(known) => format!("did you mean {known}?"),
                None => "remove it; config/default.toml lists all keys".to_owned(),
            },
        });
    }

    /// The known key within a few typing mistakes, or one with the same name in another section.
    fn nearest(&self, key: &str) -> Option<&str> {
        let name = |dotted: &str| dotted.rsplit('.').next().map(str::to_owned);
        let near = self.defaults.keys().map(|known| (strsim::levenshtein(key, known), known));
        let (distance, known) = near.min()?;
        if distance <= 3 {
            return Some(known);
        }
        self.defaults.keys().map(String::as_str).find(|known| name(known) == name(key))
    }
}

/// Reads a settings file. The error names the line but does not quote it, as it may hold a secret.
fn read_table(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => "the file does not exist".to_owned(),
        _ => format!("cannot be read: {err}"),
    })?;
    text.parse().map_err(|err: toml::de::Error| {
        let before = err.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("line {line} is not TOML: {}", err.message())
    })
}

/// Turns nested tables into dotted keys. Empty tables are kept, so that an unknown empty section is refused too.
fn flatten(prefix: &str, table: Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => flat.extend(flatten(&key, inner)),
            value => flat.push((key, value)),
        }
    }
    flat
}
