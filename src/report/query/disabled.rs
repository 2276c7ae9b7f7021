//! A build without SQL.

use super::Answer;
use crate::error::{Result, usage};
use std::path::PathBuf;

/// Answers a query over the trials of runs; here it says how to have that.
pub fn query(_sql: &str, _runs: &[PathBuf]) -> Result<Answer> {
    Err(usage(
        "this build has no SQL: build it with `cargo build --release --features sql`, or write the trials as a table for other \
         programs with `report RUN --format parquet`",
    ))
}
