//! Choice of the device.

use crate::error::Result;

/// What the user asked for: `auto`, `cpu`, `cuda`, `cuda:N`, `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The fastest that this build has and this machine offers.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its ordinal.
    Cuda(usize),
    /// An Apple GPU.
    Metal,
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;
    fn from_str(_text: &str) -> std::result::Result<Self, Self::Err> {
        todo!()
    }
}

/// An opened device.
#[derive(Debug, Clone)]
pub struct Device(pub(crate) candle_core::Device);

impl Device {
    /// Opens the device that was asked for; an error says what to do when it is not there.
    pub fn open(_choice: DeviceChoice) -> Result<Self> {
        todo!()
    }

    /// `cpu`, `cuda:0`, `metal`.
    #[must_use]
    pub fn name(&self) -> String {
        todo!()
    }
}
