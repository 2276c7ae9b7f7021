//! The kernel for AVX-512 with integer dot products.
#![expect(unsafe_code, reason = "loads of whole registers from references")]

use super::activations::ActivationBlock;
use super::form::Form;
use super::pack::{GROUPS, Line, Scales, TILE, Tile};
#[allow(clippy::wildcard_imports, reason = "dozens of intrinsics; in a test build the lint is silent")]
use std::arch::x86_64::*;

/// Lines to ask memory for before they are needed; into the second cache, which has room for them.
const AHEAD: usize = 32;

/// Repeats a body for each row as text: a loop over registers would keep them in memory.
macro_rules! each_row {
    ($rows:expr, $row:ident, $body:block) => {
        each_row!(@ $rows, $row, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $rows:expr, $row:ident, $body:block, $($number:literal)*) => {
        $(if $rows > $number {
            const fn number() -> usize { $number }
            let $row = number();
            $body
        })*
    };
}

/// Outputs of one tile for a panel of `ROWS` rows of inputs; `FORM` is a [`Form`] as a number. With `ahead` codes are asked
/// for from memory before they are needed, which pays where a tile is used once.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn tile_rows<const FORM: u8, const ROWS: usize>(
    tile: Tile<'_>,
    panel: &[ActivationBlock],
    ahead: bool,
) -> [[f32; TILE]; ROWS] {
    let form = const { form(FORM) };
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (run, inputs) in tile.lines.chunks(form.run_lines()).zip(panel.as_chunks::<ROWS>().0.chunks(form.run())) {
        let (head, codes) = run.split_at(form.head_lines());
        if ahead {
            prefetch(head);
        }
        for (within, (inputs, lines)) in inputs.iter().zip(codes.chunks_exact(form.lines())).enumerate() {
            let of = Scales { head, within };
            if ahead {
                prefetch(lines);
            }
            let codes = unpack(form, lines);
            if matches!(form, Form::Q6_K) {
                let scale = halves(of.scales(form));
                let offset = _mm512_set1_ps(-form.offset() as f32);
                for half in 0..2 {
                    let scale = _mm512_mul_ps(scale, signed(of.steps(form, half)));
                    let base = _mm512_mul_ps(scale, offset);
                    each_row!(ROWS, row, {
                        let input = &inputs[row];
                        let whole = dot::<4, ROWS>(&codes, &input.codes, 4 * half);
                        let factor = _mm512_mul_ps(scale, _mm512_set1_ps(input.scale));
                        let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), factor, sums[row]);
                        sums[row] = _mm512_fmadd_ps(base, _mm512_set1_ps(input.half_sums[half]), sum);
                    });
                }
            } else {
                let (scale, base) = scales(form, of);
                each_row!(ROWS, row, {
                    let input = &inputs[row];
                    let whole = dot::<8, ROWS>(&codes, &input.codes, 0);
                    let factor = _mm512_mul_ps(scale, _mm512_set1_ps(input.scale));
                    let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), factor, sums[row]);
                    sums[row] = _mm512_fmadd_ps(base, _mm512_set1_ps(input.sum), sum);
                });
            }
        }
    }
    sums.map(|sum| {
        let mut out = [0.0; TILE];
        // SAFETY: an array of sixteen floats has room for a register of sixteen floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
        out
    })
}

/// Asks memory for what stands so far behind these lines: the tiles of a matrix follow one another, and the processor's own
/// prefetching stops at the end of each page.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn prefetch(lines: &[Line]) {
    for line in lines {
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).wrapping_add(AHEAD).cast());
    }
}

const fn form(number: u8) -> Form {
    const ALL: [Form; 8] =
        [Form::Q4_0, Form::Q4_1, Form::Q5_0, Form::Q5_1, Form::Q8_0, Form::Q4_K, Form::Q5_K, Form::Q6_K];
    ALL[number as usize]
}

/// Dot products of sixteen rows with `COUNT` words of input. Rows beside each other keep the processor busy; where there
/// are few, two chains do.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn dot<const COUNT: usize, const ROWS: usize>(
    codes: &[__m512i; GROUPS],
    inputs: &[i32; GROUPS],
    from: usize,
) -> __m512i {
    let mut chains = [_mm512_setzero_si512(); 2];
    for group in 0..COUNT {
        let chain = if ROWS > 2 { 0 } else { group % 2 };
        let input = _mm512_set1_epi32(inputs[from + group]);
        chains[chain] = _mm512_dpbusd_epi32(chains[chain], codes[from + group], input);
    }
    if ROWS > 2 { chains[0] } else { _mm512_add_epi32(chains[0], chains[1]) }
}

/// The codes of a block, a register for each group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn unpack(form: Form, lines: &[Line]) -> [__m512i; GROUPS] {
    let mut codes = [_mm512_setzero_si512(); GROUPS];
    if form.bits() == 8 {
        for (code, line) in codes.iter_mut().zip(lines) {
            *code = load(line);
        }
        return codes;
    }
    let low = _mm512_set1_epi8(15);
    for group in 0..GROUPS / 2 {
        let pair = load(&lines[group]);
        codes[group] = _mm512_and_si512(pair, low);
        codes[group + GROUPS / 2] = _mm512_and_si512(_mm512_srli_epi16::<4>(pair), low);
    }
    if form.bits() == 5 {
        let high = load(&lines[4]);
        // Shifts of words move bits across bytes too; the mask keeps those that stayed in theirs.
        let moved = [
            _mm512_slli_epi16::<4>(high),
            _mm512_slli_epi16::<3>(high),
            _mm512_slli_epi16::<2>(high),
            _mm512_slli_epi16::<1>(high),
            high,
            _mm512_srli_epi16::<1>(high),
            _mm512_srli_epi16::<2>(high),
            _mm512_srli_epi16::<3>(high),
        ];
        let bit = _mm512_set1_epi8(16);
        for (code, moved) in codes.iter_mut().zip(moved) {
            *code = or_masked(*code, moved, bit);
        }
    }
    if form.bits() == 6 {
        let bits = _mm512_set1_epi8(48);
        for half in 0..2 {
            let high = load(&lines[4 + half]);
            let moved =
                [_mm512_slli_epi16::<4>(high), _mm512_slli_epi16::<2>(high), high, _mm512_srli_epi16::<2>(high)];
            for (code, moved) in codes[4 * half..].iter_mut().zip(moved) {
                *code = or_masked(*code, moved, bits);
            }
        }
    }
    codes
}

/// `a | (b & mask)` in one instruction.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn or_masked(a: __m512i, b: __m512i, mask: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1111_1000>(a, b, mask)
}

/// Scale and base of a block, for types whose blocks have one scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn scales(form: Form, of: Scales<'_>) -> (__m512, __m512) {
    if !form.is_super() {
        let scale = halves(of.scales(form));
        let offset = _mm512_set1_ps(-form.offset() as f32);
        let base = if form.has_minimum() { halves(of.minima()) } else { _mm512_mul_ps(scale, offset) };
        return (scale, base);
    }
    let scale = _mm512_mul_ps(halves(of.scales(form)), unsigned(of.steps(form, 0)));
    let minimum = _mm512_mul_ps(halves(of.minima()), unsigned(of.minimum_steps()));
    (scale, _mm512_sub_ps(_mm512_set1_ps(-0.0), minimum))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

/// Half-precision numbers as single-precision ones.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn halves(bits: &[u8; 2 * TILE]) -> __m512 {
    // SAFETY: sixteen halves are 32 bytes; the load needs no alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn unsigned(bytes: &[u8; TILE]) -> __m512 {
    // SAFETY: the array is 16 bytes; the load needs no alignment.
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn signed(bytes: &[u8; TILE]) -> __m512 {
    // SAFETY: the array is 16 bytes; the load needs no alignment.
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }))
}
