//! What operators see and do.

mod bulk;
mod cancel;
mod causes;
mod explain;
mod lists;
mod pause;
mod retry;
mod series;
mod timeline;
mod workers;
