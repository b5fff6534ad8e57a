//! A quote's life, and what others are told about it.

mod cancel;
mod owners;
mod relay;
mod shared_transactions;
mod sweeper;
