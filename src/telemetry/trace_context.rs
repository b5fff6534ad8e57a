//! The W3C `traceparent` header, which continues a trace through the outbox: a submission stores the caller's header, or a
//! new one, with the event, and the worker continues it when it calls the destination.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, section 3.2.

/// Length of `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`.
const LENGTH: usize = 55;

/// The defined flags: sampled, and random trace id (level 2). The others must be sent as zero.
const KNOWN_FLAGS: u8 = 0b11;

/// Flags of a new trace: sampled, so that trace collectors downstream keep it.
const ROOT_FLAGS: u8 = 0b01;

/// A position in a trace: the trace's id, and the parent of the next span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// A valid header of version 00.
    header: String,
}

impl TraceContext {
    /// Parses a caller's header; `None` if it is invalid, which calls for a new trace.
    ///
    /// Of versions above 00, the part that 00 defines is read, as the standard requires. Unknown flags are dropped.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        if !header.is_ascii() || header.len() < LENGTH {
            return None;
        }
        let (known, rest) = header.split_at(LENGTH);
        let mut parts = known.split('-');
        let [version, trace_id, parent_id, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let version = u8::try_from(hex(version, 2)?).ok()?;
        let trace_id = hex(trace_id, 32).filter(|id| *id != 0)?;
        let parent_id = hex(parent_id, 16).filter(|id| *id != 0)?;
        let flags = u8::try_from(hex(flags, 2)?).ok()?;
        let is_whole = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        is_whole.then(|| Self::new(trace_id, u64::try_from(parent_id).unwrap_or(1), flags & KNOWN_FLAGS))
    }

    /// Starts a trace.
    #[must_use]
    pub fn new_root() -> Self {
        Self::new(rand::random::<u128>().max(1), new_span_id(), ROOT_FLAGS)
    }

    /// The same trace with a new span, to send to the next service.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut header = self.header.clone();
        header.replace_range(36..52, &format!("{:016x}", new_span_id()));
        Self { header }
    }

    /// The value of the `traceparent` header.
    #[must_use]
    pub fn header(&self) -> String {
        self.header.clone()
    }

    /// The trace's id, 32 hex digits, as it appears in logs.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.header[3..35]
    }

    /// The id of the span that the next one continues.
    #[cfg(feature = "otel")]
    pub(super) fn span_id(&self) -> &str {
        &self.header[36..52]
    }

    /// Whether the caller records it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags() & ROOT_FLAGS == ROOT_FLAGS
    }

    /// The bits of the header's last field.
    pub(super) fn flags(&self) -> u8 {
        u8::from_str_radix(&self.header[53..], 16).unwrap_or(0)
    }

    pub(super) fn new(trace_id: u128, span_id: u64, flags: u8) -> Self {
        Self { header: format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}") }
    }
}

/// Zero would be invalid.
fn new_span_id() -> u64 {
    rand::random::<u64>().max(1)
}

/// Reads exactly `digits` hex digits. Capital letters are invalid in this header.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_lower_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_kept() {
        let context = TraceContext::parse(HEADER).expect("valid");
        assert_eq!(context.header(), HEADER);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn invalid_headers_are_refused() {
        for header in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "0--4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0ä",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }

    #[test]
    fn the_known_part_of_a_later_version_is_read() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-what-the-future-brings";
        assert_eq!(TraceContext::parse(later), TraceContext::parse(HEADER));
    }

    #[test]
    fn a_child_has_the_same_trace_and_flags_but_a_new_span() {
        let parent = TraceContext::parse(&HEADER.replace("-01", "-00")).expect("valid");
        let child = parent.child();
        assert_ne!(child, parent);
        assert_eq!(child.trace_id(), parent.trace_id());
        assert!(child.header().ends_with("-00"));
        assert_eq!(TraceContext::parse(&child.header()), Some(child));
    }

    #[test]
    fn roots_are_valid_and_differ() {
        let root = TraceContext::new_root();
        assert_eq!(TraceContext::parse(&root.header()), Some(root.clone()));
        assert_ne!(root.trace_id(), TraceContext::new_root().trace_id());
    }
}
