//! The small steps between multiplications.

use super::rounded::{self, filled};
use super::{address, cuda, launch, unfilled};
use crate::error::{Context, Result, ensure};
use candle_core::{DType, Tensor};

/// Numbers of a row that a norm keeps at hand, at most.
const WIDEST: usize = 12_000;

/// `activation(gate) * up` of rows that hold the gate in their first half: `[rows, columns / 2]`.
pub(crate) fn gate(gate_up: &Tensor, gelu: bool) -> Result<Tensor> {
    let (rows, columns) = gate_up.dims2()?;
    let half = columns / 2;
    let out = unfilled((rows, half), DType::F32, gate_up.device())?;
    let (from, to, rounded) = (address::<f32>(gate_up)?, address::<f32>(&out)?, rounded::place(&out)?);
    let (width, filled, gelu) = (half as i32, filled(half) as i32, i32::from(gelu));
    let grid = ((filled as u32).div_ceil(256), rows as u32, 1);
    launch!(cuda(gate_up.device())?, "gate", grid, 256, 0, &from, &to, &rounded, &width, &filled, &gelu);
    Ok(out)
}

/// `x + y`, and its root-mean-square norm, each `[rows, columns]`.
pub(crate) fn add_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let (rows, columns) = x.dims2()?;
    ensure!(y.dims() == x.dims() && weight.elem_count() == columns, "a norm does not fit its rows");
    ensure!(columns <= WIDEST, "rows of {columns} numbers are too wide for the GPU's norm");
    let sum = unfilled((rows, columns), DType::F32, x.device())?;
    let normed = unfilled((rows, columns), DType::F32, x.device())?;
    let (from, added, weight) = (address::<f32>(x)?, address::<f32>(y)?, address::<f32>(weight)?);
    let (to, normed_to, rounded) = (address::<f32>(&sum)?, address::<f32>(&normed)?, rounded::place(&normed)?);
    let (width, filled, grid) = (columns as i32, filled(columns) as i32, (rows as u32, 1, 1));
    let shared = (columns * size_of::<f32>()) as u32;
    launch!(
        cuda(x.device())?,
        "add_norm",
        grid,
        512,
        shared,
        &from,
        &added,
        &weight,
        &to,
        &normed_to,
        &rounded,
        &width,
        &filled,
        &eps
    );
    Ok((sum, normed))
}
