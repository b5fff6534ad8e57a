//! Readers of fields, one for each type of setting.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::fields::{Fields, Invalid};
use crate::cron;

impl Fields {
    pub(super) fn text(&mut self, key: &str) -> String {
        self.read(key, |value| as_text(value).map(str::to_owned))
    }

    /// A string; `None` if it is empty.
    pub(super) fn optional_text(&mut self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A path, resolved against the working directory; `None` if it is empty.
    pub(super) fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional_text(key).map(|path| self.path(&path))
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.read(key, |value| value.as_bool().ok_or_else(|| wrong_type(value, "true or false")))
    }

    pub(super) fn count<N: TryFrom<i64>>(&mut self, key: &str, range: RangeInclusive<i64>) -> N {
        self.read(key, |value| {
            let number = value.as_integer().ok_or_else(|| wrong_type(value, "a whole number"))?;
            Some(number)
                .filter(|number| range.contains(number))
                .and_then(|number| N::try_from(number).ok())
                .ok_or_else(|| out_of_range(number, range.start(), range.end()))
        })
    }

    pub(super) fn ratio(&mut self, key: &str, range: RangeInclusive<f64>) -> f64 {
        self.read(key, |value| {
            let ratio = match value {
                Value::Float(ratio) => *ratio,
                // An integer is accepted as a ratio; one that exceeds i32 is out of every range.
                Value::Integer(ratio) => i32::try_from(*ratio).map_or(f64::INFINITY, f64::from),
                _ => return Err(wrong_type(value, "a number")),
            };
            if range.contains(&ratio) { Ok(ratio) } else { Err(out_of_range(value, range.start(), range.end())) }
        })
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, key: &str, range: [&str; 2]) -> Duration {
        self.read(key, |value| {
            let text = value.as_str().ok_or_else(|| wrong_type(value, "a duration such as \"60s\""))?;
            let duration = parse_duration(text)?;
            let [from, to] = range;
            if (parse_duration(from)?..=parse_duration(to)?).contains(&duration) {
                Ok(duration)
            } else {
                Err(out_of_range(value, from, to))
            }
        })
    }

    /// A cron expression of six fields that fires at some time, parsed as the scheduler does.
    pub(super) fn schedule(&mut self, key: &str) -> String {
        self.read(key, |value| {
            let text = as_text(value)?;
            let advice = || "write six fields: second, minute, hour, day, month, weekday".to_owned();
            cron::parse(text)
                .map(|_| text.to_owned())
                .map_err(|err| (format!("{value} is not a schedule: {err}"), advice()))
        })
    }

    pub(super) fn address(&mut self, key: &str) -> SocketAddr {
        self.read(key, |value| {
            let advice = || "write an IP address and port, such as 127.0.0.1:8080 or [::1]:8080".to_owned();
            as_text(value)?.parse().map_err(|_| (format!("{value} is not an address to listen on"), advice()))
        })
    }

    /// An address; `None` if it is empty.
    pub(super) fn optional_address(&mut self, key: &str) -> Option<SocketAddr> {
        self.read(key, |value| {
            let advice = || "write an IP address and port, such as 127.0.0.1:9090, or nothing".to_owned();
            match as_text(value)? {
                "" => Ok(None),
                text => {
                    text.parse().map(Some).map_err(|_| (format!("{value} is not an address to listen on"), advice()))
                }
            }
        })
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        self.read(key, |value| {
            let text = as_text(value)?;
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
                (format!("{value} is not an option"), format!("write one of {}", words.join(", ")))
            })
        })
    }
}

pub(super) fn as_text(value: &Value) -> Result<&str, Invalid> {
    value.as_str().ok_or_else(|| wrong_type(value, "a string"))
}

/// Reports the type that was found, and not the value, which may be a secret.
pub(super) fn wrong_type(found: &Value, wanted: &str) -> Invalid {
    let found = match found {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    };
    (format!("is {found}"), format!("write {wanted}"))
}

fn out_of_range<T: Display>(found: impl Display, from: T, to: T) -> Invalid {
    (format!("{found} is out of range"), format!("write {from} to {to}"))
}

fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    humantime::parse_duration(text).map_err(|err| {
        (
            format!("{text:?} is not a duration: {err}"),
            "write a number and a unit, such as \"500ms\", \"60s\" or \"1h 30m\"".to_owned(),
        )
    })
}
