//! Writing a run, so that nothing measured is lost.

use super::{RunHeader, TrialRecord};
use crate::error::{Context, Result, usage};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes one run's folder.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    trials: File,
    header: RunHeader,
}

impl RunWriter {
    /// Creates the folder and writes the header. A folder that already holds a run is refused: runs are never overwritten.
    pub fn create(folder: &Path, header: RunHeader) -> Result<Self> {
        if folder.join("run.json").exists() {
            return Err(usage(format!(
                "{} already holds a run; name another folder with --out, or move that one away",
                folder.display()
            )));
        }
        fs::create_dir_all(folder).with_context(|| format!("creating the run's folder {}", folder.display()))?;
        let path = folder.join("trials.jsonl");
        let trials = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {} for the trials", path.display()))?;
        let writer = Self { folder: folder.to_owned(), trials, header };
        writer.write_header()?;
        Ok(writer)
    }

    /// The run's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The header as it stands.
    #[must_use]
    pub fn header(&self) -> &RunHeader {
        &self.header
    }

    /// Appends one finished trial and hands it to the disk before returning.
    pub fn append(&mut self, trial: &TrialRecord) -> Result<()> {
        let mut line = serde_json::to_vec(trial).context("writing a trial as JSON")?;
        line.push(b'\n');
        let appended = self.trials.write_all(&line).and_then(|()| self.trials.sync_data());
        appended
            .with_context(|| format!("appending to {}: is the disk full?", self.folder.join("trials.jsonl").display()))
    }

    /// Marks the end of the run in the header.
    pub fn finish(&mut self, finished_at: Option<String>, interrupted: bool) -> Result<()> {
        self.header.finished_at = finished_at;
        self.header.interrupted = interrupted;
        self.write_header()
    }

    fn write_header(&self) -> Result<()> {
        write_json(&self.folder.join("run.json"), &self.header)
    }
}

/// Writes a value as indented JSON, so that a reader sees the old file or the new one, never a half.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("writing JSON")?;
    text.push('\n');
    write_whole(path, text.as_bytes())
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}: is the disk full or the folder read-only?", path.display()))
}
