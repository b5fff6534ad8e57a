//! The laboratory: `bench`, `compare` and `torture`.

mod bench;
mod compare;
mod torture;
mod torture_judge;
