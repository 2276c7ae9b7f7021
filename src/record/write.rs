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
    /// Refuses a folder that already holds a run, for runs are never overwritten, and one that cannot be written to.
    pub fn check(folder: &Path) -> Result<()> {
        if folder.join("run.json").exists() || folder.join("trials.jsonl").exists() {
            return Err(usage(format!(
                "{} already holds a run; name another folder with --out, or move that one away",
                folder.display()
            )));
        }
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let nearest = whole.ancestors().find(|above| above.exists()).unwrap_or_else(|| Path::new("."));
        tempfile::tempfile_in(nearest).map(drop).map_err(|error| {
            usage(format!(
                "cannot make the run's folder {}: {} cannot be written to ({error}); name another with --out",
                folder.display(),
                nearest.display()
            ))
        })
    }

    /// Removes a run in which nothing was measured.
    pub fn discard(&self) {
        // What cannot be removed is an empty run, which harms nobody.
        let _ = fs::remove_file(self.folder.join("run.json"));
        let _ = fs::remove_file(self.folder.join("trials.jsonl"));
        let _ = fs::remove_dir(&self.folder);
    }

    /// Creates the folder and writes the header.
    pub fn create(folder: &Path, header: RunHeader) -> Result<Self> {
        Self::check(folder)?;
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
    pub fn finish(&mut self, end: impl FnOnce(&mut RunHeader)) -> Result<()> {
        end(&mut self.header);
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
    write_whole_with(path, |file| Ok(file.write_all(bytes)?))
}

/// The same for what is too large to be held in memory: `fill` writes it bit by bit.
pub fn write_whole_with(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        fill(file.as_file_mut())?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}: is the disk full or the folder read-only?", path.display()))
}
