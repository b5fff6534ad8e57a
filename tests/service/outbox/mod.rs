//! The life cycle of an event.

mod age;
mod blame;
mod circuit;
mod claim;
mod forbidden;
mod lanes;
mod model;
mod openings;
mod order;
mod parking;
mod rescue;
mod retention;
mod retry;
mod settle;
mod settle_isolates;
mod settle_slow;
mod turns;
