//! Matrices of weights on the GPU.

use super::rounded::{self, FEW, filled};
use super::{address, blocks, cuda, launch, unfilled};
use crate::error::{Context, Result, bail, ensure};
use candle_core::cuda::cudarc::cublas::{result, sys};
use candle_core::cuda::kernels::ffi;
use candle_core::cuda::{CudaDevice, WrapErr};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor};
use std::ffi::c_void;

/// Inputs are divided by it before they become half precision, which ends at 65,504: some models' are larger. What it costs
/// small numbers is less than 1e-6.
const SHRINK: f32 = 16.0;

/// Matrices that share their input. Their outputs stand one after the other in a result's rows.
#[derive(Debug)]
pub(crate) struct Matrices {
    parts: Vec<Weights>,
    inputs: usize,
    outputs: usize,
}

/// A matrix, `[outputs, inputs]`.
#[derive(Debug)]
pub(crate) enum Weights {
    /// As the file has it.
    Quantised(Box<QTensor>),
    /// Of half, brain or single precision.
    Float(Tensor),
}

impl Weights {
    fn outputs(&self) -> Result<usize> {
        Ok(match self {
            Self::Quantised(tensor) => tensor.shape().dims2()?.0,
            Self::Float(tensor) => tensor.dims2()?.0,
        })
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Quantised(tensor) => tensor.storage_size_in_bytes() as u64,
            Self::Float(tensor) => (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64,
        }
    }
}

impl Matrices {
    pub(crate) fn new(parts: Vec<Weights>, inputs: usize) -> Result<Self> {
        let outputs = parts.iter().map(Weights::outputs).sum::<Result<usize>>()?;
        Ok(Self { parts, inputs, outputs })
    }

    /// Whether few rows are multiplied by kernels that can be recorded.
    pub(crate) fn is_quantised(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Weights::Quantised(_)))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(Weights::bytes).sum()
    }

    /// The rows of the first matrix that ids name: `[ids, inputs]`.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(match self.parts.first().context("an embedding without a table")? {
            Weights::Quantised(table) => table.embedding(ids)?,
            Weights::Float(table) => table.index_select(ids, 0)?.to_dtype(DType::F32)?,
        })
    }

    /// `[rows, outputs]` from `[rows, inputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        ensure!(
            columns == self.inputs && rows > 0,
            "a matrix of {} inputs cannot be multiplied with {columns}",
            self.inputs
        );
        let device = cuda(x.device())?;
        let out = unfilled((rows, self.outputs), DType::F32, x.device())?;
        let to = address::<f32>(&out)?;
        let mut rounded = None;
        let mut half = None;
        let mut first = 0;
        for part in &self.parts {
            let place = Place { to: to + (first * size_of::<f32>()) as u64, rows, width: self.outputs };
            first += part.outputs()?;
            match part {
                Weights::Quantised(weights) if rows <= FEW => {
                    if rounded.is_none() {
                        rounded = Some(rounded::of(x)?);
                    }
                    multiply_few(device, weights, rounded.as_ref().context("no inputs")?, self.inputs, &place)?;
                }
                Weights::Quantised(weights) => {
                    if half.is_none() {
                        half = Some(shrunk(device, x)?);
                    }
                    let weights = weights.dequantize_f16(x.device())?;
                    multiply(device, &weights, half.as_ref().context("no inputs")?, SHRINK, &place)?;
                }
                Weights::Float(weights) if weights.dtype() == DType::F16 => {
                    if half.is_none() {
                        half = Some(shrunk(device, x)?);
                    }
                    multiply(device, weights, half.as_ref().context("no inputs")?, SHRINK, &place)?;
                }
                Weights::Float(weights) => multiply(device, weights, &x.to_dtype(weights.dtype())?, 1.0, &place)?,
            }
        }
        Ok(out)
    }
}

/// Where a product goes: the address of its first number, and how far its rows are from each other.
struct Place {
    to: u64,
    rows: usize,
    width: usize,
}

fn multiply_few(device: &CudaDevice, weights: &QTensor, rounded: &Tensor, inputs: usize, place: &Place) -> Result<()> {
    let launch = match weights.dtype() {
        GgmlDType::Q4_0 => ffi::launch_mmvq_gguf_q4_0_f32_plain,
        GgmlDType::Q4_1 => ffi::launch_mmvq_gguf_q4_1_f32_plain,
        GgmlDType::Q5_0 => ffi::launch_mmvq_gguf_q5_0_f32_plain,
        GgmlDType::Q5_1 => ffi::launch_mmvq_gguf_q5_1_f32_plain,
        GgmlDType::Q8_0 => ffi::launch_mmvq_gguf_q8_0_f32_plain,
        GgmlDType::Q2K => ffi::launch_mmvq_gguf_q2_k_f32_plain,
        GgmlDType::Q3K => ffi::launch_mmvq_gguf_q3_k_f32_plain,
        GgmlDType::Q4K => ffi::launch_mmvq_gguf_q4_k_f32_plain,
        GgmlDType::Q5K => ffi::launch_mmvq_gguf_q5_k_f32_plain,
        GgmlDType::Q6K => ffi::launch_mmvq_gguf_q6_k_f32_plain,
        kind => bail!("the GPU has no kernel for weights of type {}", super::super::super::source::kind_name(kind)),
    };
    let (outputs, columns) = weights.shape().dims2()?;
    ensure!(columns == inputs, "a matrix of {columns} inputs cannot be multiplied with {inputs}");
    let codes = weights.device_ptr()?.cast::<c_void>();
    let blocks = filled(inputs) / GgmlDType::Q8_1.block_size();
    let stream = device.cuda_stream().cu_stream().cast::<c_void>();
    // SAFETY: the weights hold outputs * inputs codes, `rounded` the blocks of the rows (`rounded::of`), and the place has room for
    // `outputs` numbers in each of its rows (`Matrices::forward`); rows are at most FEW.
    unsafe {
        launch(
            codes,
            address::<u8>(rounded)? as *const c_void,
            place.to as *mut c_void,
            inputs as i32,
            outputs as i32,
            blocks as i32,
            place.width as i32,
            place.rows as i32,
            stream,
        );
    }
    Ok(())
}

/// In half precision, divided by [`SHRINK`].
fn shrunk(device: &CudaDevice, x: &Tensor) -> Result<Tensor> {
    let half = unfilled(x.shape(), DType::F16, x.device())?;
    let (from, to, factor, count) = (address::<f32>(x)?, address::<half::f16>(&half)?, 1.0 / SHRINK, x.elem_count());
    launch!(device, "to_half", blocks(count)?, 256, 0, &from, &to, &factor, &count);
    Ok(half)
}

/// `x` times the weights' transpose times a factor, on tensor cores where the type has them; sums are single precision.
fn multiply(device: &CudaDevice, weights: &Tensor, x: &Tensor, factor: f32, place: &Place) -> Result<()> {
    let (outputs, inputs) = weights.dims2()?;
    let of = |tensor: &Tensor| -> Result<(u64, sys::cudaDataType)> {
        Ok(match tensor.dtype() {
            DType::F16 => (address::<half::f16>(tensor)?, sys::cudaDataType::CUDA_R_16F),
            DType::BF16 => (address::<half::bf16>(tensor)?, sys::cudaDataType::CUDA_R_16BF),
            DType::F32 => (address::<f32>(tensor)?, sys::cudaDataType::CUDA_R_32F),
            kind => bail!("the GPU does not multiply {kind:?}"),
        })
    };
    let ((a, kind), (b, _)) = (of(weights)?, of(x)?);
    let none = 0.0f32;
    // SAFETY: by columns, as cuBLAS counts, the weights are [inputs, outputs] and transposed, x is [inputs, rows] and the place is
    // [outputs, rows] with `width` numbers from row to row; all three are alive and of these sizes.
    unsafe {
        result::gemm_ex(
            *device.cublas_handle().handle(),
            sys::cublasOperation_t::CUBLAS_OP_T,
            sys::cublasOperation_t::CUBLAS_OP_N,
            outputs as i32,
            place.rows as i32,
            inputs as i32,
            (&raw const factor).cast(),
            a as *const c_void,
            kind,
            inputs as i32,
            b as *const c_void,
            kind,
            inputs as i32,
            (&raw const none).cast(),
            place.to as *mut c_void,
            sys::cudaDataType::CUDA_R_32F,
            place.width as i32,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
    .context("multiplying on the GPU")?;
    Ok(())
}
