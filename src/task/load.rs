//! From files to a checked [`Task`].

use super::{Sample, Split, Task};
use crate::error::Result;
use std::path::{Path, PathBuf};

/// One bad row or file of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong and how to mend it.
    pub reason: String,
}

/// Loads `DIR/task.toml` (or a `task.toml` by its own path); any problem is an error that lists the first few.
pub fn load(_path: &Path) -> Result<Task> {
    todo!()
}

/// Every problem of a task, bad row by bad row; empty when it can be loaded.
pub fn check(_path: &Path) -> Result<Vec<Problem>> {
    todo!()
}

pub(super) fn choose(_task: &Task, _split: Split, _limit: Option<usize>, _seed: u64) -> Vec<&Sample> {
    todo!()
}
