//! What stands between the multiplications, against scalar formulas and candle.

use super::super::kernels::PageShape;
use super::super::kv::KvShape;
use super::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let count = shape.iter().product::<usize>() as u64;
    let data: Vec<f32> =
        (0..count).map(|i| ((i + seed).wrapping_mul(2_654_435_761) % 2000) as f32 / 250.0 - 4.0).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).expect("tensor")
}

fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    let values = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
    for (x, y) in values(a).into_iter().zip(values(b)) {
        assert!((x - y).abs() <= 1e-5 * (1.0 + y.abs()), "{x} is not {y}");
    }
}

#[test]
fn the_exponential_is_right_to_seven_digits() {
    for step in -8700..=8800 {
        let x = step as f32 / 100.0;
        let exact = f64::from(x).exp();
        assert!((f64::from(exp(x)) - exact).abs() <= 3e-7 * exact, "exp({x})");
    }
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn norms_agree_with_candle() {
    let (x, weight) = (numbers(&[3, 40], 1), numbers(&[40], 9));
    let expected = candle_nn::ops::rms_norm(&x, &weight, 1e-5).expect("norm");
    assert_close(&rms_norm(&x, &weight, 1e-5).expect("norm"), &expected);
}

#[test]
fn gates_agree_with_candle() {
    let x = numbers(&[3, 40], 1);
    let (gate_half, up) = (x.narrow(1, 0, 20).expect("gate"), x.narrow(1, 20, 20).expect("up"));
    let silu = (gate_half.silu().expect("silu") * &up).expect("product");
    assert_close(&gate(&x, Activation::Silu).expect("gated"), &silu);
    let gelu = (gate_half.gelu().expect("gelu") * up).expect("product");
    assert_close(&gate(&x, Activation::GeluTanh).expect("gated"), &gelu);
}

/// A number of the sizes that activations have, or an extreme one.
fn any_size(random: &mut StdRng) -> f32 {
    match random.random_range(0..12) {
        0 => 0.0,
        1 => [-1e15, 1e15, -1e4, 1e4, 88.5, -88.5][random.random_range(0..6)],
        2 => [f32::MIN_POSITIVE, -1e-40][random.random_range(0..2)],
        _ => random.random_range(-6.0f32..6.0),
    }
}

fn assert_near(found: &[f32], exact: &[f64], slack: impl Fn(usize) -> f64, what: &str) {
    assert_eq!(found.len(), exact.len(), "{what}");
    for (at, (&found, &exact)) in found.iter().zip(exact).enumerate() {
        let most = slack(at);
        assert!((f64::from(found) - exact).abs() <= most, "{what}, element {at}: {found} is not {exact} within {most}");
    }
}

/// x over the root of the mean square, times a weight.
fn exact_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    let root = (squares / x.len() as f64 + f64::from(eps)).sqrt();
    x.iter().zip(weight).map(|(&v, &w)| f64::from(v) / root * f64::from(w)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn norms_of_any_length_are_the_scalar_ones_in_double_precision(length in 1usize..300, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut numbers = || (0..length).map(|_| any_size(&mut random)).collect::<Vec<f32>>();
        let (x, weight) = (numbers(), numbers());
        let exact = exact_norm(&x, &weight, 1e-5);
        for isa in Isa::available() {
            let mut found = vec![0.0; length];
            normalise(isa, &x, &weight, 1e-5, &mut found);
            // What is too small for a full mantissa has been rounded before the weight makes it larger.
            let slack = |at: usize| 1e-5 * exact[at].abs() + 3e-45 * f64::from(weight[at].abs()) + 1e-44;
            assert_near(&found, &exact, slack, &format!("{isa:?}"));
        }
    }

    #[test]
    fn gates_of_any_length_are_the_scalar_ones_in_double_precision(length in 1usize..300, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut numbers = || (0..length).map(|_| any_size(&mut random)).collect::<Vec<f32>>();
        let (gate, up) = (numbers(), numbers());
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let exact: Vec<f64> = gate.iter().zip(&up).map(|(&g, &u)| {
                let (g, u) = (f64::from(g), f64::from(u));
                let z = match activation {
                    Activation::Silu => g,
                    Activation::GeluTanh => (8.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g * g * g),
                };
                g / (1.0 + (-z).exp()) * u
            }).collect();
            // The exponential ends at e^88, so that what would vanish leaves that part of its factors.
            let slack = |at: usize| {
                let z = 1.6 * f64::from(gate[at]).abs().min(20.0).powi(3).max(1.0);
                (1e-6 + 2e-7 * z) * exact[at].abs() + 1e-37 * f64::from(gate[at].abs()) * f64::from(up[at].abs()) + 1e-36
            };
            for isa in Isa::available() {
                let mut found = vec![0.0; length];
                gate_row(isa, &gate, &up, activation, &mut found);
                assert_near(&found, &exact, slack, &format!("{isa:?} {activation:?}"));
            }
        }
    }

    #[test]
    fn heads_are_normed_turned_and_scaled_as_the_scalar_formula_says(
        pairs in 1usize..70, more in 0usize..40, interleaved: bool, normed: bool, seed: u64,
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let length = 2 * pairs + more;
        let mut numbers = || (0..length).map(|_| random.random_range(-6.0f32..6.0)).collect::<Vec<f32>>();
        let (head, weight) = (numbers(), numbers());
        let frequencies: Vec<f64> = (0..pairs).map(|_| random.random_range(1e-5..1.0)).collect();
        let positions = [0, 1, random.random_range(2..40_000)];
        let rotation = Rotation::new(&frequencies, 1.25, interleaved, positions);
        let before = if normed { exact_norm(&head, &weight, 1e-6) } else { head.iter().map(|&v| f64::from(v)).collect() };
        let norm = normed.then_some((&weight[..], 1e-6));
        for (row, position) in positions.into_iter().enumerate() {
            let mut exact: Vec<f64> = before.iter().map(|v| v * 0.125).collect();
            for (pair, frequency) in frequencies.iter().enumerate() {
                let (a, b) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + pairs) };
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (x, y) = (0.125 * before[a], 0.125 * before[b]);
                (exact[a], exact[b]) = (1.25 * (x * cos - y * sin), 1.25 * (x * sin + y * cos));
            }
            let largest = before.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            for isa in Isa::available() {
                let mut found = head.clone();
                finish_head(isa, norm, &rotation, row, 0.125, &mut found);
                assert_near(&found, &exact, |_| 1e-6 * largest + 1e-30, &format!("{isa:?} at {position}"));
            }
        }
    }
}

/// What a cache on a device does, on the CPU: the two ways are compared where both can run.
fn composed(qkv: &Tensor, a: &Attention<'_>, earlier: Option<(&Tensor, usize)>) -> Tensor {
    let mut cache = KvCache::of_tensors(KvShape { pages: shape(a), device: Device::Cpu });
    cache.reserve(64).expect("room");
    if let Some((qkv, rows)) = earlier {
        attention_composed(qkv, a, 0, &cache).expect("composed");
        cache.advance(rows);
    }
    let first = earlier.map_or(0, |earlier| earlier.1);
    attention_composed(qkv, a, first, &cache).expect("composed")
}

fn shape(a: &Attention<'_>) -> PageShape {
    PageShape { layers: 1, kv_heads: a.kv_heads, head_dim: a.head_dim }
}

#[test]
fn attention_on_the_cpu_agrees_with_the_composed_one() {
    let weights: Vec<f32> = (0..96).map(|i| 0.5 + (i % 7) as f32 / 7.0).collect();
    for (window, softcap, head_dim, rows, norm, interleaved, turned) in [
        (None, None, 8, 5, false, false, 8),
        (Some(4), None, 32, 5, true, true, 32),
        (None, Some(2.0), 64, 19, true, false, 48),
        (Some(21), Some(2.0), 96, 1, false, true, 96),
    ] {
        let (before, heads, kv_heads) = (26, 6, 2);
        let frequencies: Vec<f64> = (0..turned / 2).map(|i| 1.0 / f64::from(i + 1)).collect();
        let rotation = Rotation::new(&frequencies, 1.25, interleaved, 0..before + rows);
        let rotation = rotation.onto(&Device::Cpu).expect("columns");
        let values = weights[..head_dim].to_vec();
        let tensor = Tensor::new(values.as_slice(), &Device::Cpu).expect("tensor");
        let weights = HeadNorm { values, tensor };
        let norm = norm.then_some(&weights);
        let attend = Attention {
            layer: 0,
            bias: None,
            heads,
            kv_heads,
            head_dim,
            q_norm: norm,
            k_norm: norm,
            norm_eps: 1e-6,
            scale: 0.1,
            rotations: &[rotation],
            rotation: 0,
            step: None,
            window,
            softcap,
        };
        let width = (heads + 2 * kv_heads) * head_dim;
        let (earlier, later) = (numbers(&[before, width], 1), numbers(&[rows, width], 7));
        let expected = composed(&later, &attend, Some((&earlier, before)));
        let mut cache = KvCache::new(KvShape { pages: shape(&attend), device: Device::Cpu });
        cache.reserve(before + rows).expect("room");
        attention(&earlier, &attend, &mut [Part { rows: before, cache: &mut cache }]).expect("attended");
        cache.advance(before);
        let later_rotation = Rotation::new(&frequencies, 1.25, interleaved, before..before + rows);
        let attend = Attention { rotations: &[later_rotation], ..attend };
        let ours = attention(&later, &attend, &mut [Part { rows, cache: &mut cache }]).expect("attended");
        assert_close(&ours, &expected);
    }
}
