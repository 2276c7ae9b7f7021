//! Compiles the kernels for NVIDIA GPUs, where they are asked for, to code that the driver finishes for its GPU.

use std::path::PathBuf;
use std::process::Command;

const KERNELS: &str = "src/nn/kernels/cuda/kernels.cu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={KERNELS}");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("kernels.ptx");
    let nvcc = nvcc();
    // The oldest architecture that CUDA 13 compiles for: the driver compiles it further for the GPU at hand.
    let run = Command::new(&nvcc).args(["-ptx", "-arch=compute_75", "-O3", "-o"]).arg(&out).arg(KERNELS).status();
    match run {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{} could not compile {KERNELS} ({status})", nvcc.display())),
        Err(error) => fail(&format!(
            "cannot run {} ({error}): install the CUDA toolkit, or say where it is with CUDA_HOME or NVCC (see docs/cuda.md)",
            nvcc.display()
        )),
    }
}

/// Where candle's build looks for it, in the same order.
fn nvcc() -> PathBuf {
    if let Some(nvcc) = std::env::var_os("NVCC") {
        return nvcc.into();
    }
    let home = std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc"));
    home.filter(|nvcc| nvcc.is_file()).unwrap_or_else(|| "nvcc".into())
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    std::process::exit(1)
}
