//! Reading a task's files within bounds, and the fingerprint over all of them.

use super::problem::Problems;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// SHA-256 over named parts. Each part is hashed on its own first, so that no two lists of parts look the same.
#[derive(Default)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(super) fn add(&mut self, name: &str, content: &[u8]) {
        self.part(name, Sha256::digest(content).as_slice());
    }

    /// Adds a file's bytes without holding them.
    pub(super) fn add_file(&mut self, name: &str, file: &Path) -> io::Result<()> {
        let mut whole = Sha256::new();
        let mut opened = File::open(file)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = opened.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            whole.write_all(buffer.get(..count).unwrap_or_default())?;
        }
        self.part(name, whole.finalize().as_slice());
        Ok(())
    }

    fn part(&mut self, name: &str, digest: &[u8]) {
        self.0.update((name.len() as u64).to_le_bytes());
        self.0.update(name);
        self.0.update(digest);
    }

    pub(super) fn hexadecimal(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether a file can be read: it is there, it is a file, it is not too large. If not, a problem says so.
pub(super) fn admit(file: &Path, most: u64, problems: &mut Problems) -> bool {
    let reason = match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "there is no such file; paths in task.toml are relative to its folder".to_owned()
        }
        Err(error) => format!("cannot be read: {error}"),
        Ok(metadata) if !metadata.is_file() => "is not a file".to_owned(),
        Ok(metadata) if metadata.len() > most => {
            format!("is {} bytes large; at most {most} are read", metadata.len())
        }
        Ok(_) => return true,
    };
    problems.push(file, None, reason);
    false
}

/// A small text file; `None`, and a problem, where it cannot be read.
pub(super) fn read_text(file: &Path, most: u64, problems: &mut Problems) -> Option<String> {
    if !admit(file, most, problems) {
        return None;
    }
    let mut bytes = Vec::new();
    if let Err(error) = File::open(file).and_then(|opened| opened.take(most + 1).read_to_end(&mut bytes)) {
        problems.push(file, None, format!("cannot be read: {error}"));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let line =
                1 + error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|&&b| b == b'\n').count();
            problems.push(file, Some(line), "the line is not valid UTF-8; save the file as UTF-8");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_names_contents_and_their_borders() {
        let of = |parts: &[(&str, &str)]| {
            let mut print = Fingerprint::default();
            for (name, content) in parts {
                print.add(name, content.as_bytes());
            }
            print.hexadecimal()
        };
        let prints = [of(&[("a", "b")]), of(&[("a", "c")]), of(&[("ab", "")]), of(&[("a", ""), ("b", "")]), of(&[])];
        let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len());
        assert_eq!(of(&[("a", "b")]), prints[0]);
        assert_eq!(prints[0].len(), 64);
    }
}
