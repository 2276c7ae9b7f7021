//! Arithmetic on an NVIDIA GPU.
//!
//! Quantised weights stay as the file has them in the GPU's memory. A few rows are multiplied by candle's kernels for
//! vectors, whose inputs are rounded to eight bits as on the CPU; many rows by cuBLAS in half precision, on tensor cores, with
//! the weights widened a matrix at a time. What stands between the multiplications are kernels of our own (`kernels.cu`).
//!
//! All work of a device goes through one stream, in order. So memory is free for others as soon as its tensor is dropped, and
//! nothing waits for the GPU until results are read. The steps of generation are recorded and launched as a whole (`graph`).

mod arena;
mod attention;
mod graph;
mod leaders;
mod linear;
mod rounded;
mod small;
mod step;

pub(crate) use attention::attention;
pub(crate) use graph::Graphs;
pub(crate) use leaders::{MOST_LEADERS, leaders};
pub(crate) use linear::{Matrices, Weights};
pub(crate) use small::{add_norm, gate};
pub(crate) use step::{Form, Step, words};

use crate::error::{Context, Result, bail};
use candle_core::cuda::cudarc::driver::{CudaFunction, DevicePtr, result, sys};
use candle_core::cuda::{CudaDType, CudaDevice};
use candle_core::{CudaStorage, DType, Device, Shape, Storage, Tensor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The kernels, compiled by `build.rs`.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Opens a GPU. An error says what to do where there is none.
pub(crate) fn open(ordinal: usize) -> Result<Device> {
    if !driver_is_there() {
        bail!(
            "cannot open cuda:{ordinal}: this machine has no NVIDIA driver (libcuda.so.1 is not found). Install the driver, or use \
             --device cpu"
        );
    }
    // A stream of our own and not the one of each thread: weights are loaded from several threads.
    let device = Device::new_cuda_with_stream(ordinal).with_context(|| {
        format!("cannot open cuda:{ordinal}: check with nvidia-smi that the driver works and the GPU exists, or use --device cpu")
    })?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: every allocation, copy and kernel of this device goes through its one stream, which keeps them in order, so
        // that no event has to.
        unsafe { cuda.disable_event_tracking() };
        keep_freed_memory(cuda).with_context(|| format!("setting up the memory of cuda:{ordinal}"))?;
    }
    // Attention's products of many rows run on tensor cores, with inputs of ten bits as in half precision and sums in single.
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    Ok(device)
}

/// Whether the driver's library can be opened: a program that is linked to open it late would end at its first call.
#[cfg(target_os = "linux")]
fn driver_is_there() -> bool {
    unsafe extern "C" {
        fn dlopen(name: *const std::ffi::c_char, flags: std::ffi::c_int) -> *mut std::ffi::c_void;
    }
    const LAZY: std::ffi::c_int = 1;
    // SAFETY: `dlopen` of the C library, called with a string that ends in a zero; the driver's library may be opened twice.
    unsafe { !dlopen(c"libcuda.so.1".as_ptr(), LAZY).is_null() }
}

#[cfg(not(target_os = "linux"))]
fn driver_is_there() -> bool {
    true
}

/// What the GPU is called.
pub(crate) fn model(device: &Device) -> Option<String> {
    cuda(device).ok().and_then(|device| device.cuda_stream().context().name().ok())
}

/// Keeps what tensors gave back for the next ones: else the driver takes it back whenever the GPU is waited for, which is after
/// each token, and giving it out again costs more than the work.
fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    let mut all = u64::MAX;
    // SAFETY: the attribute is a number of 64 bits, which lives through the call.
    unsafe {
        result::mem_pool::set_attribute(
            pool(device)?,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut all).cast(),
        )?;
    }
    Ok(())
}

/// The most bytes that tensors took at once since the program began.
pub(crate) fn peak_memory(device: &Device) -> Result<u64> {
    let mut peak = 0u64;
    // SAFETY: as above.
    unsafe {
        result::mem_pool::get_attribute(
            pool(cuda(device)?)?,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
            (&raw mut peak).cast(),
        )?;
    }
    Ok(peak)
}

fn pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    let stream = device.cuda_stream();
    let context = stream.context();
    context.bind_to_thread()?;
    // SAFETY: the handle is that of the device whose context is open here.
    Ok(unsafe { result::device::get_default_mem_pool(context.cu_device()) }?)
}

/// Bytes of the GPU's memory: free, and all.
pub(crate) fn memory(device: &Device) -> Result<(u64, u64)> {
    cuda(device)?.cuda_stream().context().bind_to_thread().context("asking the GPU for its memory")?;
    let (free, all) = result::mem_get_info().context("asking the GPU for its memory")?;
    Ok((free as u64, all as u64))
}

fn cuda(device: &Device) -> Result<&CudaDevice> {
    match device {
        Device::Cuda(device) => Ok(device),
        _ => bail!("{:?} is not an NVIDIA GPU", device.location()),
    }
}

fn device_of(storage: &CudaStorage) -> CudaDevice {
    use candle_core::backend::BackendStorage as _;
    storage.device().clone()
}

/// The address of a tensor's first number on the GPU. The tensor must outlive the launch that uses it; its memory is not given
/// to others before that launch is through, because both go through one stream.
fn address<T: CudaDType>(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("a tensor is not on the GPU") };
    let Some((start, _)) = layout.contiguous_offsets() else { bail!("a tensor on the GPU is not contiguous") };
    let slice = storage.as_cuda_slice::<T>()?;
    let stream = slice.stream();
    Ok(slice.device_ptr(stream).0 + (start * size_of::<T>()) as u64)
}

/// A tensor that a kernel is about to fill.
fn unfilled(shape: impl Into<Shape>, kind: DType, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    if let Some(place) = arena::take(&shape, kind)? {
        return Ok(place);
    }
    // SAFETY: every caller launches a kernel that writes all of it before anything reads it.
    Ok(unsafe { Tensor::empty(shape, kind, device) }?)
}

thread_local! {
    static LOADED: RefCell<HashMap<(usize, &'static str), Rc<CudaFunction>>> = RefCell::default();
}

/// A kernel of `kernels.cu` by its name.
fn kernel(device: &CudaDevice, name: &'static str) -> Result<Rc<CudaFunction>> {
    // A stream is one device's own, and lives as long as kernels that were loaded for it are kept here.
    let key = (device.cuda_stream().cu_stream() as usize, name);
    if let Some(found) = LOADED.with_borrow(|loaded| loaded.get(&key).cloned()) {
        return Ok(found);
    }
    let load = || device.get_or_load_custom_func(name, "routergym-local", PTX);
    let loaded = load().with_context(|| format!("loading the kernel {name} onto the GPU"))?;
    let loaded = Rc::new(loaded.into_cuda_function());
    LOADED.with_borrow_mut(|all| all.insert(key, Rc::clone(&loaded)));
    Ok(loaded)
}

/// Launches a kernel: device, name, grid, threads of a block, bytes of shared memory, arguments by reference.
macro_rules! launch {
    ($device:expr, $name:literal, $grid:expr, $threads:expr, $shared:expr, $($argument:expr),+ $(,)?) => {{
        use candle_core::cuda::cudarc::driver::{LaunchConfig, PushKernelArg};
        let function = $crate::nn::kernels::cuda::kernel($device, $name)?;
        let stream = $device.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        $(builder.arg($argument);)+
        let config = LaunchConfig { grid_dim: $grid, block_dim: ($threads, 1, 1), shared_mem_bytes: $shared };
        // SAFETY: the arguments are those of the kernel's signature in `kernels.cu`, in its order; each address is of a tensor
        // that is alive here and has the size that the kernel's comment asks for, which the caller has checked.
        unsafe { builder.launch(config) }.with_context(|| format!("launching {}", $name))?;
    }};
}
use launch;

/// Blocks of 256 threads for so many numbers.
fn blocks(count: usize) -> Result<(u32, u32, u32)> {
    Ok((u32::try_from(count.div_ceil(256)).context("too many numbers for one launch")?, 1, 1))
}
