//! Inputs of a multiplication, quantised to eight bits.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "kernels need the features that were asked for"))]

use super::form::BLOCK;
use super::isa::Isa;
use rayon::prelude::*;

/// Fewer blocks than this are not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 11;

/// Rows of inputs in blocks of 32, each with a scale of its own.
#[derive(Debug)]
pub(super) struct Activations {
    blocks_of_row: usize,
    blocks: Vec<ActivationBlock>,
}

/// Thirty-two inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ActivationBlock {
    /// The codes, four signed bytes to a word, the first in the lowest byte.
    pub(super) codes: [i32; BLOCK / 4],
    pub(super) scale: f32,
    /// Sums of the codes of the first and the second half.
    pub(super) sums: [i32; 2],
}

impl Activations {
    /// Quantises rows of `columns` values, a multiple of 32.
    pub(super) fn quantise(isa: Isa, values: &[f32], columns: usize) -> Self {
        let mut blocks = vec![ActivationBlock::default(); values.len() / BLOCK];
        let blocks_of_row = columns / BLOCK;
        if blocks.len() < PARALLEL_FROM {
            quantise_blocks(isa, values, &mut blocks);
        } else {
            let rows = blocks.par_chunks_mut(blocks_of_row).zip(values.par_chunks(columns));
            rows.for_each(|(blocks, values)| quantise_blocks(isa, values, blocks));
        }
        Self { blocks_of_row, blocks }
    }

    pub(super) fn row(&self, row: usize) -> &[ActivationBlock] {
        &self.blocks[row * self.blocks_of_row..][..self.blocks_of_row]
    }
}

fn quantise_blocks(isa: Isa, values: &[f32], blocks: &mut [ActivationBlock]) {
    match isa {
        // SAFETY: these instruction sets are chosen only where the processor has their features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { avx512(values, blocks) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(values, blocks) },
        _ => plain(values, blocks),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn avx512(values: &[f32], blocks: &mut [ActivationBlock]) {
    plain(values, blocks);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(values: &[f32], blocks: &mut [ActivationBlock]) {
    plain(values, blocks);
}

#[inline(always)]
fn plain(values: &[f32], blocks: &mut [ActivationBlock]) {
    for (block, values) in blocks.iter_mut().zip(values.as_chunks::<BLOCK>().0) {
        *block = ActivationBlock::quantise(values);
    }
}

impl ActivationBlock {
    #[inline(always)]
    fn quantise(values: &[f32; BLOCK]) -> Self {
        let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        // Numbers that are none must reach the result, where they are found, instead of becoming a code.
        let poison: f32 = values.iter().map(|value| value * 0.0).sum();
        if largest == 0.0 && poison == 0.0 {
            return Self::default();
        }
        let scale = largest / 127.0 + poison;
        let factor = 127.0 / largest;
        let mut codes = [0i8; BLOCK];
        for (code, value) in codes.iter_mut().zip(values) {
            // Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even; numbers that are none become 0.
            *code = (value * factor + 12_582_912.0 - 12_582_912.0) as i8;
        }
        let sum = |codes: &[i8]| codes.iter().map(|&code| i32::from(code)).sum();
        let (first, second) = codes.split_at(BLOCK / 2);
        let sums = [sum(first), sum(second)];
        let words = codes.as_chunks::<4>().0;
        let codes = std::array::from_fn(|word| i32::from_le_bytes(words[word].map(i8::cast_unsigned)));
        Self { codes, scale, sums }
    }
}
