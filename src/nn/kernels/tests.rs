//! Every kernel against the scalar one, bit for bit, and the packing against candle's reader.

use super::activations::{ActivationBlock, Activations};
use super::form::BLOCK;
use super::pack::{TILE, Tile};
use super::*;
use candle_core::Device;
use candle_core::quantized::{QStorage, QTensor};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::borrow::Cow;
use std::sync::Arc;

/// A scale as files have them.
fn usual(random: &mut StdRng) -> half::f16 {
    half::f16::from_f32(random.random_range(-0.1f32..0.1))
}

/// Any scale that is a number, the least and the largest among them.
fn extreme(random: &mut StdRng) -> half::f16 {
    match random.random_range(0..6) {
        0 => half::f16::from_bits(random.random_range(0..2) << 15),
        1 => half::f16::from_bits(random.random_range(1..0x400) | random.random_range(0..2) << 15),
        2 => [half::f16::MAX, half::f16::MIN][random.random_range(0..2)],
        3 => half::f16::from_f32(random.random_range(-65504.0f32..65504.0)),
        _ => usual(random),
    }
}

/// The file's bytes of a random matrix, and its weights as candle reads them.
fn matrix(
    form: Form,
    rows: usize,
    columns: usize,
    random: &mut StdRng,
    scale: fn(&mut StdRng) -> half::f16,
) -> (Vec<u8>, Vec<f32>) {
    let units = rows * columns / form.unit();
    let mut bytes = Vec::new();
    for _ in 0..units {
        let mut unit: Vec<u8> = (0..form.unit_bytes()).map(|_| random.random()).collect();
        for &at in places_of_halves(form) {
            unit[at..at + 2].copy_from_slice(&scale(random).to_le_bytes());
        }
        bytes.extend(unit);
    }
    let storage = QStorage::from_data(Cow::Owned(bytes.clone()), &Device::Cpu, form.kind()).expect("storage");
    let tensor = QTensor::new(storage, (rows, columns)).expect("tensor");
    let values = tensor.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()?.to_vec1()).expect("values");
    (bytes, values)
}

/// Where the scale and the minimum lie in a unit, which must be numbers: at the start, in Q6_K at the end.
fn places_of_halves(form: Form) -> &'static [usize] {
    match form {
        Form::Q4_0 | Form::Q5_0 | Form::Q8_0 => &[0],
        Form::Q6_K => &[208],
        _ => &[0, 2],
    }
}

fn pack(form: Form, rows: usize, columns: usize, bytes: &[u8]) -> Packed {
    let row_bytes = columns / form.unit() * form.unit_bytes();
    Packed::new(form, rows, columns, |range| Ok(bytes[range.start * row_bytes..range.end * row_bytes].to_vec()))
        .expect("packed")
}

fn inputs(rows: usize, columns: usize, random: &mut StdRng) -> Vec<f32> {
    (0..rows * columns)
        .map(|_| match random.random_range(0..40) {
            0 => 0.0,
            1 => random.random_range(-300.0..300.0),
            _ => random.random_range(-1.0..1.0),
        })
        .collect()
}

/// Outputs of one tile for one row of a panel of inputs, one number after the other: it says what the kernels compute.
fn scalar_row(form: Form, tile: Tile<'_>, panel: &[ActivationBlock], row: usize, panel_rows: usize) -> [f32; TILE] {
    std::array::from_fn(|lane| {
        let mut sum = 0.0f32;
        for (block, inputs) in panel.chunks_exact(panel_rows).enumerate() {
            let input = &inputs[row];
            let block = tile.block(form, block);
            let (codes, scales) = (block.codes_of(form, lane), block.scales.of(form, lane));
            let dot = |range: std::ops::Range<usize>| -> i32 {
                range
                    .map(|i| i32::from(codes[i]) * i32::from(input.codes[i / 4].to_le_bytes()[i % 4].cast_signed()))
                    .sum()
            };
            if form == Form::Q6_K {
                for (half, range) in [(0, 0..BLOCK / 2), (1, BLOCK / 2..BLOCK)] {
                    sum = (dot(range) as f32).mul_add(scales.scales[half] * input.scale, sum);
                    sum = scales.base[half].mul_add(input.half_sums[half], sum);
                }
            } else {
                sum = (dot(0..BLOCK) as f32).mul_add(scales.scales[0] * input.scale, sum);
                sum = scales.base[0].mul_add(input.sum, sum);
            }
        }
        sum
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_plain_kernel_equals_one_number_after_the_other(seed in any::<u64>(), blocks in 1usize..4, form in 0usize..8) {
        let mut random = StdRng::seed_from_u64(seed);
        let form = Form::ALL[form];
        let columns = blocks * form.unit();
        let (bytes, _) = matrix(form, 16, columns, &mut random, extreme);
        let packed = pack(form, 16, columns, &bytes);
        let x = inputs(8, columns, &mut random);
        let quantised = Activations::quantise(Isa::Portable, &x, columns);
        let found = portable::tile_rows::<8>(form, packed.tile(0), quantised.panel(0));
        for (row, found) in found.iter().enumerate() {
            let expected = scalar_row(form, packed.tile(0), quantised.panel(0), row, 8);
            prop_assert_eq!(found.map(f32::to_bits), expected.map(f32::to_bits), "{:?}", form);
        }
    }
}

#[test]
fn packed_rows_are_the_weights_of_the_file() {
    let mut random = StdRng::seed_from_u64(3);
    for form in Form::ALL {
        let (rows, columns) = (37, 512);
        let (bytes, values) = matrix(form, rows, columns, &mut random, usual);
        let packed = pack(form, rows, columns, &bytes);
        for (index, expected) in values.chunks(columns).enumerate() {
            let mut row = vec![0.0; columns];
            packed.row(index, &mut row);
            for (found, expected) in row.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-6 * expected.abs().max(1e-2),
                    "{form:?}: {found} for {expected}"
                );
            }
        }
        // The codes and scales take what they take in the file, but for the K types' six-bit steps, which become bytes.
        let whole = rows.next_multiple_of(16) * (bytes.len() / rows);
        assert!(packed.bytes() as f64 <= whole as f64 * 1.03, "{form:?}: {} bytes for {whole}", packed.bytes());
    }
}

#[test]
fn products_are_those_of_the_weights_to_within_the_rounding_of_the_inputs() {
    let mut random = StdRng::seed_from_u64(4);
    for form in Form::ALL {
        let (rows, columns, count) = (50, 768, 5);
        let (bytes, weights) = matrix(form, rows, columns, &mut random, usual);
        let x: Vec<f32> = (0..count * columns).map(|_| random.random_range(-1.0f32..1.0)).collect();
        let out = multiply(Isa::best(), &x, &[Matrix::Quantised(pack(form, rows, columns, &bytes))]);
        for (x, out) in x.chunks(columns).zip(out.chunks(rows)) {
            for (weights, out) in weights.chunks(columns).zip(out) {
                let exact: f64 = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                let step: f64 = weights.iter().map(|w| (f64::from(*w) / 254.0).powi(2)).sum();
                assert!((exact - f64::from(*out)).abs() <= 4.0 * step.sqrt() + 1e-3, "{form:?}: {out} for {exact}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_kernel_equals_the_scalar_one_bit_for_bit(
        seed in any::<u64>(), rows in 1usize..100, blocks in 1usize..8, count in 1usize..30, form in 0usize..8
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let form = Form::ALL[form];
        let columns = blocks * form.unit();
        let (bytes, _) = matrix(form, rows, columns, &mut random, extreme);
        let (more, _) = matrix(Form::Q8_0, 21, columns, &mut random, extreme);
        let floats = inputs(19, columns, &mut random);
        let matrices = [
            Matrix::Quantised(pack(form, rows, columns, &bytes)),
            Matrix::Float(Floats::new(19, columns, |range| Ok(floats[range.start * columns..range.end * columns].to_vec())).unwrap()),
            Matrix::Quantised(pack(Form::Q8_0, 21, columns, &more)),
        ];
        let x = inputs(count, columns, &mut random);
        let expected = multiply(Isa::Portable, &x, &matrices);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for isa in Isa::available() {
            prop_assert_eq!(bits(&multiply(isa, &x, &matrices)), bits(&expected), "{:?} {:?}", form, isa);
        }
        // Single precision against one number after the other.
        for (x, out) in x.chunks(columns).zip(expected.chunks(rows + 19 + 21)) {
            let scalar = |row: &[f32]| row.iter().zip(x).fold(0.0f32, |sum, (weight, input)| weight.mul_add(*input, sum));
            let scalar: Vec<f32> = floats.chunks(columns).map(scalar).collect();
            prop_assert_eq!(bits(&out[rows..rows + 19]), bits(&scalar));
        }
        // A row alone gives what it gives among others.
        let alone = multiply(Isa::best(), &x[..columns], &matrices);
        prop_assert_eq!(bits(&alone), bits(&expected[..rows + 19 + 21]));
        let row = |matrix: &Matrix| { let mut row = vec![0.0; columns]; matrix.row(7, &mut row); row };
        prop_assert_eq!(row(&matrices[1]), &floats[7 * columns..8 * columns]);
    }

    #[test]
    fn inputs_keep_seven_bits_and_their_sums(values in proptest::collection::vec(-1e4f32..1e4, 64)) {
        let quantised = Activations::quantise(Isa::best(), &values, 64);
        for (block, values) in quantised.panel(0).iter().zip(values.chunks(32)) {
            let codes: Vec<i32> = block.codes.iter().flat_map(|word| word.to_le_bytes()).map(|b| i32::from(b.cast_signed())).collect();
            let sum = |codes: &[i32]| block.scale * codes.iter().sum::<i32>() as f32;
            prop_assert_eq!((block.half_sums, block.sum), ([sum(&codes[..16]), sum(&codes[16..])], sum(&codes)));
            for (code, value) in codes.iter().zip(values) {
                prop_assert!((*code as f32 * block.scale - value).abs() <= block.scale * 0.5001);
            }
        }
    }
}

#[test]
fn the_largest_codes_and_inputs_overflow_on_no_kernel() {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for form in Form::ALL {
        for byte in [0x00, 0x7F, 0x80, 0xFF] {
            let columns = 2 * form.unit();
            let mut unit = vec![byte; form.unit_bytes()];
            for &at in places_of_halves(form) {
                unit[at..at + 2].copy_from_slice(&half::f16::from_f32(-0.07).to_le_bytes());
            }
            let packed = pack(form, TILE, columns, &unit.repeat(TILE * 2));
            // All inputs become 127 or -127.
            let sign = |row: usize, column: usize| match row % 3 {
                0 => 1.0,
                1 => -1.0,
                _ => [1.0, -1.0][column % 2],
            };
            let x: Vec<f32> = (0..8 * columns).map(|i| sign(i / columns, i % columns)).collect();
            let quantised = Activations::quantise(Isa::Portable, &x, columns);
            let expected: Vec<f32> =
                (0..8).flat_map(|row| scalar_row(form, packed.tile(0), quantised.panel(0), row, 8)).collect();
            let matrices = [Matrix::Quantised(packed)];
            for isa in Isa::available() {
                for rows in [1, 2, 4, 8] {
                    let found = multiply(isa, &x[..rows * columns], &matrices);
                    assert_eq!(bits(&found), bits(&expected[..rows * TILE]), "{form:?} {byte:#x} {isa:?} {rows} rows");
                }
            }
        }
    }
}

#[test]
fn inputs_that_are_no_numbers_are_not_hidden() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = vec![1.0; 64];
        x[40] = bad;
        let quantised = Activations::quantise(Isa::best(), &x, 64);
        assert!(quantised.panel(0)[1].scale.is_nan() && quantised.panel(0)[0].scale.is_finite());
    }
}

#[test]
fn attention_is_the_same_on_every_instruction_set_alone_and_in_a_block() {
    let mut random = StdRng::seed_from_u64(5);
    for (heads, kv_heads, head_dim, window, softcap) in [
        (6, 2, 64, None, None),
        (4, 1, 96, Some(20), None),
        (3, 3, 40, None, Some(3.0)),
        (14, 2, 16, Some(7), Some(9.0)),
    ] {
        let shape = PageShape { layers: 2, kv_heads, head_dim };
        let mut numbers = |count: usize| (0..count).map(|_| random.random_range(-2.0f32..2.0)).collect::<Vec<_>>();
        // Two sequences, of more and of less than a page.
        let sequences = [(PAGE + 37, 21), (3, 2)].map(|(position, rows)| {
            let mut pages: Vec<Page> = (0..2).map(|_| Page::new(shape)).collect();
            for place in 0..position + rows {
                for head in 0..kv_heads {
                    pages[place / PAGE].write(1, head, place % PAGE, &numbers(head_dim), &numbers(head_dim));
                }
            }
            let sight = Sight { rows, position, window, softcap };
            (pages.into_iter().map(Arc::new).collect::<Vec<_>>(), sight, numbers(heads * rows * head_dim))
        });
        let both: Vec<Rows<'_>> = sequences.iter().map(|(pages, sight, _)| Rows { pages, sight: *sight }).collect();
        let queries: Vec<f32> = sequences.iter().flat_map(|one| one.2.clone()).collect();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let expected = attend(Isa::Portable, shape, 1, &both, &queries, heads);
        let width = heads * head_dim;
        for isa in Isa::available() {
            assert_eq!(bits(&attend(isa, shape, 1, &both, &queries, heads)), bits(&expected), "{isa:?} {head_dim}");
            let mut expected = expected.chunks(width);
            for (pages, sight, queries) in &sequences {
                for row in 0..sight.rows {
                    let of_head = |head: &[f32]| head[row * head_dim..][..head_dim].to_vec();
                    let query: Vec<f32> = queries.chunks(sight.rows * head_dim).flat_map(of_head).collect();
                    let alone = Rows { pages, sight: Sight { rows: 1, position: sight.position + row, ..*sight } };
                    let found = attend(isa, shape, 1, &[alone], &query, heads);
                    assert_eq!(bits(&found), bits(expected.next().expect("a row")), "{isa:?} {head_dim} row {row}");
                }
            }
        }
    }
}

/// Attention in double precision: the result, and how far single precision may be from it.
fn exact_attention(
    query: &[f32],
    keys: &[Vec<f32>],
    values: &[Vec<f32>],
    seen: std::ops::Range<usize>,
    softcap: Option<f64>,
) -> (Vec<f64>, f64) {
    let product = |a: &[f32], b: &[f32], of: fn(f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(&x, &y)| of(f64::from(x) * f64::from(y))).sum()
    };
    let cap = |score: f64| softcap.map_or(score, |cap| cap * (score / cap).tanh());
    let scores: Vec<f64> = seen.clone().map(|at| cap(product(query, &keys[at], |p| p))).collect();
    // A sum of n products is off by some roundings of the sum of their sizes.
    let slack = seen.clone().map(|at| product(query, &keys[at], f64::abs)).fold(0.0, f64::max) * 2.0f64.powi(-20);
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut result = vec![0.0; query.len()];
    let mut largest = 0.0f64;
    for (weight, at) in weights.iter().zip(seen) {
        for (sum, &value) in result.iter_mut().zip(&values[at]) {
            *sum += weight / total * f64::from(value);
            largest = largest.max(f64::from(value).abs());
        }
    }
    (result, largest * ((2.0 * slack).exp_m1() + 1e-5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn attention_of_any_shape_is_the_scalar_one_in_double_precision(
        kv_heads in 1usize..4,
        group in 1usize..6,
        head_dim in 1usize..140,
        rows in 1usize..12,
        position in 0usize..180,
        window in prop::option::of(1usize..90),
        softcap in prop::option::of(0.5f64..60.0),
        size in prop::sample::select(vec![1e-20f32, 1e-3, 1.0, 3.0, 1e3]),
        seed: u64,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let heads = kv_heads * group;
        let shape = PageShape { layers: 1, kv_heads, head_dim };
        let mut numbers = |count: usize| (0..count).map(|_| random.random_range(-size..size)).collect::<Vec<f32>>();
        let length = position + rows;
        let mut pages: Vec<Page> = (0..length.div_ceil(PAGE)).map(|_| Page::new(shape)).collect();
        let mut cached: Vec<[Vec<Vec<f32>>; 2]> = vec![<[Vec<Vec<f32>>; 2]>::default(); kv_heads];
        for place in 0..length {
            for (head, [keys, values]) in cached.iter_mut().enumerate() {
                let (key, value) = (numbers(head_dim), numbers(head_dim));
                pages[place / PAGE].write(0, head, place % PAGE, &key, &value);
                keys.push(key);
                values.push(value);
            }
        }
        let pages: Vec<Arc<Page>> = pages.into_iter().map(Arc::new).collect();
        let sight = Sight { rows, position, window, softcap };
        let queries = numbers(heads * rows * head_dim);
        for isa in Isa::available() {
            let found = attend(isa, shape, 0, &[Rows { pages: &pages, sight }], &queries, heads);
            for head in 0..heads {
                let [keys, values] = &cached[head / group];
                for row in 0..rows {
                    let query = &queries[(head * rows + row) * head_dim..][..head_dim];
                    let (exact, slack) = exact_attention(query, keys, values, sight.of(row), softcap);
                    let found = &found[(row * heads + head) * head_dim..][..head_dim];
                    for (found, exact) in found.iter().zip(&exact) {
                        prop_assert!((f64::from(*found) - exact).abs() <= slack, "{isa:?}: {found} is not {exact} within {slack}");
                    }
                }
            }
        }
    }
}
