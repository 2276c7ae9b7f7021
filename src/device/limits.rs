//! Memory, and how much of the machine this process may have.

use super::{Roots, number, text};
use std::path::{Path, PathBuf};

/// The processors that a control group lets this process use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Processors' worth of time, such as 1.5.
    pub processors: f64,
}

/// The quota of processor time of the control group that this process is in, or of one above it; `None` where there is none.
#[must_use]
pub fn cpu_share(roots: &Roots) -> Option<Share> {
    let groups = text(&roots.proc.join("self/cgroup"))?;
    let fs = roots.sys.join("fs/cgroup");
    let mut least: Option<f64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mounts: Vec<PathBuf> = if controllers.is_empty() {
            vec![fs.clone(), fs.join("unified")]
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            vec![fs.join(controllers), fs.join("cpu")]
        } else {
            continue;
        };
        // Inside a container the group's own path is not there, and its root is the group.
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        for folder in above.flat_map(|group| mounts.iter().map(move |mount| mount.join(group))) {
            if let Some(processors) = quota(&folder) {
                least = Some(least.map_or(processors, |least: f64| least.min(processors)));
            }
        }
    }
    least.map(|processors| Share { processors })
}

fn quota(folder: &Path) -> Option<f64> {
    if let Some(text) = text(&folder.join("cpu.max")) {
        let mut parts = text.split_whitespace();
        let (quota, period): (f64, f64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        return (quota > 0.0 && period > 0.0).then(|| quota / period);
    }
    let quota: f64 = text(&folder.join("cpu.cfs_quota_us"))?.parse().ok()?;
    let period = number(&folder.join("cpu.cfs_period_us"))? as f64;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The machine's memory in bytes, or as much of it as this process may have; `None` where it cannot be read.
#[must_use]
pub fn memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let lent = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    Some(system.total_memory().min(lent)).filter(|&bytes| bytes > 0)
}

/// The most memory in bytes that this process has held so far; `None` where the system does not tell.
#[must_use]
pub fn peak_memory() -> Option<u64> {
    peak_of(&Roots::of_machine().proc.join("self"))
}

fn peak_of(process: &Path) -> Option<u64> {
    let status = text(&process.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Reads a number of bytes as people write it: `512MiB`, `4GB`, `1.5g`, `800000000`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 15] = [
        ("kib", 1024.0),
        ("mib", 1048576.0),
        ("gib", 1073741824.0),
        ("tib", 1099511627776.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
        ("ki", 1024.0),
        ("mi", 1048576.0),
        ("gi", 1073741824.0),
        ("k", 1e3),
        ("m", 1e6),
        ("g", 1e9),
        ("b", 1.0),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((lower.strip_suffix(unit)?, *bytes)));
    let (digits, bytes) = unit.unwrap_or((&lower, 1.0));
    let value = digits.trim().parse::<f64>().ok().map(|value| value * bytes);
    value
        .filter(|value| value.is_finite() && *value >= 1.0 && *value < 1e18)
        .map(|value| value as u64)
        .ok_or_else(|| format!("{text:?} is not a number of bytes: write it such as 512MiB, 4GB or 800000000"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("4GB", 4_000_000_000), ("512MiB", 512 << 20), ("1.5g", 1_500_000_000), ("2 gi", 2 << 30), ("100", 100)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GB", "-1GB", "0", "nan", "1e30", "infGB", "4 apples"] {
            assert!(parse_bytes(wrong).unwrap_err().contains("512MiB"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_of_bytes_or_refused(text in "\\PC{0,24}") {
            let _ = parse_bytes(&text);
        }

        #[test]
        fn whole_numbers_of_bytes_are_read_back(bytes in 1u64..1 << 50) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
        }
    }

    fn roots(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let roots = Roots { sys: place.path().join("sys"), proc: place.path().join("proc") };
        (place, roots)
    }

    #[test]
    fn the_tightest_quota_of_the_groups_counts() {
        let v2 = [
            ("proc/self/cgroup", "0::/user.slice/job.scope\n"),
            ("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/user.slice/job.scope/cpu.max", "max 100000\n"),
        ];
        assert_eq!(cpu_share(&roots(&v2).1), Some(Share { processors: 1.5 }));
        let container = [("proc/self/cgroup", "0::/../elsewhere\n"), ("sys/fs/cgroup/cpu.max", "50000 100000\n")];
        assert_eq!(cpu_share(&roots(&container).1), Some(Share { processors: 0.5 }));
        let v1 = [
            ("proc/self/cgroup", "5:memory:/x\n3:cpu,cpuacct:/jobs\n"),
            ("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(cpu_share(&roots(&v1).1), Some(Share { processors: 2.0 }));
        assert_eq!(cpu_share(&roots(&[("proc/self/cgroup", "0::/\n")]).1), None);
    }

    #[test]
    fn the_peak_is_the_high_water_mark() {
        let (_place, roots) = roots(&[("proc/self/status", "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n")]);
        assert_eq!(peak_of(&roots.proc.join("self")), Some(2 << 20));
        assert!(!cfg!(target_os = "linux") || peak_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
