//! Files that somebody else gave: whatever is read of a model is opened here.
//!
//! A path may lead to a named pipe, which waits for somebody to write into it, to a device, which may never end, or to
//! nothing. What it leads to is looked at first, and an error says what that is.

use crate::error::{Context, Result, anyhow, bail};
use std::fs::{self, File, FileType};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Opens a file for reading; refuses what is no regular file.
pub fn open(path: &Path) -> Result<File> {
    check(path)?;
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

/// The bytes of a file, of which more than `limit` are refused.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} is longer than the {limit} bytes that are accepted: download it again", path.display());
    }
    Ok(bytes)
}

/// Whether anything is at a path. A link to nothing is something: who put it there means a file to be read.
pub fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Refuses what is no regular file, and says what it is instead.
pub fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(metadata) => {
            bail!("{shown} is {}, not a file: put the file there, or give another path", kind(metadata.file_type()))
        }
        Err(error) => match fs::read_link(path) {
            Ok(target) if error.kind() == ErrorKind::NotFound => {
                bail!(
                    "{shown} is a link to {}, where nothing is: put the file there, or download it again",
                    target.display()
                )
            }
            Ok(_) => Err(anyhow!(
                "{shown} is a link that leads to no file ({error}): put the file there, or download it again"
            )),
            Err(_) if error.kind() == ErrorKind::NotFound => {
                bail!("there is no file {shown}: put it there, or download it again")
            }
            Err(_) => Err(error).with_context(|| format!("looking at {shown}")),
        },
    }
}

fn kind(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_and_read_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        assert!(!exists(&path).expect("looked at"));
        assert!(open(&path).expect_err("absent").to_string().starts_with("there is no file "));
        fs::write(&path, "abc").expect("written");
        assert!(exists(&path).expect("looked at"));
        assert_eq!(read(&path, 3).expect("read"), b"abc");
        assert!(read(&path, 2).expect_err("too long").to_string().contains("longer than the 2 bytes"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_without_waiting_and_called_by_its_name() {
        let folder = tempfile::tempdir().expect("folder");
        let place = |name: &str| folder.path().join(name);
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, place(name)).expect("linked");
        link("nowhere", "dangling");
        link("loop", "loop");
        assert!(std::process::Command::new("mkfifo").arg(place("pipe")).status().expect("mkfifo").success());
        let _socket = std::os::unix::net::UnixListener::bind(place("socket")).expect("bound");
        for (path, said) in [
            (folder.path().to_owned(), "is a folder, not a file"),
            (place("dangling"), "is a link to nowhere, where nothing is"),
            (place("loop"), "is a link that leads to no file"),
            (place("pipe"), "is a named pipe, not a file"),
            (place("socket"), "is a socket, not a file"),
            ("/dev/zero".into(), "/dev/zero is a device, not a file"),
        ] {
            assert!(exists(&path).expect("looked at"));
            let error = open(&path).expect_err("no file").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
