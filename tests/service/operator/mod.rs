//! What operators see and do.

mod cancel;
mod explain;
mod lists;
mod pause;
mod retry;
mod timeline;
