//! Matrices of quantised weights.
//!
//! candle chooses fast kernels at run time, but only for some types and shapes. On processors with AVX-512 VNNI, weights
//! that would miss them are transcoded to Q8_0 at load, their rows zero-padded to a multiple of 256; elsewhere they keep
//! the file's type.

use super::gguf::Gguf;
use crate::error::{Context, Result, ensure};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// One or more weight matrices that share their input, multiplied as one where their types allow it.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    parts: Vec<Part>,
    inputs: usize,
    outputs: usize,
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
struct Part {
    matmul: QMatMul,
    outputs: usize,
}

/// Weights on their way from the file to a device.
struct Weights {
    kind: GgmlDType,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

const Q8_0_BLOCK: usize = 32;
const Q8_0_BYTES: usize = 34;
/// Fast kernels want rows of a multiple of this.
const COLUMN_STEP: usize = 256;
/// Fast kernels compute this many outputs at once.
const ROW_STEP: usize = 16;
/// Rows transcoded as one piece of work.
const ROWS_AT_ONCE: usize = 64;

impl Linear {
    /// Loads matrices by their names; their outputs stand one after the other in a result's rows.
    pub(crate) fn load(file: &Gguf, names: &[&str], inputs: usize, outputs: &[usize], device: &Device) -> Result<Self> {
        let fast = device.is_cpu() && has_vnni();
        let mut weights = Vec::new();
        for (name, &rows) in names.iter().zip(outputs) {
            let entry = file.tensor(name)?;
            ensure!(
                entry.shape == [rows, inputs],
                "{}: tensor {name} has the shape {:?}, not {:?}",
                file.path().display(),
                entry.shape,
                [rows, inputs]
            );
            weights.push(Weights { kind: entry.kind, rows, columns: inputs, bytes: file.read(name)? });
        }
        if fast {
            let plain = weights.iter().all(|w| w.kind == GgmlDType::F32);
            weights = weights.into_iter().map(|w| w.for_vnni(plain)).collect::<Result<_>>()?;
        }
        let width = weights.first().map_or(inputs, |w| w.columns);
        let parts = Weights::join(weights)
            .into_iter()
            .map(|w| w.place(fast, device))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("loading {} of {}", names.join(", "), file.path().display()))?;
        Ok(Self { parts, inputs: width, outputs: outputs.iter().sum(), bias: None })
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

    /// The width that inputs must be zero-padded to.
    pub(crate) fn input_width(&self) -> usize {
        self.inputs
    }

    /// `[rows, outputs]` from `[rows, input_width]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut results = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let result = part.matmul.forward(x)?;
            let padded = result.dim(1)? != part.outputs;
            results.push(if padded { result.narrow(1, 0, part.outputs)?.contiguous()? } else { result });
        }
        let result = match results.as_slice() {
            [single] => single.clone(),
            several => Tensor::cat(several, 1)?,
        };
        Ok(match &self.bias {
            None => result,
            Some(bias) => result.broadcast_add(bias)?,
        })
    }

    /// The matrix for looking rows up in it, where that gives what the file says: not after a transcoding that rounds.
    pub(crate) fn table(&self, stored_as: GgmlDType) -> Option<QMatMul> {
        match self.parts.as_slice() {
            [part] if !rounds(stored_as) || !has_been_transcoded(&part.matmul, stored_as) => Some(part.matmul.clone()),
            _ => None,
        }
    }
}

/// A matrix whose rows are looked up by token ids. Only the rows asked for are ever dequantised.
#[derive(Debug, Clone)]
pub(crate) struct Embedding {
    table: QMatMul,
    width: usize,
}

impl Embedding {
    pub(crate) fn new(table: QMatMul, width: usize) -> Self {
        Self { table, width }
    }

    pub(crate) fn load(file: &Gguf, name: &str, device: &Device) -> Result<Self> {
        let entry = file.tensor(name)?;
        let width = entry.shape.last().copied().unwrap_or_default();
        let storage = QStorage::from_data(Cow::Owned(file.read(name)?), device, entry.kind)?;
        let tensor = QTensor::new(storage, entry.shape.clone())?;
        Ok(Self { table: QMatMul::QTensor(Arc::new(tensor)), width })
    }

    /// `[tokens, width]`.
    pub(crate) fn rows(&self, tokens: &[u32], device: &Device) -> Result<Tensor> {
        let rows = self.table.embedding(&Tensor::new(tokens, device)?)?;
        Ok(rows.narrow(1, 0, self.width)?.contiguous()?.to_dtype(DType::F32)?)
    }
}

/// A small tensor, such as a norm's weights, in full precision.
pub(crate) fn load_vector(file: &Gguf, name: &str, length: usize, device: &Device) -> Result<Tensor> {
    let entry = file.tensor(name)?;
    ensure!(
        entry.shape == [length],
        "{}: tensor {name} has the shape {:?}, not [{length}]",
        file.path().display(),
        entry.shape
    );
    let storage = QStorage::from_data(Cow::Owned(file.read(name)?), device, entry.kind)?;
    Ok(QTensor::new(storage, entry.shape.clone())?.dequantize(device)?)
}

/// Whether transcoding this type to Q8_0 loses something.
fn rounds(kind: GgmlDType) -> bool {
    !matches!(kind, GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0)
}

fn has_been_transcoded(matmul: &QMatMul, stored_as: GgmlDType) -> bool {
    match matmul {
        QMatMul::QTensor(tensor) => tensor.dtype() != stored_as,
        QMatMul::Tensor(_) => false,
        QMatMul::TensorF16(_) => true,
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn has_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn has_vnni() -> bool {
    false
}

impl Weights {
    /// The same weights in a type and width that candle has AVX-512 VNNI kernels for. F32 stays as it is where nothing
    /// beside it needs padding.
    fn for_vnni(self, keep_plain: bool) -> Result<Self> {
        match self.kind {
            GgmlDType::F32 if keep_plain => Ok(self),
            GgmlDType::Q4K => Ok(self),
            GgmlDType::Q8_0 if self.columns.is_multiple_of(COLUMN_STEP) => Ok(self),
            _ => self.into_q8_0(),
        }
    }

    fn into_q8_0(self) -> Result<Self> {
        let width = self.columns.next_multiple_of(COLUMN_STEP);
        let row_bytes = self.bytes.len() / self.rows;
        let out_row_bytes = width / Q8_0_BLOCK * Q8_0_BYTES;
        let mut bytes = vec![0; self.rows * out_row_bytes];
        bytes
            .par_chunks_mut(ROWS_AT_ONCE * out_row_bytes)
            .zip(self.bytes.par_chunks(ROWS_AT_ONCE * row_bytes))
            .try_for_each(|(out, rows)| match self.kind {
                GgmlDType::Q8_0 | GgmlDType::Q4_0 | GgmlDType::Q5_0 => {
                    for (out, row) in out.chunks_exact_mut(out_row_bytes).zip(rows.chunks_exact(row_bytes)) {
                        widen_row(self.kind, row, out);
                    }
                    Ok(())
                }
                kind => requantise(kind, rows, self.columns, width, out),
            })?;
        Ok(Self { kind: GgmlDType::Q8_0, rows: self.rows, columns: width, bytes })
    }

    /// Joins neighbours of the same type: rows are stored one after the other.
    fn join(weights: Vec<Self>) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::new();
        for next in weights {
            match joined.last_mut() {
                Some(last) if last.kind == next.kind && last.columns == next.columns => {
                    last.rows += next.rows;
                    last.bytes.extend_from_slice(&next.bytes);
                }
                _ => joined.push(next),
            }
        }
        joined
    }

    fn place(mut self, fast: bool, device: &Device) -> Result<Part> {
        let mut rows = self.rows;
        if fast && self.kind != GgmlDType::F32 {
            // Blocks of zero bytes are zeros in every type.
            let row_bytes = self.bytes.len() / self.rows;
            rows = rows.next_multiple_of(ROW_STEP);
            self.bytes.resize(rows * row_bytes, 0);
        }
        let storage = QStorage::from_data(Cow::Owned(self.bytes), device, self.kind)?;
        let matmul = QMatMul::from_qtensor(QTensor::new(storage, (rows, self.columns))?)?;
        if fast && self.kind != GgmlDType::F32 {
            // candle re-packs weights at their first use; that belongs to loading, not to the first prompt.
            matmul.forward(&Tensor::zeros((1, self.columns), DType::F32, device)?)?;
        }
        Ok(Part { matmul, outputs: self.rows })
    }
}

/// One row from a type of blocks of 32 with a scale and no offset to Q8_0, exactly.
fn widen_row(kind: GgmlDType, row: &[u8], out: &mut [u8]) {
    let block_bytes = kind.type_size();
    for (block, out) in row.chunks_exact(block_bytes).zip(out.chunks_exact_mut(Q8_0_BYTES)) {
        let (scale, data) = block.split_at(2);
        let (out_scale, quants) = out.split_at_mut(2);
        out_scale.copy_from_slice(scale);
        match kind {
            GgmlDType::Q4_0 => {
                for (i, &byte) in data.iter().take(16).enumerate() {
                    quants[i] = (byte & 15).wrapping_sub(8);
                    quants[i + 16] = (byte >> 4).wrapping_sub(8);
                }
            }
            GgmlDType::Q5_0 => {
                let (high, low) = data.split_at(4);
                let high = high.iter().rev().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
                for (i, &byte) in low.iter().take(16).enumerate() {
                    let (first, second) = ((high >> i & 1) as u8, (high >> (i + 16) & 1) as u8);
                    quants[i] = (byte & 15 | first << 4).wrapping_sub(16);
                    quants[i + 16] = (byte >> 4 | second << 4).wrapping_sub(16);
                }
            }
            _ => quants.copy_from_slice(data),
        }
    }
}

/// Rows of any type to Q8_0 by way of f32.
fn requantise(kind: GgmlDType, rows: &[u8], columns: usize, width: usize, out: &mut [u8]) -> Result<()> {
    let count = out.len() / (width / Q8_0_BLOCK * Q8_0_BYTES);
    let storage = QStorage::from_data(Cow::Borrowed(rows), &Device::Cpu, kind)?;
    let values = QTensor::new(storage, (count, columns))?.dequantize(&Device::Cpu)?;
    let values = values.pad_with_zeros(1, 0, width - columns)?;
    out.copy_from_slice(&QTensor::quantize(&values, GgmlDType::Q8_0)?.data()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(kind: GgmlDType, rows: usize, columns: usize) -> (Weights, Vec<Vec<f32>>) {
        let data: Vec<f32> = (0..rows * columns).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 0.9).collect();
        let tensor = Tensor::from_vec(data, (rows, columns), &Device::Cpu).expect("tensor");
        let stored = QTensor::quantize(&tensor, kind).expect("quantised");
        let values = stored.dequantize(&Device::Cpu).and_then(|t| t.to_vec2()).expect("values");
        (Weights { kind, rows, columns, bytes: stored.data().expect("bytes").into_owned() }, values)
    }

    fn transcoded(weights: Weights) -> Vec<Vec<f32>> {
        let wide = weights.into_q8_0().expect("transcoded");
        assert_eq!((wide.kind, wide.columns), (GgmlDType::Q8_0, 256));
        let storage = QStorage::from_data(Cow::Owned(wide.bytes), &Device::Cpu, wide.kind).expect("storage");
        let tensor = QTensor::new(storage, (wide.rows, wide.columns)).expect("tensor");
        tensor.dequantize(&Device::Cpu).and_then(|t| t.to_vec2()).expect("values")
    }

    #[test]
    fn types_with_a_scale_alone_are_transcoded_exactly() {
        for kind in [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q5_0] {
            let (weights, values) = weights(kind, 70, 96);
            for (wide, narrow) in transcoded(weights).iter().zip(&values) {
                assert_eq!(&wide[..96], narrow.as_slice(), "{kind:?}");
                assert!(wide[96..].iter().all(|&v| v == 0.0));
            }
        }
    }

    #[test]
    fn other_types_are_transcoded_to_within_half_a_step() {
        for kind in [GgmlDType::Q4_1, GgmlDType::Q5_1, GgmlDType::F16, GgmlDType::BF16] {
            let (weights, values) = weights(kind, 70, 96);
            for (wide, narrow) in transcoded(weights).iter().zip(&values) {
                for (wide, narrow) in wide.iter().zip(narrow.iter().copied().chain(std::iter::repeat(0.0))) {
                    assert!((wide - narrow).abs() <= 1.15 / 127.0 / 2.0 * 1.05, "{kind:?}: {wide} for {narrow}");
                }
            }
        }
    }
}
