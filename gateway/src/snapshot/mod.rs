//! snapshot
pub mod change;
