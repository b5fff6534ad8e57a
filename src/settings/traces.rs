//! `traces.*`: where spans go.

use url::Url;

use super::{
    fee_server::parse_base_url,
    fields::{Fields, Invalid},
    typed::as_text,
};

/// What a trace's id stands for in `traces.link`.
const TRACE_ID: &str = "{trace_id}";

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The collector's address for OTLP over HTTP, without `/v1/traces`; without one nothing is recorded.
    pub otlp_endpoint: Option<Url>,
    /// The part of the traces that begin here which is recorded, 0 to 1. Callers decide about theirs.
    pub sample_ratio: f64,
    /// Where people see a trace: a URL with `{trace_id}` in it.
    pub link: Option<String>,
}

impl Traces {
    /// Where people see the trace `trace_id`, which is hex digits.
    #[must_use]
    pub fn url_of(link: &str, trace_id: &str) -> String {
        link.replace(TRACE_ID, trace_id)
    }

    pub(super) fn read(fields: &mut Fields) -> Self {
        let traces = Self {
            otlp_endpoint: fields.read("traces.otlp_endpoint", |value| match as_text(value)? {
                "" => Ok(None),
                text => parse_base_url(text).map(Some),
            }),
            sample_ratio: fields.ratio("traces.sample_ratio", 0.0..=1.0),
            link: fields.read("traces.link", |value| link(as_text(value)?)),
        };
        traces.refuse_without_exporter(fields);
        traces
    }

    /// Without an exporter nothing would arrive, and nobody would know.
    fn refuse_without_exporter(&self, fields: &mut Fields) {
        if self.otlp_endpoint.is_some() && !cfg!(feature = "otel") {
            fields.refuse(
                "traces.otlp_endpoint",
                "is set, but this feebox was built without OpenTelemetry",
                "leave it empty, or build with `cargo build --features otel`",
            );
        }
    }
}

fn link(text: &str) -> Result<Option<String>, Invalid> {
    // A page must not run what a setting says: no `javascript:`.
    let is_address = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    match text {
        "" => Ok(None),
        _ if is_address && text.contains(TRACE_ID) => Ok(Some(text.to_owned())),
        _ => {
            let advice =
                "write an http or https URL with {trace_id} in it, such as \"https://traces.example/trace/{trace_id}\"";
            Err((format!("{text:?} is no link to a trace"), advice.to_owned()))
        }
    }
}
