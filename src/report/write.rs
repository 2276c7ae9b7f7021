//! The summary's files in a run's folder.

use super::{render_csv, render_markdown};
use crate::error::{Context, Result};
use crate::metrics::Summary;
use crate::record::{RunHeader, write_json, write_whole};
use std::path::Path;

/// Writes `summary.json`, `summary.csv` and `summary.md`, each whole or not at all. Makes the folder where it is missing.
pub fn write(folder: &Path, header: &RunHeader, summary: &Summary) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating the folder {}", folder.display()))?;
    write_json(&folder.join("summary.json"), summary)?;
    write_whole(&folder.join("summary.csv"), render_csv(summary)?.as_bytes())?;
    write_whole(&folder.join("summary.md"), render_markdown(summary, header).as_bytes())
}
