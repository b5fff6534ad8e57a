//! The engine in a service of its own: other events, other tables, another destination.

mod crash;
mod record;
mod shop;
mod tables;
mod tree;
