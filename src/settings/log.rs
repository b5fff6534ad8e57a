//! `log.*`: what is logged, and in which format.

use tracing_subscriber::EnvFilter;

use super::fields::Fields;
use super::typed::as_text;

/// What is logged, and in which format.
#[derive(Clone, Debug)]
pub struct Log {
    /// Valid directives such as `info,feebox::worker=debug`.
    pub filter: String,
    /// The format of a line.
    pub format: LogFormat,
    /// One line for each HTTP request.
    pub access: bool,
}

/// The format of a log line.
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
                    let advice = "write a level or directives, such as \"info,feebox::worker=debug\"";
                    (format!("{value} is not a filter: {err}"), advice.to_owned())
                })
            }),
            format: fields.choice("log.format", &formats),
            access: fields.flag("log.access"),
        }
    }
}
