//! The laboratory: `compare` and `torture`.

mod compare;
mod torture;
mod torture_judge;
