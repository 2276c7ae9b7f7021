//! Choice of the device.

use crate::error::{Context, Result, usage};

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
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "metal" => Ok(Self::Metal),
            "cuda" => Ok(Self::Cuda(0)),
            other => {
                other.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()).map(Self::Cuda).ok_or_else(|| {
                    format!("{text:?} is not a device: use auto, cpu, cuda, cuda:N (such as cuda:1) or metal")
                })
            }
        }
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// An opened device.
#[derive(Debug, Clone)]
pub struct Device(pub(crate) candle_core::Device);

impl Device {
    /// Opens the device that was asked for; an error says what to do when it is not there.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Ok(Self(candle_core::Device::Cpu)),
            DeviceChoice::Cuda(ordinal) => open_cuda(ordinal),
            DeviceChoice::Metal => open_metal(),
            DeviceChoice::Auto => Ok(open_cuda(0).or_else(|_| open_metal()).unwrap_or(Self(candle_core::Device::Cpu))),
        }
    }

    /// Whether this is the processor.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        self.0.is_cpu()
    }

    /// `cpu`, `cuda:0`, `metal`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.0.location() {
            candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
            candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { .. } => "metal".to_owned(),
        }
    }
}

#[cfg(feature = "cuda")]
impl Device {
    /// What a GPU is called; `None` on other devices.
    #[must_use]
    pub fn model(&self) -> Option<String> {
        super::kernels::cuda::model(&self.0)
    }

    /// Bytes of a GPU's memory, free and all; `None` on other devices.
    pub fn memory(&self) -> Result<Option<(u64, u64)>> {
        if self.0.is_cuda() { super::kernels::cuda::memory(&self.0).map(Some) } else { Ok(None) }
    }

    /// The most bytes of a GPU's memory that the engine took at once; `None` on other devices.
    pub fn peak_memory(&self) -> Result<Option<u64>> {
        if self.0.is_cuda() { super::kernels::cuda::peak_memory(&self.0).map(Some) } else { Ok(None) }
    }
}

#[cfg(not(feature = "cuda"))]
impl Device {
    /// What a GPU is called; `None` on other devices.
    #[must_use]
    pub fn model(&self) -> Option<String> {
        None
    }

    /// Bytes of a GPU's memory, free and all; `None` on other devices.
    pub fn memory(&self) -> Result<Option<(u64, u64)>> {
        Ok(None)
    }

    /// The most bytes of a GPU's memory that the engine took at once; `None` on other devices.
    pub fn peak_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// Threads that the engine works with: what `--threads` or the environment bound them to, else all processors.
#[must_use]
pub fn threads() -> usize {
    candle_core::utils::barrier_pool().n_workers() + 1
}

fn open_cuda(ordinal: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    return super::kernels::cuda::open(ordinal).map(Device);
    #[cfg(not(feature = "cuda"))]
    Err(usage(format!(
        "cannot open cuda:{ordinal}: this build has no CUDA. Build with `cargo build --release --features cuda` on a machine \
         with the CUDA toolkit, or use --device cpu"
    )))
}

fn open_metal() -> Result<Device> {
    if !cfg!(feature = "metal") {
        return Err(usage(
            "cannot open metal: this build has no Metal. Build with `cargo build --release --features metal` on a Mac, or \
             use --device cpu",
        ));
    }
    candle_core::Device::new_metal(0)
        .map(Device)
        .context("cannot open metal: this machine has no usable Apple GPU; use --device cpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_alike() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "metal"] {
            assert_eq!(text.parse::<DeviceChoice>().expect("device").to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("gpu".parse::<DeviceChoice>().expect_err("no such device").contains("cuda:N"));
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_how_to_get_one() {
        let error = Device::open(DeviceChoice::Cuda(0)).expect_err("no CUDA").to_string();
        assert!(error.contains("--features cuda") && error.contains("--device cpu"), "{error}");
        assert_eq!(Device::open(DeviceChoice::Auto).expect("cpu").name(), "cpu");
    }
}
