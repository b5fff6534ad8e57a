//! Feebox.
