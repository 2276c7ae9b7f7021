//! The plan of a run and its execution: every sample through every cell, each trial on disk before the next begins.
//!
//! The order of work is by pair of models, so that weights are loaded once; within it sample by sample, all cells in turn: a run
//! that is cut short has judged all strategies on the same samples, and a machine that grows slower or faster does so for all of
//! them alike. `bench` is a grid of one pair of models that shares nothing.
//!
//! What several cells need is computed once (`share`); what is on disk is not made again (`done`); parts of the samples are run
//! anywhere and put together (`merge`).

mod baton;
mod done;
mod execute;
mod merge;
mod plan;
mod share;
mod spec;
mod status;

pub use baton::Baton;
pub use done::{Done, spent_usd};
pub use execute::{Finish, Judge, Observer, Work, execute};
pub use merge::{Merged, merge};
pub use plan::{Axes, CellParts, cells};
pub use share::Shared;
pub use spec::{
    AxesSpec, Exclude, GridSpec, LimitsSpec, SamplesSpec, SettingsSpec, Step, place_of, read_grid, schema_text,
};
pub use status::{STATUS_FILE, Status, read_status};
