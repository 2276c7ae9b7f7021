//! The plan of a run and its execution: every sample through every cell, each trial on disk before the next begins.
//!
//! The order of work is sample by sample, all cells in turn: a run that is cut short has judged all strategies on the same
//! samples, and a machine that grows slower or faster does so for all of them alike.

mod execute;
mod plan;

pub use execute::{Finish, Judge, Observer, execute};
pub use plan::{CellParts, cells};
