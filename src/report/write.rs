//! The summary's files in a run's folder.

use super::{render_csv, render_markdown};
use crate::error::{Context, Result};
use crate::metrics::Summary;
use crate::record::RunHeader;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// Writes `summary.json`, `summary.csv` and `summary.md`, each whole or not at all.
pub fn write(folder: &Path, header: &RunHeader, summary: &Summary) -> Result<()> {
    let mut json = serde_json::to_string_pretty(summary).context("writing the summary as JSON")?;
    json.push('\n');
    replace(&folder.join("summary.json"), &json)?;
    replace(&folder.join("summary.csv"), &render_csv(summary)?)?;
    replace(&folder.join("summary.md"), &render_markdown(summary, header))
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let written = File::create(part)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(part, path));
    if written.is_err() {
        // The error is what matters; a leftover that cannot be removed changes nothing about it.
        let _ = fs::remove_file(part);
    }
    written
        .with_context(|| format!("writing {}: is the folder there, writable, and the disk not full?", path.display()))
}
