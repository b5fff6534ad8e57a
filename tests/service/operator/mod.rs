//! What operators see and do.

mod bulk;
mod bulk_cancel;
mod bulk_crash;
mod cancel;
mod causes;
mod explain;
mod lists;
mod pause;
mod retry;
mod series;
mod settings;
mod timeline;
mod trends;
mod workers;
