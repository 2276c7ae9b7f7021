//! `routergym-local` measures whether small language models on this machine can take over work that is sent to a
//! remote large language model, and at what quality, latency and cost.
//!
//! The rooms are listed in the order in which they may import one another: a room names only rooms above it. A test
//! (`tests/it/tidy.rs`) keeps that order. `ARCHITECTURE.md` tells the story of the whole.

pub mod units;

pub mod clock;
pub mod error;
pub mod files;
pub mod net;

pub mod device;

pub mod nn;

pub mod models;

pub mod task;

pub mod contract;

pub mod memory;

pub mod safety;

pub mod router;

pub mod engine;

pub mod trial;

pub mod record;

pub mod metrics;

pub mod replay;

pub mod grid;

pub mod report;

pub mod serve;

pub mod cli;
