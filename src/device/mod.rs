//! What the machine tells of itself: energy counters, memory and how much of it this process may have, processors and how much
//! of them, and what disturbs a measurement.
//!
//! All of it stands in the system's own files, below roots that tests put elsewhere ([`Roots`]). What a machine does not
//! tell is absent with a reason, never zero.

mod energy;
mod limits;
#[cfg(target_os = "linux")]
mod nvml;
mod processor;
mod steady;

pub use energy::{Basis, Energy, EnergySource, Meter};
pub use limits::{Share, cpu_share, memory, parse_bytes, peak_memory};
pub use processor::{Frequency, Load, Throttling, features, frequency, load, nvidia_driver, throttling};
pub use steady::{Steadiness, Watch, drift, outliers, warm_up};

use crate::files;
use std::path::{Path, PathBuf};

/// Where the system's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/sys`, or what `ROUTERGYM_SYSFS` names.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
}

impl Roots {
    /// Those of this machine.
    #[must_use]
    pub fn of_machine() -> Self {
        let set = std::env::var_os("ROUTERGYM_SYSFS").filter(|value| !value.is_empty());
        Self { sys: set.map_or_else(|| PathBuf::from("/sys"), PathBuf::from), proc: PathBuf::from("/proc") }
    }
}

/// Longer files of the system are none that is read here.
const LONGEST_FILE: u64 = 1 << 20;

/// The text of a file of the system without the white space around it; `None` where it cannot be read.
fn text(path: &Path) -> Option<String> {
    let bytes = files::read(path, LONGEST_FILE).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A file that holds one whole number.
fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The entries of a folder of the system by name, in order; none where there is no such folder.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}
