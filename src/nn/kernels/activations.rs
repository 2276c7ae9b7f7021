//! Inputs of a multiplication, quantised to eight bits.

use super::form::BLOCK;
use super::isa::{Isa, for_each_isa};
use super::pool::each_row;

/// Fewer blocks than this are not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 10;
/// Rows of a panel at most: what a kernel takes at once.
pub(super) const MOST_ROWS: usize = 8;

/// Rows of inputs in blocks of 32, each with a scale of its own.
///
/// Rows stand in panels: of one, two, four or eight rows, as many as there are, or else of eight, the last one filled up
/// with zeros. In a panel the first blocks of all rows come first, then all second ones.
#[derive(Debug)]
pub(super) struct Activations {
    panel_rows: usize,
    panel_blocks: usize,
    blocks: Vec<ActivationBlock>,
}

/// Thirty-two inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C, align(16))]
pub(super) struct ActivationBlock {
    /// The codes, four signed bytes to a word, the first in the lowest byte.
    pub(super) codes: [i32; BLOCK / 4],
    pub(super) scale: f32,
    /// Sums of the codes of the first and the second half, times the scale.
    pub(super) half_sums: [f32; 2],
    /// Their sum, times the scale.
    pub(super) sum: f32,
}

impl Activations {
    /// Quantises rows of `columns` values, a multiple of 32.
    pub(super) fn quantise(isa: Isa, values: &[f32], columns: usize) -> Self {
        let rows = values.len() / columns;
        let panel_rows = rows.next_power_of_two().min(MOST_ROWS);
        let panel_blocks = columns / BLOCK * panel_rows;
        let mut blocks = vec![ActivationBlock::default(); rows.div_ceil(panel_rows) * panel_blocks];
        each_row(&mut blocks, panel_blocks, PARALLEL_FROM, |panel, blocks| {
            let rows = values.chunks_exact(columns).skip(panel * panel_rows).take(panel_rows);
            for (row, values) in rows.enumerate() {
                quantise(isa, values, blocks, row, panel_rows);
            }
        });
        Self { panel_rows, panel_blocks, blocks }
    }

    /// Rows of a panel: one, two, four or eight.
    pub(super) fn panel_rows(&self) -> usize {
        self.panel_rows
    }

    /// The blocks of the panel that begins at a row.
    pub(super) fn panel(&self, row: usize) -> &[ActivationBlock] {
        &self.blocks[row / self.panel_rows * self.panel_blocks..][..self.panel_blocks]
    }
}

for_each_isa! {
    fn quantise(values: &[f32], blocks: &mut [ActivationBlock], row: usize, panel_rows: usize) {
        for (blocks, values) in blocks.chunks_exact_mut(panel_rows).zip(values.as_chunks::<BLOCK>().0) {
            blocks[row] = ActivationBlock::quantise(values);
        }
    }
}

impl ActivationBlock {
    #[inline(always)]
    fn quantise(values: &[f32; BLOCK]) -> Self {
        let (first, second) = values.split_at(BLOCK / 2);
        let mut largest = [0.0f32; BLOCK / 2];
        // Numbers that are none must reach the result, where they are found, instead of becoming a code.
        let mut poison = [0.0f32; BLOCK / 2];
        for (((largest, poison), a), b) in largest.iter_mut().zip(&mut poison).zip(first).zip(second) {
            *largest = a.abs().max(b.abs());
            *poison = a * 0.0 + b * 0.0;
        }
        let largest = tree(largest, f32::max);
        let scale = largest / 127.0 + tree(poison, |a, b| a + b);
        let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the lowest bits.
        let codes: [i32; BLOCK] = std::array::from_fn(|i| (values[i] * factor + 12_582_912.0).to_bits().cast_signed());
        let bytes: [u8; BLOCK] = std::array::from_fn(|i| codes[i] as u8);
        let half = |from: usize| -> i32 {
            let half: [i32; BLOCK / 2] = std::array::from_fn(|i| codes[from + i].wrapping_sub(0x4B40_0000));
            half.iter().fold(0i32, |sum, &code| sum.wrapping_add(code))
        };
        let sums = [half(0), half(BLOCK / 2)];
        let words = bytes.as_chunks::<4>().0;
        Self {
            codes: std::array::from_fn(|word| i32::from_le_bytes(words[word])),
            scale,
            half_sums: [scale * sums[0] as f32, scale * sums[1] as f32],
            sum: scale * sums[0].wrapping_add(sums[1]) as f32,
        }
    }
}

/// Folds sixteen numbers in pairs, which the compiler turns into vector instructions.
#[inline(always)]
fn tree(mut values: [f32; 16], fold: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            values[i] = fold(values[i], values[i + half]);
        }
    }
    values[0]
}
