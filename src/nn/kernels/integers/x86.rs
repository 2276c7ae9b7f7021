//! The kernels for AVX-512 with integer dot products and for AVX2.

use super::{Line, PAIRS, ROWS, TILE};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics; in a test build the lint is silent")]
use std::arch::x86_64::*;

/// Repeats a body for each row as text: a loop over registers would keep them in memory.
macro_rules! each_row {
    ($row:ident, $body:block) => {
        each_row!(@ $row, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $row:ident, $body:block, $($number:literal)*) => {
        $({
            const fn number() -> usize { $number }
            let $row = number();
            $body
        })*
    };
}

/// A line is two registers.
const HALF: usize = TILE / 2;
/// A line is four registers.
const QUARTER: usize = TILE / 4;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn avx512(tile: &[Line], panel: &[[i32; ROWS]]) -> [[f32; TILE]; ROWS] {
    let mut out = [[0.0; TILE]; ROWS];
    for (tile, panel) in tile.chunks(PAIRS + 1).zip(panel.chunks(PAIRS + 1)) {
        let (Some((scales, codes)), Some((row_scales, inputs))) = (tile.split_first(), panel.split_first()) else {
            break;
        };
        let (mut first, mut second) = ([_mm512_setzero_si512(); ROWS], [_mm512_setzero_si512(); ROWS]);
        for (codes, inputs) in codes.iter().zip(inputs) {
            let (a, b) = (sixteen(&codes.0, 0), sixteen(&codes.0, HALF));
            each_row!(row, {
                let input = _mm512_set1_epi32(inputs[row]);
                first[row] = _mm512_dpwssd_epi32(first[row], a, input);
                second[row] = _mm512_dpwssd_epi32(second[row], b, input);
            });
        }
        let (a, b) = (_mm512_castsi512_ps(sixteen(&scales.0, 0)), _mm512_castsi512_ps(sixteen(&scales.0, HALF)));
        each_row!(row, {
            let scale = _mm512_castsi512_ps(_mm512_set1_epi32(row_scales[row]));
            let (left, right) = out[row].split_at_mut(HALF);
            for (out, sum, weight) in [(left, first[row], a), (right, second[row], b)] {
                // SAFETY: the half of a row of outputs is sixteen floats.
                let before = unsafe { _mm512_loadu_ps(out.as_ptr()) };
                let after = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(weight, scale), before);
                // SAFETY: as above.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), after) };
            }
        });
    }
    out
}

/// Sixteen words of a line.
#[target_feature(enable = "avx512f")]
#[inline]
fn sixteen(words: &[i32; TILE], from: usize) -> __m512i {
    // SAFETY: the slice is checked to hold sixteen words.
    unsafe { _mm512_loadu_si512(words[from..from + HALF].as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn avx2(tile: &[Line], panel: &[[i32; ROWS]]) -> [[f32; TILE]; ROWS] {
    /// Rows at once: their sums and a line of codes fit the sixteen registers.
    const TOGETHER: usize = 2;
    let mut out = [[0.0; TILE]; ROWS];
    for (tile, panel) in tile.chunks(PAIRS + 1).zip(panel.chunks(PAIRS + 1)) {
        let (Some((scales, codes)), Some((row_scales, inputs))) = (tile.split_first(), panel.split_first()) else {
            break;
        };
        for (row, out) in out.chunks_exact_mut(TOGETHER).enumerate() {
            let row = row * TOGETHER;
            let (mut first, mut second) = ([_mm256_setzero_si256(); 4], [_mm256_setzero_si256(); 4]);
            for (codes, inputs) in codes.iter().zip(inputs) {
                let (a, b) = (_mm256_set1_epi32(inputs[row]), _mm256_set1_epi32(inputs[row + 1]));
                for ((first, second), part) in first.iter_mut().zip(&mut second).zip(0..4) {
                    let codes = eight(&codes.0, part * QUARTER);
                    *first = _mm256_add_epi32(*first, _mm256_madd_epi16(codes, a));
                    *second = _mm256_add_epi32(*second, _mm256_madd_epi16(codes, b));
                }
            }
            for ((out, sums), scale) in out.iter_mut().zip([first, second]).zip(&row_scales[row..]) {
                let scale = _mm256_castsi256_ps(_mm256_set1_epi32(*scale));
                for (part, (out, sum)) in out.chunks_exact_mut(QUARTER).zip(sums).enumerate() {
                    let weight = _mm256_castsi256_ps(eight(&scales.0, part * QUARTER));
                    // SAFETY: a quarter of a row of outputs is eight floats.
                    let before = unsafe { _mm256_loadu_ps(out.as_ptr()) };
                    let after = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(weight, scale), before);
                    // SAFETY: as above.
                    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), after) };
                }
            }
        }
    }
    out
}

/// Eight words of a line.
#[target_feature(enable = "avx2")]
#[inline]
fn eight(words: &[i32; TILE], from: usize) -> __m256i {
    // SAFETY: the slice is checked to hold eight words.
    unsafe { _mm256_loadu_si256(words[from..from + QUARTER].as_ptr().cast()) }
}
