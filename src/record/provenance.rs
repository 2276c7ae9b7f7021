//! What machine a run was measured on.

use crate::device::{Roots, cpu_share};
use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor's brand.
    pub cpu: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Memory in bytes; `None` where it could not be read.
    pub memory_bytes: Option<u64>,
    /// Operating system and its version.
    pub os: String,
    /// The device that ran the SLM.
    pub device: String,
    /// Threads of the local engine.
    pub threads: usize,
    /// Processors' worth of time that a control group lends; `None` where there is no quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
}

/// Reads the facts of this machine. What cannot be read says so.
#[must_use]
pub fn machine(device: String, threads: usize) -> Machine {
    let system = sysinfo::System::new().ok().map(|mut system| {
        system.refresh_memory();
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        system
    });
    let brand = system.as_ref().and_then(|s| s.cpus().first()).map(|cpu| cpu.brand().trim().to_owned());
    Machine {
        cpu: brand.filter(|b| !b.is_empty()).unwrap_or_else(|| format!("unknown ({})", std::env::consts::ARCH)),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_bytes: system.map(|s| s.total_memory()).filter(|&bytes| bytes > 0),
        os: sysinfo::System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
        device,
        threads,
        cpu_quota: cpu_share(&Roots::of_machine()).map(|share| share.processors),
    }
}
