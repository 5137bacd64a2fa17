//! Control between a store that follows a script and a publisher that takes notes. Time is paused:
//! what is asserted of it is exact.

mod batching;
mod holding;
mod keeping;
mod lapsing;
mod model;
mod rig;
mod unfinished;
