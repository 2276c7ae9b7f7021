//! Inputs of eight bits for the kernels that multiply a few rows.
//!
//! The step that computes the inputs rounds them as well where it can: one launch less.

use super::{address, cuda, launch, unfilled};
use crate::error::{Context, Result};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Tensor, TensorId};
use std::cell::RefCell;

/// Rows that are multiplied as vectors, at most: what candle's kernels take.
pub(super) const FEW: usize = 8;
/// Columns that inputs are filled up to.
const FILLED: usize = 512;

thread_local! {
    /// The tensor that was rounded last, as it was computed, and what became of it.
    static LAST: RefCell<Option<(TensorId, Tensor)>> = const { RefCell::new(None) };
}

/// The width of rounded rows.
pub(super) fn filled(columns: usize) -> usize {
    columns.next_multiple_of(FILLED)
}

/// Where a step that computes `x`, `[rows, columns]`, is to write it rounded: an address, or 0 where the rows are too many.
pub(super) fn place(x: &Tensor) -> Result<u64> {
    let (rows, columns) = x.dims2()?;
    if rows > FEW {
        return Ok(0);
    }
    let rounded = blocks(x, rows, columns)?;
    let place = address::<u8>(&rounded)?;
    LAST.set(Some((x.id(), rounded)));
    Ok(place)
}

/// `x` rounded, by the step that computed it or now.
pub(super) fn of(x: &Tensor) -> Result<Tensor> {
    let last = LAST.with_borrow(|last| last.as_ref().filter(|last| last.0 == x.id()).map(|last| last.1.clone()));
    if let Some(rounded) = last {
        return Ok(rounded);
    }
    let (rows, columns) = x.dims2()?;
    let rounded = blocks(x, rows, columns)?;
    let (from, to) = (address::<f32>(x)?, address::<u8>(&rounded)?);
    let (width, filled) = (columns as i32, filled(columns) as i32);
    let grid = ((filled as u32).div_ceil(256), rows as u32, 1);
    launch!(cuda(x.device())?, "round_rows", grid, 256, 0, &from, &to, &width, &filled);
    Ok(rounded)
}

/// Forgets what was rounded last. While a step is recorded nothing may be given back that was taken before.
pub(super) fn forget() {
    LAST.set(None);
}

fn blocks(x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    let bytes = rows * filled(columns) / GgmlDType::Q8_1.block_size() * GgmlDType::Q8_1.type_size();
    unfilled(bytes, DType::U8, x.device())
}
