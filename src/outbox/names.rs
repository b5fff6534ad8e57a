//! The names that events carry: where one goes, and what it is about.
//!
//! The outbox knows none by heart. Who embeds it chooses its own, as constants that are checked when they are compiled, or
//! as text that is checked when it is read.

use std::{borrow::Cow, fmt, ops::Deref};

/// The name of a destination, for example `fee-server`: 1 to 64 ASCII letters, digits, `.`, `_`, `-` and `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationName(Cow<'static, str>);

/// What an event is about, for example `quote.submitted`: 1 to 64 ASCII letters, digits, `.`, `_`, `-` and `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Cow<'static, str>);

/// The kind of thing that an event is about, for example `quote`: 1 to 32 ASCII letters, digits, `.`, `_`, `-` and `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregateType(Cow<'static, str>);

/// Text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {length_max} ASCII letters, digits, '.', '_', '-' and '/'")]
pub struct InvalidName {
    length_max: usize,
}

const fn is_valid(name: &str, length_max: usize) -> bool {
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        if !(bytes[index].is_ascii_alphanumeric() || matches!(bytes[index], b'.' | b'_' | b'-' | b'/')) {
            return false;
        }
        index += 1;
    }
    !bytes.is_empty() && bytes.len() <= length_max
}

/// `$length_max` is what its column holds, in bytes.
macro_rules! name {
    ($name:ident, $length_max:literal) => {
        impl $name {
            /// A name that is known when this is compiled.
            ///
            /// # Panics
            /// If it is invalid; in a constant that is an error of the compiler.
            #[must_use]
            pub const fn from_static(name: &'static str) -> Self {
                assert!(is_valid(name, $length_max), "invalid name");
                Self(Cow::Borrowed(name))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                if is_valid(&name, $length_max) {
                    Ok(Self(Cow::Owned(name)))
                } else {
                    Err(InvalidName { length_max: $length_max })
                }
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into_owned()
            }
        }

        // A label of a metric, without a copy if the name is static.
        impl From<$name> for metrics::SharedString {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, name: &$name) -> bool {
                *self == name.0
            }
        }
    };
}

name!(DestinationName, 64);
name!(EventType, 64);
name!(AggregateType, 32);

impl DestinationName {
    /// One that is read back from the table: it was checked before it was stored.
    pub(super) const fn from_table(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

impl EventType {
    /// One that is read back from the table: it was checked before it was stored.
    pub(super) const fn from_table(name: String) -> Self {
        Self(Cow::Owned(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIC: EventType = EventType::from_static("quote.submitted");

    #[test]
    fn a_name_is_static_or_owned() {
        assert_eq!(EventType::try_from("quote.submitted".to_owned()), Ok(STATIC));
        assert!(DestinationName::try_from("kafka/feebox.quotes".to_owned()).is_ok());
        assert!(DestinationName::try_from("n".repeat(64)).is_ok());
    }

    #[test]
    fn a_name_that_no_column_takes_or_no_log_line_shows_is_refused() {
        for name in ["", "two words", "naïve", "line\n", &"n".repeat(65)] {
            assert_eq!(DestinationName::try_from(name.to_owned()), Err(InvalidName { length_max: 64 }), "{name:?}");
        }
        assert!(AggregateType::try_from("n".repeat(33)).is_err());
    }
}
