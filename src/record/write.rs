//! Writing a run, so that nothing measured is lost.

use super::lock::RunLock;
use super::{Place, RunHeader, TrialRecord, read_header};
use crate::clock::{Clock, Moment};
use crate::error::{Context, Result, usage};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What was written is brought to the disk itself at least so often, in seconds. A killed program loses nothing in between; a
/// machine that loses its power may lose what was written since.
const SYNC_EVERY_S: f64 = 1.0;
/// Longest line that is looked at for a torn end.
const LONGEST_TAIL: u64 = 64 << 20;

/// Writes one run's folder.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    trials: File,
    /// Bytes of whole lines so far.
    length: u64,
    header: RunHeader,
    clock: Clock,
    synced: Moment,
    _lock: RunLock,
}

impl RunWriter {
    /// Refuses a folder that already holds a run, for runs are never overwritten, and one that cannot be written to.
    pub fn check(folder: &Path) -> Result<()> {
        if Self::is_there(folder) {
            return Err(usage(format!(
                "{} already holds a run; name another folder with --out, move that one away, or continue it with --resume",
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

    /// Whether a folder holds a run.
    #[must_use]
    pub fn is_there(folder: &Path) -> bool {
        folder.join("run.json").exists() || folder.join("trials.jsonl").exists()
    }

    /// Removes a run in which nothing was measured.
    pub fn discard(&self) {
        // What cannot be removed is an empty run, which harms nobody.
        for name in ["run.json", "trials.jsonl", "status.json", "run.lock"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        let _ = fs::remove_dir(&self.folder);
    }

    /// Creates the folder and writes the header.
    pub fn create(folder: &Path, header: RunHeader) -> Result<Self> {
        Self::check(folder)?;
        fs::create_dir_all(folder).with_context(|| format!("creating the run's folder {}", folder.display()))?;
        let lock = RunLock::take(folder)?;
        // Another process may have been first.
        Self::check(folder)?;
        let writer = Self::open(folder, header, lock)?;
        writer.write_header()?;
        Ok(writer)
    }

    /// Takes up a run where it stands. What a crash left of a last line is cut off; tells how many bytes that were.
    pub fn resume(folder: &Path) -> Result<(Self, u64)> {
        let lock = RunLock::take(folder)?;
        let header = read_header(folder)?;
        let mut writer = Self::open(folder, header, lock)?;
        let torn = writer.mend()?;
        Ok((writer, torn))
    }

    fn open(folder: &Path, header: RunHeader, lock: RunLock) -> Result<Self> {
        let path = folder.join("trials.jsonl");
        let trials = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {} for the trials", path.display()))?;
        let length = trials.metadata().with_context(|| format!("reading the size of {}", path.display()))?.len();
        let clock = Clock::real();
        let synced = clock.now();
        Ok(Self { folder: folder.to_owned(), trials, length, header, clock, synced, _lock: lock })
    }

    /// Cuts off a last line without its end, or gives a whole one its end; the bytes that were cut off.
    fn mend(&mut self) -> Result<u64> {
        const BLOCK: u64 = 1 << 16;
        let path = self.folder.join("trials.jsonl");
        let attempt = || format!("looking at the end of {}", path.display());
        let mut tail: Vec<u8> = Vec::new();
        let mut start = self.length;
        let line = loop {
            if let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') {
                break tail.split_off(end + 1);
            }
            if start == 0 {
                break tail;
            }
            if tail.len() as u64 > LONGEST_TAIL {
                return Err(usage(format!("the end of {} is no trial: the file is damaged", path.display())));
            }
            let from = start.saturating_sub(BLOCK);
            let mut block = vec![0; (start - from) as usize];
            self.trials.seek(SeekFrom::Start(from)).with_context(attempt)?;
            self.trials.read_exact(&mut block).with_context(attempt)?;
            block.extend_from_slice(&tail);
            (tail, start) = (block, from);
        };
        if line.is_empty() {
            return Ok(0);
        }
        if serde_json::from_slice::<TrialRecord>(&line).is_ok() {
            self.write_line(b"\n")?;
            return Ok(0);
        }
        let torn = line.len() as u64;
        self.length -= torn;
        self.trials.set_len(self.length).with_context(|| format!("cutting the torn end off {}", path.display()))?;
        Ok(torn)
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

    /// The line of a trial, which [`RunWriter::append`] takes.
    pub fn line(trial: &TrialRecord) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(trial).context("writing a trial as JSON")?;
        line.push(b'\n');
        Ok(line)
    }

    /// Appends the line of one finished trial with one write, so that it is safe from the end of this program, and tells where it
    /// stands.
    pub fn append(&mut self, line: &[u8]) -> Result<Place> {
        let place = Place { offset: self.length, length: u32::try_from(line.len()).unwrap_or(u32::MAX) };
        self.write_line(line)?;
        if self.clock.since(self.synced).0 >= SYNC_EVERY_S {
            self.sync()?;
        }
        Ok(place)
    }

    fn write_line(&mut self, line: &[u8]) -> Result<()> {
        if let Err(error) = self.trials.write_all(line) {
            // A part of a line would spoil the next one; a file can be cut where it cannot grow.
            let _ = self.trials.set_len(self.length);
            return Err(error).with_context(|| {
                format!(
                    "appending to {}: is the disk full? What was finished before is safe: make room, and continue with --resume",
                    self.folder.join("trials.jsonl").display()
                )
            });
        }
        self.length += line.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.synced = self.clock.now();
        self.trials
            .sync_data()
            .with_context(|| format!("bringing {} to the disk", self.folder.join("trials.jsonl").display()))
    }

    /// Changes the header, on the disk too.
    pub fn change(&mut self, change: impl FnOnce(&mut RunHeader)) -> Result<()> {
        change(&mut self.header);
        self.write_header()
    }

    /// Marks the end of the run in the header, and brings all to the disk.
    pub fn finish(&mut self, end: impl FnOnce(&mut RunHeader)) -> Result<()> {
        let synced = self.sync();
        self.change(end)?;
        synced
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
    let whole = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        fill(file.as_file_mut())?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    };
    whole().with_context(|| format!("writing {}: is the disk full or the folder read-only?", path.display()))
}
