//! The pages: what each asks of the API, and what it shows of the answers.

pub(super) mod actions;
pub(super) mod causes;
pub(super) mod destinations;
pub(super) mod event;
pub(super) mod events;
pub(super) mod overview;
pub(super) mod promises;
pub(super) mod quote;
pub(super) mod quotes;
pub(super) mod settings;
pub(super) mod workers;
