//! The kernel for AVX2: a tile is two halves of eight rows.
#![expect(unsafe_code, reason = "loads of whole registers from references")]

use super::activations::ActivationBlock;
use super::form::Form;
use super::pack::{GROUPS, Line, Scales, TILE, Tile};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics; in a test build the lint is silent")]
use std::arch::x86_64::*;

const HALF: usize = TILE / 2;

/// Outputs of one tile for one row of a panel of inputs.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile_row(
    form: Form,
    tile: Tile<'_>,
    panel: &[ActivationBlock],
    row: usize,
    panel_rows: usize,
) -> [f32; TILE] {
    let mut out = [0.0; TILE];
    for (half, out) in out.chunks_exact_mut(HALF).enumerate() {
        let mut sum = _mm256_setzero_ps();
        for (block, inputs) in panel.chunks_exact(panel_rows).enumerate() {
            let input = &inputs[row];
            let block = tile.block(form, block);
            let lines = block.codes;
            let scale = _mm256_set1_ps(input.scale);
            if form == Form::Q6_K {
                let shared = halves(block.scales.scales(form), half);
                for part in 0..2 {
                    let weight = _mm256_mul_ps(shared, bytes(block.scales.steps(form, part), half, true));
                    let base = _mm256_mul_ps(weight, _mm256_set1_ps(-form.offset() as f32));
                    let whole = dot(form, lines, half, &input.codes, 4 * part..4 * part + 4);
                    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(weight, scale), sum);
                    sum = _mm256_fmadd_ps(base, _mm256_set1_ps(input.half_sums[part]), sum);
                }
            } else {
                let (weight, base) = scales(form, block.scales, half);
                let whole = dot(form, lines, half, &input.codes, 0..GROUPS);
                sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(weight, scale), sum);
                sum = _mm256_fmadd_ps(base, _mm256_set1_ps(input.sum), sum);
            }
        }
        // SAFETY: the half of the outputs has room for a register of eight floats.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
    }
    out
}

/// Dot products of eight rows with some words of input.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn dot(form: Form, lines: &[Line], half: usize, inputs: &[i32; GROUPS], groups: std::ops::Range<usize>) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    for group in groups {
        let input = _mm256_set1_epi32(inputs[group]);
        let codes = group_codes(form, lines, half, group);
        if form.bits() == 8 {
            // Two products of unsigned and signed bytes may not fit sixteen bits; with the lowest bits apart they do.
            let low = _mm256_and_si256(codes, _mm256_set1_epi8(1));
            let high = _mm256_and_si256(_mm256_srli_epi16::<1>(codes), _mm256_set1_epi8(127));
            let high = _mm256_madd_epi16(_mm256_maddubs_epi16(high, input), ones);
            let low = _mm256_madd_epi16(_mm256_maddubs_epi16(low, input), ones);
            sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_add_epi32(high, high), low));
        } else {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, input), ones));
        }
    }
    sum
}

/// The codes of one group of eight rows.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn group_codes(form: Form, lines: &[Line], half: usize, group: usize) -> __m256i {
    if form.bits() == 8 {
        return load(&lines[group], half);
    }
    let pair = load(&lines[group % 4], half);
    let pair = if group < 4 { pair } else { _mm256_srli_epi16::<4>(pair) };
    let low = _mm256_and_si256(pair, _mm256_set1_epi8(15));
    // Shifts of words move bits across bytes too; the masks keep those that stayed in theirs.
    let high = match form.bits() {
        5 => {
            let bits = load(&lines[4], half);
            let bits = _mm256_srl_epi16(bits, _mm_cvtsi32_si128(group as i32));
            _mm256_slli_epi16::<4>(_mm256_and_si256(bits, _mm256_set1_epi8(1)))
        }
        6 => {
            let bits = load(&lines[4 + group / 4], half);
            let bits = _mm256_srl_epi16(bits, _mm_cvtsi32_si128(2 * (group % 4) as i32));
            _mm256_slli_epi16::<4>(_mm256_and_si256(bits, _mm256_set1_epi8(3)))
        }
        _ => _mm256_setzero_si256(),
    };
    _mm256_or_si256(low, high)
}

/// Scale and base of a block, for types whose blocks have one scale.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn scales(form: Form, of: Scales<'_>, half: usize) -> (__m256, __m256) {
    if !form.is_super() {
        let scale = halves(of.scales(form), half);
        let offset = _mm256_set1_ps(-form.offset() as f32);
        let base = if form.has_minimum() { halves(of.minima(), half) } else { _mm256_mul_ps(scale, offset) };
        return (scale, base);
    }
    let scale = _mm256_mul_ps(halves(of.scales(form), half), bytes(of.steps(form, 0), half, false));
    let minimum = _mm256_mul_ps(halves(of.minima(), half), bytes(of.minimum_steps(), half, false));
    (scale, _mm256_sub_ps(_mm256_set1_ps(-0.0), minimum))
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn load(line: &Line, half: usize) -> __m256i {
    let half = &line.0.as_chunks::<32>().0[half];
    // SAFETY: the half of a line is 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}

/// Half-precision numbers as single-precision ones.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn halves(bits: &[u8; 2 * TILE], half: usize) -> __m256 {
    let bits = &bits.as_chunks::<{ 2 * HALF }>().0[half];
    // SAFETY: eight halves are 16 bytes; the load needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bits.as_ptr().cast()) })
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn bytes(bytes: &[u8; TILE], half: usize, signed: bool) -> __m256 {
    let bytes = &bytes.as_chunks::<HALF>().0[half];
    // SAFETY: the half is 8 bytes, of which the load takes all; it needs no alignment.
    let bytes = unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) };
    _mm256_cvtepi32_ps(if signed { _mm256_cvtepi8_epi32(bytes) } else { _mm256_cvtepu8_epi32(bytes) })
}
