//! `traces.*`: where spans go.

use url::Url;

use super::{fee_server::parse_base_url, fields::Fields, typed::as_text};

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The collector's address for OTLP over HTTP, without `/v1/traces`; without one nothing is recorded.
    pub otlp_endpoint: Option<Url>,
    /// The part of the traces that begin here which is recorded, 0 to 1. Callers decide about theirs.
    pub sample_ratio: f64,
}

impl Traces {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let traces = Self {
            otlp_endpoint: fields.read("traces.otlp_endpoint", |value| match as_text(value)? {
                "" => Ok(None),
                text => parse_base_url(text).map(Some),
            }),
            sample_ratio: fields.ratio("traces.sample_ratio", 0.0..=1.0),
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
