//! Where settings come from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Everything outside the binary that settings are read from.
#[derive(Clone, Default)]
pub struct Sources {
    /// Environment variables by name. Only `FEEBOX_ENV`, `FEEBOX__…` and `DATABASE_URL` matter.
    pub env: BTreeMap<String, String>,
    /// The working directory: `config/` is looked for below it, and relative paths start from it.
    pub dir: PathBuf,
    /// The command line's (dotted key, value) pairs; the later of two for one key wins.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The process environment, the working directory and the command line's `overrides`.
    #[must_use]
    pub fn from_environment(overrides: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            // `env::vars` would panic on a variable of somebody else's that is not Unicode.
            env: std::env::vars_os()
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .collect(),
            dir: PathBuf::new(),
            overrides: overrides.into_iter().collect(),
        }
    }

    /// Nothing but the embedded defaults and `overrides`: what tests start from.
    pub fn overrides<K: Into<String>, V: Into<String>>(overrides: impl IntoIterator<Item = (K, V)>) -> Self {
        Self {
            overrides: overrides.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            ..Self::default()
        }
    }
}

/// Which layer a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `config/default.toml`.
    Default,
    /// A default that was moved to fit the named key, which somebody has set.
    MadeToFit(&'static str),
    /// A settings file, or the file that a `*_file` key names.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// The command line.
    CommandLine,
}

impl Origin {
    /// Whether nobody has set the value.
    pub(super) fn is_default(&self) -> bool {
        matches!(self, Self::Default | Self::MadeToFit(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::MadeToFit(key) => write!(f, "default, made to fit {key}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
