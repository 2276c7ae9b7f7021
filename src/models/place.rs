//! Putting a file in its place: written beside it as `NAME.part`, hashed while it is written, moved when it is right.

use super::manifest::ModelFile;
use super::progress::Bar;
use super::sums::hex;
use crate::error::{Error, Result, anyhow, bail};
use crate::units::Bytes;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Marks an error as the source's: what it yields is not what it should be, and is worth fetching anew.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damaged(pub(super) String);

/// A file on its way.
pub(super) struct Placing {
    target: PathBuf,
    part: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
    limit: u64,
}

impl Placing {
    /// Starts over an unfinished `target`. More than `limit` bytes are never written.
    pub(super) fn begin(target: &Path, limit: u64) -> Result<Self> {
        make_parent(target)?;
        let part = part_of(target);
        let file = File::create(&part).map_err(|error| explain(error, "write", &part))?;
        Ok(Self { target: target.to_owned(), part, file, hasher: Sha256::new(), written: 0, limit })
    }

    /// Appends everything that `source` yields; `what` names it in errors.
    pub(super) fn append(&mut self, source: &mut dyn Read, what: &str, bar: &Bar) -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = match source.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Damaged(format!("{what} is damaged: {error}")).into()),
            };
            let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { return Ok(()) };
            self.written += read as u64;
            if self.written > self.limit {
                bail!("{what} yields more than the {} bytes that the manifest gives", self.limit);
            }
            self.file.write_all(chunk).map_err(|error| explain(error, "write", &self.part))?;
            self.hasher.update(chunk);
            bar.advance(read as u64);
        }
    }

    /// Checks the sum, makes the file durable and moves it into place. A wrong file is removed. Returns the sum.
    pub(super) fn finish(self, expected: Option<&str>) -> Result<String> {
        let found = hex(&self.hasher.finalize());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            drop(self.file);
            // The error to report is the wrong sum, whether or not the leftover could be removed.
            let _ = std::fs::remove_file(&self.part);
            return Err(mismatch(&self.target, expected, &found));
        }
        self.file.sync_all().map_err(|error| explain(error, "write", &self.part))?;
        move_into_place(&self.part, &self.target)?;
        Ok(found)
    }
}

/// Takes over a file that lies whole in another cache: linked where the file system can, else copied.
pub(super) fn adopt(from: &Path, target: &Path) -> Result<()> {
    make_parent(target)?;
    let part = part_of(target);
    remove_if_there(&part)?;
    if std::fs::hard_link(from, &part).is_err() {
        std::fs::copy(from, &part).map_err(|error| explain(error, "write", &part))?;
        File::open(&part).and_then(|file| file.sync_all()).map_err(|error| explain(error, "write", &part))?;
    }
    move_into_place(&part, target)
}

/// The name of a file that is not whole yet.
pub(super) fn part_of(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    target.with_file_name(name)
}

/// The error of a file whose sum is not the expected one.
pub(super) fn mismatch(path: &Path, expected: &str, found: &str) -> Error {
    anyhow!("wrong checksum of {}: expected sha256 {expected}, found {found}", path.display())
}

/// Refuses a size that is not the manifest's, before anything is downloaded or unpacked.
pub(super) fn check_size(file: &ModelFile, bytes: u64, what: &str) -> Result<()> {
    match file.bytes {
        Some(expected) if expected != bytes => bail!("{what} has {bytes} bytes, the manifest says {expected}"),
        _ => Ok(()),
    }
}

/// Removes a file that may be absent.
pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(explain(error, "remove", path)),
        _ => Ok(()),
    }
}

/// Makes the folder that `path` lies in.
pub(super) fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => make_folder(folder),
        None => Ok(()),
    }
}

/// Makes a folder and those above it.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| explain(error, "make the folder", folder))
}

/// What a failing file system operation means, and the mend.
pub(super) fn explain(error: std::io::Error, action: &str, path: &Path) -> Error {
    let mend = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space, or set ROUTERGYM_MODELS to a folder on another disk; what is already downloaded is kept"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "set ROUTERGYM_MODELS to a folder that you may write to"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "a file is where a folder should be: move it away",
        _ => return Error::new(error).context(format!("cannot {action} {}", path.display())),
    };
    anyhow!("cannot {action} {}: {error}; {mend}", path.display())
}

/// A size for messages, `unknown size` where it is not known.
pub(super) fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown size".to_owned(), |bytes| Bytes(bytes).to_string())
}

fn move_into_place(part: &Path, target: &Path) -> Result<()> {
    std::fs::rename(part, target).map_err(|error| explain(error, "put in place", target))?;
    // Renaming one of two links of the same file leaves both names.
    remove_if_there(part)?;
    if let Some(folder) = target.parent() {
        // Makes the new name durable; a file system that cannot do that has nothing better to offer.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn place(folder: &Path, pieces: &[&str], limit: u64, expected: Option<&str>) -> Result<String> {
        let mut placing = Placing::begin(&folder.join("sub/weights.gguf"), limit)?;
        for piece in pieces {
            placing.append(&mut piece.as_bytes(), "the piece", &Bar::hidden())?;
        }
        placing.finish(expected)
    }

    #[test]
    fn pieces_become_one_file_that_appears_only_when_it_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("sub/weights.gguf");
        let error = place(folder.path(), &["ab", "d"], 3, Some(ABC)).unwrap_err().to_string();
        assert!(error.contains(ABC) && error.contains("found") && error.contains("weights.gguf"), "{error}");
        assert!(!target.exists() && !part_of(&target).exists());
        assert_eq!(place(folder.path(), &["ab", "c"], 3, Some(ABC)).unwrap(), ABC);
        assert_eq!(std::fs::read(&target).unwrap(), b"abc");
        assert!(!part_of(&target).exists());
    }

    #[test]
    fn no_more_than_the_limit_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let error = place(folder.path(), &["abc", "def"], 5, None).unwrap_err().to_string();
        assert!(error.contains("more than the 5 bytes"), "{error}");
        assert!(std::fs::metadata(part_of(&folder.path().join("sub/weights.gguf"))).unwrap().len() <= 5);
    }

    #[test]
    fn an_adopted_file_leaves_the_original_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("blob");
        let target = folder.path().join("model/weights.gguf");
        std::fs::write(&original, "abc").unwrap();
        adopt(&original, &target).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"abc");
        adopt(&original, &target).unwrap();
        assert!(original.exists() && !part_of(&target).exists());
    }

    #[test]
    fn a_full_or_forbidden_disk_is_told_with_its_mend() {
        let full = explain(ErrorKind::StorageFull.into(), "write", Path::new("m/x.part")).to_string();
        assert!(full.contains("x.part") && full.contains("free some space"), "{full}");
        let denied = explain(ErrorKind::PermissionDenied.into(), "write", Path::new("m/x")).to_string();
        assert!(denied.contains("ROUTERGYM_MODELS"), "{denied}");
    }
}
