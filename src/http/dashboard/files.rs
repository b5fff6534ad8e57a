//! The files of the dashboard, embedded in the binary.

/// The path below `/dashboard/`, and what is there.
pub(super) const FILES: &[(&str, &str)] = &[
    ("api.js", include_str!("api.js")),
    ("ask.js", include_str!("ask.js")),
    ("change.js", include_str!("change.js")),
    ("dom.js", include_str!("dom.js")),
    ("format.js", include_str!("format.js")),
    ("icon.svg", include_str!("icon.svg")),
    ("keys.js", include_str!("keys.js")),
    ("list.js", include_str!("list.js")),
    ("live.js", include_str!("live.js")),
    ("main.js", include_str!("main.js")),
    ("memory.js", include_str!("memory.js")),
    ("notices.js", include_str!("notices.js")),
    ("server.js", include_str!("server.js")),
    ("session.js", include_str!("session.js")),
    ("style/base.css", include_str!("style/base.css")),
    ("style/parts.css", include_str!("style/parts.css")),
    ("text.js", include_str!("text.js")),
];
