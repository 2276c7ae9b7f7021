//! The kernel for NEON with integer dot products: a tile is four quarters of four rows.
#![expect(
    unsafe_code,
    reason = "loads of whole registers from references, and an instruction that has no stable function"
)]

use super::activations::ActivationBlock;
use super::form::Form;
use super::pack::{GROUPS, Line, Scales, TILE, Tile};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics; in a test build the lint is silent")]
use std::arch::aarch64::*;
use std::arch::asm;

/// Rows that share a register: a word of sums, or four bytes of codes, for each.
const QUARTER: usize = 4;
const QUARTERS: usize = TILE / QUARTER;
/// Groups in half a block: a register of inputs.
const HALF: usize = GROUPS / 2;

/// Outputs of one tile for a panel of `ROWS` rows of inputs; `FORM` is a [`Form`] as a number.
///
/// Lines are read once, from front to back, and their codes stay in registers. Sums do not: each is loaded and stored once
/// for twelve instructions that compute.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn tile_rows<const FORM: u8, const ROWS: usize>(
    tile: Tile<'_>,
    panel: &[ActivationBlock],
) -> [[f32; TILE]; ROWS] {
    let form = const { Form::ALL[FORM as usize] };
    let mut sums = [[vdupq_n_f32(0.0); ROWS]; QUARTERS];
    for (block, inputs) in panel.as_chunks::<ROWS>().0.iter().enumerate() {
        let block = tile.block(form, block);
        // What `unpack` takes off codes of eight bits, it takes off their products with all inputs.
        let mut starts = [0; ROWS];
        if form.bits() == 8 {
            for (start, input) in starts.iter_mut().zip(inputs) {
                *start = form.offset() * code_sum(input);
            }
        }
        for (quarter, sums) in sums.iter_mut().enumerate() {
            let codes = unpack(form, block.codes, quarter);
            if form == Form::Q6_K {
                let scale = halves(block.scales.scales(form), quarter);
                for half in 0..2 {
                    let scale = vmulq_f32(scale, signed(block.scales.steps(form, half), quarter));
                    let base = vmulq_n_f32(scale, -form.offset() as f32);
                    for (input, sum) in inputs.iter().zip(&mut *sums) {
                        let whole = dot(vdupq_n_s32(0), codes[half], words(input, half));
                        *sum = vfmaq_f32(*sum, vcvtq_f32_s32(whole), vmulq_n_f32(scale, input.scale));
                        *sum = vfmaq_n_f32(*sum, base, input.half_sums[half]);
                    }
                }
            } else {
                let (scale, base) = scales(form, block.scales, quarter);
                for ((input, start), sum) in inputs.iter().zip(starts).zip(sums) {
                    let start = if form.bits() == 8 { vdupq_n_s32(start) } else { vdupq_n_s32(0) };
                    let whole = dot(start, codes[0], words(input, 0));
                    let whole = dot(whole, codes[1], words(input, 1));
                    *sum = vfmaq_f32(*sum, vcvtq_f32_s32(whole), vmulq_n_f32(scale, input.scale));
                    *sum = vfmaq_n_f32(*sum, base, input.sum);
                }
            }
        }
    }
    let mut out = [[0.0; TILE]; ROWS];
    for (quarter, sums) in sums.iter().enumerate() {
        for (out, &sum) in out.iter_mut().zip(sums) {
            let out = &mut out.as_chunks_mut::<QUARTER>().0[quarter];
            // SAFETY: the quarter of the outputs has room for a register of four floats; the store needs no alignment.
            unsafe { vst1q_f32(out.as_mut_ptr(), sum) };
        }
    }
    out
}

/// `sums`, and to each the dot product of four words of its row's codes with as many of the inputs.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot(sums: int32x4_t, codes: [int8x16_t; HALF], inputs: int8x16_t) -> int32x4_t {
    let sums = dot_word::<0>(sums, codes[0], inputs);
    let sums = dot_word::<1>(sums, codes[1], inputs);
    let sums = dot_word::<2>(sums, codes[2], inputs);
    dot_word::<3>(sums, codes[3], inputs)
}

/// `sums`, and to each the dot product of its word of codes with the inputs' word at `WORD`: `vdotq_laneq_s32`, which Rust
/// 1.95 does not have on its stable channel.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn dot_word<const WORD: usize>(mut sums: int32x4_t, codes: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    // SAFETY: the features of this function contain the instruction, and it touches nothing but the three registers.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {codes:v}.16b, {inputs:v}.4b[{word}]",
            sums = inout(vreg) sums,
            codes = in(vreg) codes,
            inputs = in(vreg) inputs,
            word = const WORD,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The sum of a block's inputs.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn code_sum(input: &ActivationBlock) -> i32 {
    let ones = vdupq_n_s8(1);
    let sums = dot_word::<0>(vdupq_n_s32(0), words(input, 0), ones);
    vaddvq_s32(dot_word::<0>(sums, words(input, 1), ones))
}

/// The codes of a quarter, a register for each group, by halves of the block. All are signed: those of eight bits without
/// their offset, the others because they are small.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn unpack(form: Form, lines: &[Line], quarter: usize) -> [[int8x16_t; HALF]; 2] {
    let mut codes = [[vdupq_n_s8(0); HALF]; 2];
    for group in 0..GROUPS {
        let (half, place) = (group / HALF, group % HALF);
        let code = if form.bits() == 8 {
            veorq_u8(load(&lines[group], quarter), vdupq_n_u8(128))
        } else {
            let pair = load(&lines[place], quarter);
            let low = if half == 0 { vandq_u8(pair, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(pair) };
            match form.bits() {
                5 => or_masked(low, load(&lines[HALF], quarter), 4 - group as i8, 16),
                6 => or_masked(low, load(&lines[HALF + half], quarter), 4 - 2 * place as i8, 48),
                _ => low,
            }
        };
        codes[half][place] = vreinterpretq_s8_u8(code);
    }
    codes
}

/// `low`, and those bits of `high` that are in the mask after a shift: to the right where it is negative.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn or_masked(low: uint8x16_t, high: uint8x16_t, shift: i8, mask: u8) -> uint8x16_t {
    vorrq_u8(low, vandq_u8(vshlq_u8(high, vdupq_n_s8(shift)), vdupq_n_u8(mask)))
}

/// Scale and base of a block, for types whose blocks have one scale.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn scales(form: Form, of: Scales<'_>, quarter: usize) -> (float32x4_t, float32x4_t) {
    if !form.is_super() {
        let scale = halves(of.scales(form), quarter);
        let base =
            if form.has_minimum() { halves(of.minima(), quarter) } else { vmulq_n_f32(scale, -form.offset() as f32) };
        return (scale, base);
    }
    let scale = vmulq_f32(halves(of.scales(form), quarter), unsigned(of.steps(form, 0), quarter));
    let minimum = vmulq_f32(halves(of.minima(), quarter), unsigned(of.minimum_steps(), quarter));
    (scale, vnegq_f32(minimum))
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn load(line: &Line, quarter: usize) -> uint8x16_t {
    let quarter = &line.0.as_chunks::<16>().0[quarter];
    // SAFETY: the quarter of a line is 16 bytes; the load needs no alignment.
    unsafe { vld1q_u8(quarter.as_ptr()) }
}

/// Half of a block's inputs.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn words(input: &ActivationBlock, half: usize) -> int8x16_t {
    let words = &input.codes.as_chunks::<HALF>().0[half];
    // SAFETY: four words are 16 bytes; the load needs no alignment.
    vreinterpretq_s8_s32(unsafe { vld1q_s32(words.as_ptr()) })
}

/// Half-precision numbers as single-precision ones.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn halves(bits: &[u8; 2 * TILE], quarter: usize) -> float32x4_t {
    let bits = &bits.as_chunks::<{ 2 * QUARTER }>().0[quarter];
    // SAFETY: four halves are 8 bytes; the load needs no alignment.
    vcvt_f32_f16(vreinterpret_f16_u8(unsafe { vld1_u8(bits.as_ptr()) }))
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn unsigned(bytes: &[u8; TILE], quarter: usize) -> float32x4_t {
    vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four(bytes, quarter)))))
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn signed(bytes: &[u8; TILE], quarter: usize) -> float32x4_t {
    vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four(bytes, quarter))))))
}

/// Four bytes, twice.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn four(bytes: &[u8; TILE], quarter: usize) -> uint8x8_t {
    vreinterpret_u8_u32(vdup_n_u32(u32::from_le_bytes(bytes.as_chunks::<QUARTER>().0[quarter])))
}
