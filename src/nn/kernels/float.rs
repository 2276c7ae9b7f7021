//! Weights in full precision: plain fused multiply-adds, in the order of the columns.

use super::isa::for_each_isa;
use super::pack::TILE;
use crate::error::{Result, ensure};
use rayon::prelude::*;
use std::ops::Range;

/// A matrix in single precision, `[rows, columns]`, in tiles of sixteen rows.
#[derive(Debug)]
pub(crate) struct Floats {
    rows: usize,
    columns: usize,
    /// For each tile the weights of its rows, column by column.
    pub(super) tiles: Vec<Vec<[f32; TILE]>>,
}

impl Floats {
    /// Packs a matrix. `read` gives the weights of a range of rows.
    pub(crate) fn new(
        rows: usize,
        columns: usize,
        read: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        ensure!(columns > 0, "a matrix without columns");
        let tiles = (0..rows.div_ceil(TILE)).into_par_iter().map(|tile| {
            let range = tile * TILE..rows.min((tile + 1) * TILE);
            let weights = read(range.clone())?;
            ensure!(weights.len() == range.len() * columns, "{} weights for {} rows", weights.len(), range.len());
            let mut packed = vec![[0.0; TILE]; columns];
            for (lane, row) in weights.chunks_exact(columns).enumerate() {
                for (column, weight) in packed.iter_mut().zip(row) {
                    column[lane] = *weight;
                }
            }
            Ok(packed)
        });
        Ok(Self { rows, columns, tiles: tiles.collect::<Result<_>>()? })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Writes the weights of one row, of a row that exists.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        for (out, column) in out.iter_mut().zip(&self.tiles[row / TILE]) {
            *out = column[row % TILE];
        }
    }
}

for_each_isa! {
    /// Outputs of one tile for `ROWS` rows of inputs.
    pub(super) fn tile_rows<const ROWS: usize>(tile: &[[f32; TILE]], inputs: [&[f32]; ROWS]) -> [[f32; TILE]; ROWS] {
        let inputs = inputs.map(|row| &row[..tile.len()]);
        let mut sums = [[0.0f32; TILE]; ROWS];
        for (column, weights) in tile.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(&inputs) {
                let input = row[column];
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = weight.mul_add(input, *sum);
                }
            }
        }
        sums
    }
}
