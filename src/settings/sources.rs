//! Sources of settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The sources outside the binary.
#[derive(Clone, Default)]
pub struct Sources {
    /// Environment variables by name. Only `FEEBOX_ENV`, `FEEBOX__…` and `DATABASE_URL` are read.
    pub env: BTreeMap<String, String>,
    /// The working directory, which holds `config/` and resolves relative paths.
    pub dir: PathBuf,
    /// The (dotted key, value) pairs of the command line; the last one of a key is used.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The process environment, the working directory and the command line's `overrides`.
    #[must_use]
    pub fn from_environment(overrides: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            // `env::vars` would panic on any variable that is not Unicode.
            env: std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .collect(),
            dir: PathBuf::new(),
            overrides: overrides.into_iter().collect(),
        }
    }

    /// Only the embedded defaults and `overrides`, for tests.
    pub fn overrides<K: Into<String>, V: Into<String>>(overrides: impl IntoIterator<Item = (K, V)>) -> Self {
        Self {
            overrides: overrides.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            ..Self::default()
        }
    }
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `config/default.toml`.
    Default,
    /// A default that was adapted to the named key, which was set.
    AdaptedTo(&'static str),
    /// A settings file, or the file that a `*_file` key names.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// The command line.
    CommandLine,
}

impl Origin {
    /// Whether the value was not set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default | Self::AdaptedTo(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::AdaptedTo(key) => write!(f, "default, adapted to {key}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
