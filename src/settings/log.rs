//! `log.*`: what is logged, and in which form.

use tracing_subscriber::EnvFilter;

use super::fields::Fields;
use super::typed::as_text;

/// What is logged, and in which form.
#[derive(Clone, Debug)]
pub struct Log {
    /// Directives such as `info,feebox::worker=debug`; known to parse.
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Log {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            filter: fields.read("log.filter", |value| {
                let text = as_text(value)?;
                EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|err| {
                    let mend = "write a level or directives, such as \"info,feebox::worker=debug\"";
                    (format!("{value} is not a filter: {err}"), mend.to_owned())
                })
            }),
            format: fields.choice("log.format", &formats),
        }
    }
}
