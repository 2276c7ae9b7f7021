//! SHA-256 sums, and the note of them that spares hashing gigabytes at every start.
//!
//! A sum is believed again as long as the file's size and time of change are what they were when it was computed.

use super::place::explain;
use super::progress::{Bar, Progress};
use crate::error::{Context, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// The note beside a model's files.
pub(super) const VERIFIED: &str = "verified.json";

const VERSION: u32 = 1;
/// A note is a few lines; anything larger is not one of ours.
const NOTE_LIMIT: u64 = 16 << 20;

/// The sums known of some files, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sums {
    version: u32,
    files: BTreeMap<String, Sum>,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) sha256: String,
    pub(super) bytes: u64,
    /// Time of change, in nanoseconds since the Unix epoch.
    mtime_ns: u64,
    /// Where the file came from.
    pub(super) source: String,
}

impl Sums {
    /// Reads a note; one that is absent or unreadable is an empty one, since it can be made again.
    pub(super) fn read(path: &Path) -> Self {
        let read = || -> Option<Self> {
            let mut text = String::new();
            File::open(path).ok()?.take(NOTE_LIMIT).read_to_string(&mut text).ok()?;
            serde_json::from_str(&text).ok().filter(|sums: &Self| sums.version == VERSION)
        };
        read().unwrap_or(Self { version: VERSION, files: BTreeMap::new() })
    }

    /// Writes the note atomically.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().context("a note has a folder")?;
        let failed = |error| explain(error, "write", path);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(&serde_json::to_vec_pretty(self)?).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Sum> {
        self.files.get(name)
    }

    pub(super) fn set(&mut self, name: &str, sum: Sum) {
        self.files.insert(name.to_owned(), sum);
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// Drops the entries whose files are gone; for notes whose names are paths.
    pub(super) fn retain_existing(&mut self) {
        self.files.retain(|name, _| Path::new(name).exists());
    }
}

impl Sum {
    /// The sum `sha256` of the file as it is now.
    pub(super) fn of(path: &Path, sha256: String, source: &str) -> Result<Self> {
        let (bytes, mtime_ns) = stamp(path)?;
        Ok(Self { sha256, bytes, mtime_ns, source: source.to_owned() })
    }

    /// Whether the file still has the size and the time of change that it had.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        stamp(path).is_ok_and(|now| now == (self.bytes, self.mtime_ns))
    }
}

fn stamp(path: &Path) -> Result<(u64, u64)> {
    let read = || -> std::io::Result<(u64, u64)> {
        let metadata = std::fs::metadata(path)?;
        let since = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok((metadata.len(), u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
    };
    read().with_context(|| format!("looking at {}", path.display()))
}

/// SHA-256 of a file, in lower-case hexadecimal, with a progress bar for large ones.
pub(super) fn hash_file(path: &Path, progress: Progress) -> Result<String> {
    let failed = || format!("reading {}", path.display());
    let mut file = files::open(path).with_context(failed)?;
    let bytes = file.metadata().with_context(failed)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bar = if bytes > 64 << 20 { progress.bytes(Some(bytes), &format!("checking {name}")) } else { Bar::hidden() };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).with_context(failed)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        hasher.update(chunk);
        bar.advance(read as u64);
    }
    Ok(hex(&hasher.finalize()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The one sum of a model: that of its weights file, or, where the weights are several files, the SHA-256 of the lines
/// `SUM  NAME` in the order of the names.
pub(super) fn model_sum(files: &[(String, String)]) -> String {
    let is_weights = |name: &str| [".gguf", ".safetensors"].iter().any(|ending| name.ends_with(ending));
    let mut weights: Vec<&(String, String)> = files.iter().filter(|(name, _)| is_weights(name)).collect();
    if let [(_, sum)] = weights.as_slice() {
        return sum.clone();
    }
    if weights.is_empty() {
        weights = files.iter().collect();
    }
    weights.sort();
    let mut hasher = Sha256::new();
    for (name, sum) in weights {
        hasher.update(format!("{sum}  {name}\n"));
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_current_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.gguf");
        std::fs::write(&path, "abc").unwrap();
        let sha256 = hash_file(&path, Progress::silent()).unwrap();
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let sum = Sum::of(&path, sha256, "test").unwrap();
        assert!(sum.is_current(&path));
        std::fs::write(&path, "abcd").unwrap();
        assert!(!sum.is_current(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!sum.is_current(&path));
    }

    #[test]
    fn a_note_is_read_back_and_a_broken_one_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("new folder").join(VERIFIED);
        let file = folder.path().join("x");
        std::fs::write(&file, "abc").unwrap();
        let mut sums = Sums::read(&note);
        sums.set("x", Sum::of(&file, "00".into(), "test").unwrap());
        sums.write(&note).unwrap();
        assert_eq!(Sums::read(&note).get("x").unwrap().sha256, "00");
        std::fs::write(&note, "{").unwrap();
        assert!(Sums::read(&note).get("x").is_none());
    }

    #[test]
    fn the_sum_of_a_model_is_that_of_its_only_weights_file() {
        let file = |name: &str, sum: &str| (name.to_owned(), sum.to_owned());
        assert_eq!(model_sum(&[file("config.json", "aa"), file("model.safetensors", "bb")]), "bb");
        let two = model_sum(&[file("b.safetensors", "bb"), file("a.safetensors", "aa")]);
        assert_eq!(two, model_sum(&[file("a.safetensors", "aa"), file("b.safetensors", "bb"), file("c.json", "cc")]));
        assert_eq!(two.len(), 64);
    }
}
