//! Matrices of weights.
//!
//! On the CPU they are packed for our own kernels (`kernels/`) with the codes and scales of the file; GPUs keep the file's
//! own types.

#[cfg(feature = "cuda")]
use super::kernels::cuda;
use super::kernels::{Floats, Form, Isa, Matrix, Packed, multiply};
use super::ops::Step;
use super::source::Source;
use crate::error::{Context, Result, ensure};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Module, Shape, Tensor};
use std::borrow::Cow;
use std::sync::Arc;

/// One or more weight matrices that share their input. Their outputs stand one after the other in a result's rows.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weights: Weights,
    inputs: usize,
    outputs: usize,
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weights {
    Cpu(Arc<Vec<Matrix>>),
    #[cfg(feature = "cuda")]
    Cuda(Arc<cuda::Matrices>),
    Device(Vec<QMatMul>),
}

impl Linear {
    /// Loads matrices by their names.
    pub(crate) fn load(
        file: &Source,
        names: &[&str],
        inputs: usize,
        outputs: &[usize],
        device: &Device,
    ) -> Result<Self> {
        for (name, &rows) in names.iter().zip(outputs) {
            file.shaped(name, &[rows, inputs])?;
        }
        let weights = Weights::load(file, names, inputs, device)?;
        Ok(Self { weights, inputs, outputs: outputs.iter().sum(), bias: None })
    }

    /// Adds a bias to the outputs.
    pub(crate) fn with_bias(mut self, bias: Tensor) -> Result<Self> {
        ensure!(
            bias.elem_count() == self.outputs,
            "a bias of {} does not fit {} outputs",
            bias.elem_count(),
            self.outputs
        );
        self.bias = Some(bias.reshape((1, self.outputs))?);
        Ok(self)
    }

    /// `[rows, outputs]` from `[rows, inputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let result = self.product(x)?;
        Ok(match &self.bias {
            None => result,
            Some(bias) => result.broadcast_add(bias)?,
        })
    }

    /// As [`Linear::forward`], with a bias apart where the device's next step adds it.
    pub(crate) fn forward_apart(&self, x: &Tensor) -> Result<(Tensor, Option<&Tensor>)> {
        if x.device().is_cuda() { Ok((self.product(x)?, self.bias.as_ref())) } else { Ok((self.forward(x)?, None)) }
    }

    fn product(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.weights {
            Weights::Cpu(matrices) => x.apply_op1_no_bwd(&Multiply { matrices, inputs: self.inputs })?,
            #[cfg(feature = "cuda")]
            Weights::Cuda(matrices) => matrices.forward(x)?,
            Weights::Device(parts) => {
                let parts = parts.iter().map(|part| part.forward(x)).collect::<candle_core::Result<Vec<_>>>()?;
                match parts.as_slice() {
                    [single] => single.clone(),
                    several => Tensor::cat(several, 1)?,
                }
            }
        })
    }

    /// Whether all of it lies quantised on an NVIDIA GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_quantised_on_cuda(&self) -> bool {
        matches!(&self.weights, Weights::Cuda(matrices) if matrices.is_quantised())
    }

    /// How many weights there are.
    pub(crate) fn count(&self) -> u64 {
        (self.inputs * self.outputs) as u64
    }

    /// Bytes in memory, as they are read for a multiplication.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Cpu(matrices) => matrices.iter().map(|matrix| matrix.bytes() as u64).sum(),
            #[cfg(feature = "cuda")]
            Weights::Cuda(matrices) => matrices.bytes(),
            Weights::Device(parts) => parts.iter().map(device_bytes).sum(),
        }
    }

    /// The matrix for looking its rows up by token ids.
    pub(crate) fn table(&self) -> Embedding {
        Embedding { weights: self.weights.clone(), width: self.inputs }
    }
}

impl Weights {
    fn load(file: &Source, names: &[&str], inputs: usize, device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Ok(Self::Cpu(Arc::new(names.iter().map(|name| load_packed(file, name)).collect::<Result<_>>()?)));
        }
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            let kind = |name: &str| file.tensor(name).map(|entry| entry.kind);
            // Neighbours of one type are one matrix: one launch for all.
            let runs = names.chunk_by(|a, b| kind(a).ok() == kind(b).ok());
            let parts = runs.map(|names| load_cuda(file, names, inputs, device)).collect::<Result<_>>()?;
            return Ok(Self::Cuda(Arc::new(cuda::Matrices::new(parts, inputs)?)));
        }
        let _ = inputs;
        let load = |name: &&str| Ok(QMatMul::from_qtensor(load_tensor(file, name, device)?)?);
        Ok(Self::Device(names.iter().map(load).collect::<Result<_>>()?))
    }
}

/// Quantised weights as the file has them, others in their own precision.
#[cfg(feature = "cuda")]
fn load_cuda(file: &Source, names: &[&str], inputs: usize, device: &Device) -> Result<cuda::Weights> {
    let (mut bytes, mut elements) = (Vec::new(), 0);
    let mut kind = GgmlDType::F32;
    for name in names {
        let entry = file.tensor(name)?;
        (kind, elements) = (entry.kind, elements + entry.elements() as usize);
        bytes.append(&mut file.read(name)?);
    }
    let shape = (elements / inputs.max(1), inputs);
    let load = |device: &Device| -> Result<QTensor> {
        Ok(QTensor::new(QStorage::from_data(Cow::Borrowed(&bytes), device, kind)?, shape)?)
    };
    let float = match kind {
        GgmlDType::F32 => DType::F32,
        GgmlDType::F16 => DType::F16,
        GgmlDType::BF16 => DType::BF16,
        _ => return Ok(cuda::Weights::Quantised(Box::new(load(device)?))),
    };
    Ok(cuda::Weights::Float(load(&Device::Cpu)?.dequantize(&Device::Cpu)?.to_dtype(float)?.to_device(device)?))
}

fn device_bytes(part: &QMatMul) -> u64 {
    match part {
        QMatMul::QTensor(tensor) => tensor.storage_size_in_bytes() as u64,
        QMatMul::Tensor(tensor) | QMatMul::TensorF16(tensor) => {
            (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
        }
    }
}

/// The multiplication on the CPU.
struct Multiply<'a> {
    matrices: &'a [Matrix],
    inputs: usize,
}

impl CustomOp1 for Multiply<'_> {
    fn name(&self) -> &'static str {
        "multiply-packed"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, columns) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets().filter(|_| columns == self.inputs) else {
            candle_core::bail!("a matrix of {} inputs cannot be multiplied with {:?}", self.inputs, layout.shape());
        };
        let result = multiply(Isa::best(), &storage.as_slice::<f32>()?[start..end], self.matrices);
        let width = result.len() / rows;
        Ok((CpuStorage::F32(result), (rows, width).into()))
    }
}

/// A matrix whose rows are looked up by token ids. Only the rows asked for are ever dequantised.
#[derive(Debug, Clone)]
pub(crate) struct Embedding {
    weights: Weights,
    width: usize,
}

impl Embedding {
    pub(crate) fn load(file: &Source, name: &str, device: &Device) -> Result<Self> {
        let width = file.tensor(name)?.shape.last().copied().unwrap_or_default();
        let weights = Weights::load(file, &[name], width, device)?;
        Ok(Self { weights, width })
    }

    /// `[tokens, width]`; a step on an NVIDIA GPU has the tokens there.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "NVIDIA's GPUs read the step"))]
    pub(crate) fn rows(&self, tokens: &[u32], step: Option<&Step>, device: &Device) -> Result<Tensor> {
        match &self.weights {
            Weights::Cpu(matrices) => {
                let table = matrices.first().context("an embedding without a table")?;
                let mut rows = vec![0.0; tokens.len() * self.width];
                for (row, &token) in rows.chunks_exact_mut(self.width).zip(tokens) {
                    ensure!((token as usize) < table.rows(), "token {token} is not in the vocabulary");
                    table.row(token as usize, row);
                }
                Ok(Tensor::from_vec(rows, (tokens.len(), self.width), device)?)
            }
            #[cfg(feature = "cuda")]
            Weights::Cuda(matrices) => match step {
                Some(step) => matrices.rows(&step.tokens()?),
                None => matrices.rows(&Tensor::new(tokens, device)?),
            },
            Weights::Device(tables) => {
                let table = tables.first().context("an embedding without a table")?;
                Ok(table.embedding(&Tensor::new(tokens, device)?)?.to_dtype(DType::F32)?)
            }
        }
    }
}

/// A small tensor, such as a norm's weights, in full precision.
pub(crate) fn load_vector(file: &Source, name: &str, length: usize, device: &Device) -> Result<Tensor> {
    let shift = f64::from(file.shaped(name, &[length])?.shift);
    let values = load_tensor(file, name, device)?.dequantize(device)?;
    Ok(if shift == 0.0 { values } else { (values + shift)? })
}

fn load_tensor(file: &Source, name: &str, device: &Device) -> Result<QTensor> {
    let entry = file.tensor(name)?;
    let storage = QStorage::from_data(Cow::Owned(file.read(name)?), device, entry.kind)?;
    Ok(QTensor::new(storage, entry.shape.clone())?)
}

/// Reads a matrix a few rows at a time, so that the file's bytes and the packed ones are never both in memory as a whole.
fn load_packed(file: &Source, name: &str) -> Result<Matrix> {
    let entry = file.tensor(name)?;
    let [rows, columns] = entry.shape[..] else {
        crate::error::bail!("{}: tensor {name} is not a matrix", file.path().display())
    };
    let kind = entry.kind;
    let packed = match Form::of(kind) {
        Some(form) => Packed::new(form, rows, columns, |range| file.read_rows(name, range)).map(Matrix::Quantised),
        None if matches!(kind, GgmlDType::Q2K | GgmlDType::Q3K) => {
            // Too coarse for speed to matter: widened to eight bits, which rounds each weight by 1/254 of its block's largest.
            let read = |range| {
                let values = dequantise(kind, columns, &file.read_rows(name, range)?)?;
                Ok(QTensor::quantize(&values, GgmlDType::Q8_0)?.data()?.into_owned())
            };
            Packed::new(Form::Q8_0, rows, columns, read).map(Matrix::Quantised)
        }
        None => {
            let read =
                |range| Ok(dequantise(kind, columns, &file.read_rows(name, range)?)?.flatten_all()?.to_vec1()?);
            Floats::new(rows, columns, read).map(Matrix::Float)
        }
    };
    packed.with_context(|| format!("loading tensor {name} of {}", file.path().display()))
}

fn dequantise(kind: GgmlDType, columns: usize, bytes: &[u8]) -> Result<Tensor> {
    let row_bytes = columns / kind.block_size() * kind.type_size();
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, kind)?;
    Ok(QTensor::new(storage, (bytes.len() / row_bytes, columns))?.dequantize(&Device::Cpu)?)
}
