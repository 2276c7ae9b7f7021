//! One process on a run's folder at a time.
//!
//! The lock is the system's own, so that it ends with its holder, however that ended; what stands in the file only says who
//! holds it.

use crate::clock;
use crate::error::{Context, Result, usage};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

const FILE: &str = "run.lock";
/// Longer files say nothing of ours.
const LONGEST: u64 = 4096;

/// A run's folder held for this process; it is free again when this is dropped, or the process ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Holds a folder, or says who does.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let attempt = || format!("locking the run's folder with {}", path.display());
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).with_context(attempt)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _unreadable = (&file).take(LONGEST).read_to_string(&mut holder);
                let holder = holder.trim();
                return Err(usage(format!(
                    "another process works on {}: {}; wait for it, end it, or name another folder",
                    folder.display(),
                    if holder.is_empty() { "it has not said which" } else { holder }
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(attempt),
        }
        let host = sysinfo::System::host_name().unwrap_or_else(|_| "an unnamed host".to_owned());
        let holder =
            format!("process {} on {host}, since {}\n", std::process::id(), clock::utc_string(clock::unix_time()));
        // Who holds it is for people; on a full disk the lock holds all the same.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Self { _file: file })
    }
}

/// Whether a process holds a folder; `None` where that cannot be told.
#[must_use]
pub fn is_locked(folder: &Path) -> Option<bool> {
    let file = File::open(folder.join(FILE)).ok()?;
    match file.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time_and_free_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(is_locked(folder.path()), None);
        let held = RunLock::take(folder.path()).unwrap();
        assert_eq!(is_locked(folder.path()), Some(true));
        let refused = format!("{:#}", RunLock::take(folder.path()).unwrap_err());
        assert!(refused.contains(&format!("process {} on ", std::process::id())), "{refused}");
        drop(held);
        assert_eq!(is_locked(folder.path()), Some(false));
        std::fs::write(folder.path().join(FILE), "process 1 on a host that is gone, since 1970\n").unwrap();
        assert!(RunLock::take(folder.path()).is_ok(), "what a dead process left is taken over");
    }
}
