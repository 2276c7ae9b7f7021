//! What machine a run was measured on.

use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor's brand.
    pub cpu: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and its version.
    pub os: String,
    /// The device that ran the SLM.
    pub device: String,
    /// Threads of the local engine.
    pub threads: usize,
}
