//! How far a run is, in a file that another terminal can read.

use crate::error::{Context, Result, usage};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file's name in a run's folder.
pub const STATUS_FILE: &str = "status.json";
const LONGEST_FILE: u64 = 1 << 20;

/// How far a run is. Written anew about once a second, always whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `running`, `complete`, `interrupted` or `stopped`.
    pub state: String,
    /// Why it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The process that works, or worked.
    pub process: u32,
    /// When this was written, UTC.
    pub updated_at: String,
    /// Trials of the run.
    pub trials: usize,
    /// Trials on disk, those of before it was continued included.
    pub done: usize,
    /// Cells of the run.
    pub cells: usize,
    /// Cells that are done with every sample.
    pub cells_done: usize,
    /// Trials per second since this process began.
    pub trials_per_s: f64,
    /// Seconds until all is done at that rate; null where there is no rate yet.
    pub eta_s: Option<f64>,
    /// Dollars spent on the LLM so far; null where it is not priced.
    pub spent_usd: Option<f64>,
    /// Trials of this process that were escalated.
    pub escalated: usize,
    /// Trials of this process that failed, by kind.
    pub failures: BTreeMap<String, usize>,
    /// Attempts of this process, and those of them that were shared from others.
    pub attempts: usize,
    /// See `attempts`.
    pub shared: usize,
}

/// Reads the status of a run's folder.
pub fn read_status(folder: &Path) -> Result<Status> {
    let path = folder.join(STATUS_FILE);
    let bytes = files::read(&path, LONGEST_FILE)
        .map_err(|error| usage(format!("{} has no status: {error:#}; is it the folder of a run?", folder.display())))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| usage(format!("it is no status: {error}")))
        .with_context(|| format!("reading {}", path.display()))
}
