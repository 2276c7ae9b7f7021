//! The small steps between multiplications.

use super::{address, blocks, cuda, launch, unfilled};
use crate::error::{Context, Result, ensure};
use candle_core::{DType, Tensor};

/// `activation(gate) * up` of rows that hold the gate in their first half: `[rows, columns / 2]`.
pub(crate) fn gate(gate_up: &Tensor, gelu: bool) -> Result<Tensor> {
    let (rows, columns) = gate_up.dims2()?;
    let half = columns / 2;
    let out = unfilled((rows, half), DType::F32, gate_up.device())?;
    let count = rows * half;
    let (from, to, half, gelu) = (address::<f32>(gate_up)?, address::<f32>(&out)?, half as i32, i32::from(gelu));
    launch!(cuda(gate_up.device())?, "gate", blocks(count)?, 256, 0, &from, &to, &half, &gelu, &count);
    Ok(out)
}

/// `x + y`, and its root-mean-square norm, each `[rows, columns]`.
pub(crate) fn add_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let (rows, columns) = x.dims2()?;
    ensure!(y.dims() == x.dims() && weight.elem_count() == columns, "a norm does not fit its rows");
    let sum = unfilled((rows, columns), DType::F32, x.device())?;
    let normed = unfilled((rows, columns), DType::F32, x.device())?;
    let (from, added, weight) = (address::<f32>(x)?, address::<f32>(y)?, address::<f32>(weight)?);
    let (to, normed_to, width) = (address::<f32>(&sum)?, address::<f32>(&normed)?, columns as i32);
    let grid = (rows as u32, 1, 1);
    launch!(cuda(x.device())?, "add_norm", grid, 256, 0, &from, &added, &weight, &to, &normed_to, &width, &eps);
    Ok((sum, normed))
}
