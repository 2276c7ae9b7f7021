//! A multiplication as a whole: who computes which tile, and with which kernel.
#![expect(unsafe_code, reason = "threads write their own columns of one result; kernels need checked features")]

use super::activations::{ActivationBlock, Activations, MOST_ROWS};
use super::float::{self, Floats};
use super::form::Form;
use super::isa::Isa;
use super::pack::{Packed, TILE, Tile};
use super::pool::{Columns, each_range};
use super::portable;

/// A matrix of weights.
#[derive(Debug)]
pub(crate) enum Matrix {
    Quantised(Packed),
    Float(Floats),
}

impl Matrix {
    /// Its outputs.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Quantised(packed) => packed.rows(),
            Self::Float(floats) => floats.rows(),
        }
    }

    /// Its inputs.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Quantised(packed) => packed.columns(),
            Self::Float(floats) => floats.columns(),
        }
    }

    /// Its bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Quantised(packed) => packed.bytes(),
            Self::Float(floats) => floats.tiles.iter().map(|tile| size_of_val(&**tile)).sum(),
        }
    }

    /// Writes the weights of one row, of a row that exists.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Quantised(packed) => packed.row(row, out),
            Self::Float(floats) => floats.row(row, out),
        }
    }

    fn tiles(&self) -> usize {
        match self {
            Self::Quantised(packed) => packed.tiles(),
            Self::Float(floats) => floats.tiles.len(),
        }
    }
}

/// Multiplies rows of inputs with matrices of their width. The outputs of all matrices stand side by side in each row of
/// the result.
pub(crate) fn multiply(isa: Isa, values: &[f32], matrices: &[Matrix]) -> Vec<f32> {
    let columns = matrices.first().map_or(1, Matrix::columns);
    let (rows, width) = (values.len() / columns, matrices.iter().map(Matrix::rows).sum());
    let quantised = matrices.iter().any(|matrix| matches!(matrix, Matrix::Quantised(_)));
    let inputs =
        Inputs { rows, columns, values, quantised: quantised.then(|| Activations::quantise(isa, values, columns)) };
    let out = Columns::new(rows, width);
    let tiles = matrices.iter().map(Matrix::tiles).sum();
    each_range(tiles, 0, |range| {
        for tile in range {
            let (matrix, tile, first) = locate(matrices, tile);
            let column = first + tile * TILE;
            let count = TILE.min(matrix.rows() - tile * TILE);
            let step = rows.next_power_of_two().min(MOST_ROWS);
            for first in (0..rows).step_by(step) {
                let block = match step {
                    8 => inputs.times::<8>(isa, matrix, tile, first),
                    4 => inputs.times::<4>(isa, matrix, tile, first),
                    2 => inputs.times::<2>(isa, matrix, tile, first),
                    _ => inputs.times::<1>(isa, matrix, tile, first),
                };
                for (row, values) in (first..rows).zip(&block) {
                    // SAFETY: every tile has columns of its own, and every tile is one thread's.
                    unsafe { out.put(row, column, &values[..count]) };
                }
            }
        }
    });
    out.take()
}

/// The matrix of a tile, the tile's index in it, and the column of the matrix's first output.
fn locate(matrices: &[Matrix], mut tile: usize) -> (&Matrix, usize, usize) {
    let mut first = 0;
    for matrix in matrices {
        if tile < matrix.tiles() {
            return (matrix, tile, first);
        }
        tile -= matrix.tiles();
        first += matrix.rows();
    }
    unreachable!("the tile is one of the matrices'")
}

/// What is multiplied, in the forms that the matrices want.
struct Inputs<'a> {
    rows: usize,
    columns: usize,
    values: &'a [f32],
    quantised: Option<Activations>,
}

/// Results of one tile for some neighbouring rows, at most eight.
type Results = [[f32; TILE]; MOST_ROWS];

impl Inputs<'_> {
    /// Outputs of one tile for `ROWS` rows from `row` on; those past the last row mean nothing.
    fn times<const ROWS: usize>(&self, isa: Isa, matrix: &Matrix, tile: usize, row: usize) -> Results {
        let mut results = [[0.0; TILE]; MOST_ROWS];
        let values = match matrix {
            Matrix::Float(floats) => {
                let last = self.rows - 1;
                let row = |index| &self.values[last.min(row + index) * self.columns..][..self.columns];
                float::tile_rows::<ROWS>(isa, &floats.tiles[tile], std::array::from_fn(row))
            }
            Matrix::Quantised(packed) => {
                let Some(quantised) = &self.quantised else { unreachable!("there is a quantised matrix") };
                debug_assert_eq!(quantised.panel_rows(), ROWS);
                let ahead = self.rows <= MOST_ROWS;
                quantised_rows::<ROWS>(isa, packed.form, packed.tile(tile), quantised.panel(row), ahead)
            }
        };
        results[..ROWS].copy_from_slice(&values);
        results
    }
}

/// Calls a kernel that is compiled for each form.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! for_form {
    ($form:expr, $module:ident::$kernel:ident::<$rows:ident>($($argument:ident),*)) => {
        match $form {
            Form::Q4_0 => super::$module::$kernel::<{ Form::Q4_0 as u8 }, $rows>($($argument),*),
            Form::Q4_1 => super::$module::$kernel::<{ Form::Q4_1 as u8 }, $rows>($($argument),*),
            Form::Q5_0 => super::$module::$kernel::<{ Form::Q5_0 as u8 }, $rows>($($argument),*),
            Form::Q5_1 => super::$module::$kernel::<{ Form::Q5_1 as u8 }, $rows>($($argument),*),
            Form::Q8_0 => super::$module::$kernel::<{ Form::Q8_0 as u8 }, $rows>($($argument),*),
            Form::Q4_K => super::$module::$kernel::<{ Form::Q4_K as u8 }, $rows>($($argument),*),
            Form::Q5_K => super::$module::$kernel::<{ Form::Q5_K as u8 }, $rows>($($argument),*),
            Form::Q6_K => super::$module::$kernel::<{ Form::Q6_K as u8 }, $rows>($($argument),*),
        }
    };
}

fn quantised_rows<const ROWS: usize>(
    isa: Isa,
    form: Form,
    tile: Tile<'_>,
    panel: &[ActivationBlock],
    ahead: bool,
) -> [[f32; TILE]; ROWS] {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ahead;
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this instruction set is chosen only where the processor has these features.
        Isa::Avx512Vnni => unsafe { for_form!(form, avx512::tile_rows::<ROWS>(tile, panel, ahead)) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this instruction set is chosen only where the processor has these features.
        Isa::Avx2 => std::array::from_fn(|row| unsafe { super::avx2::tile_row(form, tile, panel, row, ROWS) }),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: this instruction set is chosen only where the processor has these features.
        Isa::NeonDotprod => unsafe { for_form!(form, neon::tile_rows::<ROWS>(tile, panel)) },
        _ => portable::tile_rows(form, tile, panel),
    }
}
