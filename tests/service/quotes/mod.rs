//! A quote's life, and what others are told about it.

mod cancel;
mod relay;
mod sweeper;
