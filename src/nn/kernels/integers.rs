//! Matrices of full precision, multiplied as integers of thirteen bits.
//!
//! An encoder takes many tokens at once, so that arithmetic takes its time, and not memory. One instruction multiplies and adds
//! twice as many numbers of sixteen bits as of single precision. So weights and inputs are rounded to multiples of a scale that
//! the 128 columns of a chunk share: at most 4,095 of them, so that 128 products fit into 32 bits and their sum is exact. An
//! output is the sum over its chunks, in their order, of integer times scales, each step one fused multiply-add. It depends on its own
//! row alone, and has the same bits on every instruction set. Rounding costs about one part in 5,000 of an input.
#![expect(unsafe_code, reason = "threads write their own columns of one result; kernels need checked features")]

#[cfg(target_arch = "x86_64")]
mod x86;

use super::isa::{Isa, for_each_isa};
use super::pool::{Columns, each_range, each_row};
use rayon::prelude::*;

/// Columns that share a scale.
const CHUNK: usize = 128;
/// Pairs of them: what a word of two codes holds.
const PAIRS: usize = CHUNK / 2;
/// The largest code: the products of a whole chunk stay below 2^31.
const LARGEST: f32 = 4095.0;
/// Rows of inputs that a kernel takes at once.
const ROWS: usize = 8;
/// Outputs that a kernel gives for each of them.
const TILE: usize = 32;
/// Rows of inputs that are one piece of work with a tile.
const ROWS_AT_ONCE: usize = 128;
/// Fewer words than this are not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 10;

/// A matrix, `[rows, columns]`, in tiles of 32 rows.
#[derive(Debug)]
pub(crate) struct Integers {
    rows: usize,
    columns: usize,
    tiles: Vec<Vec<Line>>,
}

/// A word of each row of a tile. The lines of a chunk are first its scales, as the bits of single precision, and then its codes: two to
/// a word, the earlier column's in the lower half.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([i32; TILE]);

/// Rows of inputs, in panels of eight, each panel in lines as those of a tile; the last panel may hold more rows than there are.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    lines: Vec<[i32; ROWS]>,
    /// Lines of a panel.
    span: usize,
}

impl Integers {
    /// Packs a matrix of whole rows of `columns` weights, at least one.
    pub(crate) fn new(columns: usize, weights: &[f32]) -> Self {
        let pack = |rows: &[f32]| {
            let mut lines = vec![Line([0; TILE]); lines(columns)];
            for (lane, row) in rows.chunks_exact(columns).enumerate() {
                encode(row, |line, word| lines[line].0[lane] = word);
            }
            lines
        };
        let tiles = weights.par_chunks(TILE * columns).map(pack).collect();
        Self { rows: weights.len() / columns, columns, tiles }
    }

    /// Its outputs.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Multiplies rows of inputs. `out` becomes the outputs, row after row; `codes` and what `out` was are room to work in.
    pub(crate) fn multiply(&self, isa: Isa, values: &[f32], codes: &mut Codes, out: &mut Vec<f32>) {
        let rows = values.len() / self.columns;
        codes.take(isa, values, self.columns);
        let columns = Columns::over(std::mem::take(out), rows, self.rows);
        let pieces = rows.div_ceil(ROWS_AT_ONCE);
        // A thread's pieces follow each other within a tile, whose weights stay in the nearest cache.
        each_range(self.tiles.len() * pieces, 0, |range| {
            for index in range {
                let (tile, first) = (index / pieces, index % pieces * ROWS_AT_ONCE);
                let count = TILE.min(self.rows - tile * TILE);
                for first in (first..rows.min(first + ROWS_AT_ONCE)).step_by(ROWS) {
                    let products = tile_rows(isa, &self.tiles[tile], codes.panel(first));
                    for (row, products) in (first..rows).zip(&products) {
                        // SAFETY: every piece has rows and columns of its own, and is one thread's.
                        unsafe { columns.put(row, tile * TILE, &products[..count]) };
                    }
                }
            }
        });
        *out = columns.take();
    }
}

impl Codes {
    fn take(&mut self, isa: Isa, values: &[f32], columns: usize) {
        let rows = values.len() / columns;
        self.span = lines(columns);
        self.lines.resize(rows.div_ceil(ROWS) * self.span, [0; ROWS]);
        each_row(&mut self.lines, self.span, PARALLEL_FROM, |panel, lines| {
            for (row, values) in values.chunks_exact(columns).skip(panel * ROWS).take(ROWS).enumerate() {
                encode_row(isa, values, lines, row);
            }
        });
    }

    /// The panel that begins at a row.
    fn panel(&self, row: usize) -> &[[i32; ROWS]] {
        &self.lines[row / ROWS * self.span..][..self.span]
    }
}

/// Lines of a row of so many columns.
fn lines(columns: usize) -> usize {
    columns.div_ceil(2) + columns.div_ceil(CHUNK)
}

for_each_isa! {
    fn encode_row(values: &[f32], lines: &mut [[i32; ROWS]], row: usize) {
        encode(values, |line, word| lines[line][row] = word);
    }
}

/// Gives `put` the words of a row, each with the line that it belongs to.
#[inline(always)]
fn encode(values: &[f32], mut put: impl FnMut(usize, i32)) {
    for (chunk, values) in values.chunks(CHUNK).enumerate() {
        let first = chunk * (PAIRS + 1);
        let (scale, factor) = scale(values);
        put(first, scale.to_bits().cast_signed());
        // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the lowest bits.
        let code = |value: f32| (value * factor + 12_582_912.0).to_bits().cast_signed().wrapping_sub(0x4B40_0000);
        let (pairs, last) = values.as_chunks::<2>();
        for (pair, [a, b]) in pairs.iter().enumerate() {
            put(first + 1 + pair, code(*a) & 0xffff | code(*b) << 16);
        }
        if let [last] = last {
            put(first + 1 + pairs.len(), code(*last) & 0xffff);
        }
    }
}

/// What a code of a chunk counts for, and what its values are multiplied with. A value that is no number reaches every result by
/// the scale, and is found there.
#[inline(always)]
fn scale(values: &[f32]) -> (f32, f32) {
    /// Smaller ones would overflow the factor.
    const LEAST: f32 = 1e-30;
    const LANES: usize = 16;
    let (mut largest, mut poison) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for ((largest, poison), value) in largest.iter_mut().zip(&mut poison).zip(values) {
            *largest = largest.max(value.abs());
            *poison += value * 0.0;
        }
    }
    for ((largest, poison), value) in largest.iter_mut().zip(&mut poison).zip(rest) {
        *largest = largest.max(value.abs());
        *poison += value * 0.0;
    }
    let largest = largest.into_iter().fold(0.0, f32::max);
    let poison: f32 = poison.iter().sum();
    if largest > LEAST { (largest / LARGEST + poison, LARGEST / largest) } else { (poison, 0.0) }
}

/// Outputs of a tile for a panel of inputs.
fn tile_rows(isa: Isa, tile: &[Line], panel: &[[i32; ROWS]]) -> [[f32; TILE]; ROWS] {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this instruction set is chosen only where the processor has these features.
        Isa::Avx512Vnni => unsafe { x86::avx512(tile, panel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: this instruction set is chosen only where the processor has these features.
        Isa::Avx2 => unsafe { x86::avx2(tile, panel) },
        _ => plain(tile, panel),
    }
}

fn plain(tile: &[Line], panel: &[[i32; ROWS]]) -> [[f32; TILE]; ROWS] {
    let mut out = [[0.0; TILE]; ROWS];
    let halves = |word: i32| (word << 16 >> 16, word >> 16);
    for (tile, panel) in tile.chunks(PAIRS + 1).zip(panel.chunks(PAIRS + 1)) {
        let mut sums = [[0_i32; TILE]; ROWS];
        for (codes, inputs) in tile.iter().zip(panel).skip(1) {
            for (sums, input) in sums.iter_mut().zip(inputs) {
                let (low, high) = halves(*input);
                for (sum, code) in sums.iter_mut().zip(&codes.0) {
                    let (first, second) = halves(*code);
                    *sum = sum.wrapping_add(first.wrapping_mul(low).wrapping_add(second.wrapping_mul(high)));
                }
            }
        }
        let scale_of = |word: i32| f32::from_bits(word.cast_unsigned());
        for ((out, sums), input) in out.iter_mut().zip(&sums).zip(&panel[0]) {
            for ((out, sum), weight) in out.iter_mut().zip(sums).zip(&tile[0].0) {
                *out = (*sum as f32).mul_add(scale_of(*weight) * scale_of(*input), *out);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn numbers(count: usize, random: &mut StdRng) -> Vec<f32> {
        (0..count)
            .map(|_| match random.random_range(0..30) {
                0 => 0.0,
                1 => random.random_range(-50.0..50.0),
                _ => random.random_range(-1.0..1.0),
            })
            .collect()
    }

    fn product(isa: Isa, columns: usize, weights: &[f32], values: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        Integers::new(columns, weights).multiply(isa, values, &mut Codes::default(), &mut out);
        out
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_instruction_set_gives_the_same_bits_near_the_true_product(
            seed in any::<u64>(),
            rows in 1_usize..20,
            outputs in 1_usize..80,
            columns in 1_usize..300,
        ) {
            let mut random = StdRng::seed_from_u64(seed);
            let (weights, values) = (numbers(outputs * columns, &mut random), numbers(rows * columns, &mut random));
            let found = product(Isa::Portable, columns, &weights, &values);
            prop_assert_eq!(found.len(), rows * outputs);
            for isa in Isa::available() {
                prop_assert_eq!(bits(&product(isa, columns, &weights, &values)), bits(&found), "{:?}", isa);
            }
            for (row, found) in values.chunks_exact(columns).zip(found.chunks_exact(outputs)) {
                for (weights, found) in weights.chunks_exact(columns).zip(found) {
                    let pairs = || row.iter().zip(weights).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                    let wanted: f64 = pairs().map(|(a, b)| a * b).sum();
                    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                    // Half a step of each factor, with the largest of all columns for that of the chunk.
                    let steps = f64::from(largest(row)) / 4095.0 * 0.5001;
                    let weight_steps = f64::from(largest(weights)) / 4095.0 * 0.5001;
                    let error: f64 = pairs()
                        .map(|(a, b)| b.abs() * steps + a.abs() * weight_steps + steps * weight_steps)
                        .sum::<f64>()
                        + wanted.abs() * 1e-5 + 1e-6;
                    prop_assert!((f64::from(*found) - wanted).abs() <= error, "{found}, not {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company_and_any_room() {
        let mut random = StdRng::seed_from_u64(7);
        let (columns, outputs) = (130, 40);
        let (weights, values) = (numbers(outputs * columns, &mut random), numbers(19 * columns, &mut random));
        let matrix = Integers::new(columns, &weights);
        assert_eq!(matrix.rows(), outputs);
        let (mut codes, mut all, mut one) = (Codes::default(), vec![9.0; 7], Vec::new());
        matrix.multiply(Isa::best(), &values, &mut codes, &mut all);
        for (row, all) in values.chunks_exact(columns).zip(all.chunks_exact(outputs)) {
            matrix.multiply(Isa::best(), row, &mut codes, &mut one);
            assert_eq!(bits(&one), bits(all));
        }
    }

    #[test]
    fn the_largest_chunk_does_not_overflow_and_what_is_no_number_is_kept() {
        for isa in Isa::available() {
            let ones = vec![1.0_f32; CHUNK];
            let found = product(isa, CHUNK, &ones, &ones);
            assert!((found[0] - CHUNK as f32).abs() < 1e-3, "{isa:?}: {}", found[0]);
            for strange in [f32::NAN, f32::INFINITY] {
                let mut row = ones.clone();
                row[5] = strange;
                assert!(product(isa, CHUNK, &ones, &row)[0].is_nan(), "{isa:?}");
                assert!(product(isa, CHUNK, &row, &ones)[0].is_nan(), "{isa:?}");
            }
            assert_eq!(product(isa, CHUNK, &[1e-38; CHUNK], &ones), [0.0], "{isa:?}");
        }
    }
}
