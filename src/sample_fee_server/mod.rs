//! A remote fee server with all its faults, to show, test and measure Feebox against.
//!
//! It makes a fee for a quote ([`Fee`]), keeps its promises about idempotency keys, look-ups and voiding, and breaks
//! whatever [`Faults`] tells it to: it answers late or never, refuses, hangs up before or after the fee was made. A fee
//! is made at the end of the latency, even if the client gave up waiting. That is the case that doubles fees elsewhere.
//!

mod book;
mod faults;
mod fee;
mod traffic;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use book::Stats;
pub use faults::Faults;
pub use fee::{Fee, RATE_BPS};

/// Every lock here guards plain data that is whole between any two statements, so a panic elsewhere leaves it usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
