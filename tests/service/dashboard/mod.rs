//! The dashboard, in a real browser.

mod amounts;
mod console;
mod files;
mod foreign;
mod keys;
mod messages;
mod night;
mod operate;
mod pictures;
mod screens;
mod session;
mod work;
mod written;

pub(super) use console::Console;
