//! The steps between matrix multiplications.
//!
//! On the CPU each step is one pass over its data, and on other
//! devices it is composed of candle's operations. A test compares the two. Results of a row never depend on other rows.

use super::config::Activation;
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, DType, InplaceOp1, Layout, Shape, Tensor, bail};
use rayon::prelude::*;

type CandleResult<T> = candle_core::Result<T>;

/// Fewer elements than this are not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 15;

/// Root-mean-square norm of each row.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    if x.device().is_cpu() {
        return Ok(x.apply_op2_no_bwd(weight, &RmsNorm { eps })?);
    }
    Ok(candle_nn::ops::rms_norm(&x.contiguous()?, weight, eps)?)
}

/// `activation(gate) * up` of rows that hold the gate in their first half and the other factor in their second.
pub(crate) fn gate(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    if gate_up.device().is_cpu() {
        return Ok(gate_up.apply_op1_no_bwd(&Gate { activation })?);
    }
    let half = gate_up.dim(D::Minus1)? / 2;
    let gate = gate_up.narrow(D::Minus1, 0, half)?;
    let active = match activation {
        Activation::Silu => gate.silu()?,
        Activation::GeluTanh => gate.gelu()?,
    };
    Ok((active * gate_up.narrow(D::Minus1, half, half)?)?)
}

/// Cosines and sines of a run of positions.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    interleaved: bool,
    pairs: usize,
    /// For each position and pair, cosine then sine.
    turns: Vec<(f32, f32)>,
}

impl Rotation {
    pub(crate) fn new(frequencies: &[f64], magnitude: f64, interleaved: bool, first: usize, positions: usize) -> Self {
        let turns = (first..first + positions)
            .flat_map(|position| {
                frequencies.iter().map(move |frequency| {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    ((cos * magnitude) as f32, (sin * magnitude) as f32)
                })
            })
            .collect();
        Self { interleaved, pairs: frequencies.len(), turns }
    }

    fn turn(&self, position: usize, head: &mut [f32]) {
        let turns = &self.turns[position * self.pairs..][..self.pairs];
        if self.interleaved {
            for (pair, &(cos, sin)) in head.chunks_exact_mut(2).zip(turns) {
                let (a, b) = (pair[0], pair[1]);
                (pair[0], pair[1]) = (a * cos - b * sin, a * sin + b * cos);
            }
        } else {
            let (low, high) = head[..2 * self.pairs].split_at_mut(self.pairs);
            for ((a, b), &(cos, sin)) in low.iter_mut().zip(high).zip(turns) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }

    fn turn_tensor(&self, x: &Tensor) -> Result<Tensor> {
        let (_, positions, head_dim) = x.dims3()?;
        let column = |pick: fn(&(f32, f32)) -> f32| {
            Tensor::from_vec(self.turns.iter().map(pick).collect::<Vec<_>>(), (positions, self.pairs), x.device())
        };
        let (cos, sin) = (column(|t| t.0)?, column(|t| t.1)?);
        let dims = 2 * self.pairs;
        let turned = x.narrow(2, 0, dims)?.contiguous()?.unsqueeze(0)?;
        let rope = if self.interleaved { candle_nn::rotary_emb::rope_i } else { candle_nn::rotary_emb::rope };
        let turned = rope(&turned, &cos, &sin)?.squeeze(0)?;
        Ok(if dims == head_dim { turned } else { Tensor::cat(&[&turned, &x.narrow(2, dims, head_dim - dims)?], 2)? })
    }
}

/// How a group of heads is taken out of the rows of a projection.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    pub(crate) first_column: usize,
    pub(crate) count: usize,
    pub(crate) head_dim: usize,
    pub(crate) norm: Option<(&'a [f32], f32)>,
    pub(crate) rotation: Option<&'a Rotation>,
    pub(crate) scale: f32,
}

/// Takes `[heads, rows, head_dim]` out of `[rows, width]`, normalised, turned and scaled on the way.
pub(crate) fn split_heads(x: &Tensor, heads: &Heads<'_>) -> Result<Tensor> {
    if x.device().is_cpu() { Ok(x.apply_op1_no_bwd(heads)?) } else { split_heads_composed(x, heads) }
}

fn split_heads_composed(x: &Tensor, h: &Heads<'_>) -> Result<Tensor> {
    let rows = x.dim(0)?;
    let mut heads =
        x.narrow(1, h.first_column, h.count * h.head_dim)?.contiguous()?.reshape((rows, h.count, h.head_dim))?;
    if let Some((weight, eps)) = h.norm {
        heads = candle_nn::ops::rms_norm(&heads, &Tensor::new(weight, x.device())?, eps)?;
    }
    heads = heads.transpose(0, 1)?.contiguous()?;
    if let Some(rotation) = h.rotation {
        heads = rotation.turn_tensor(&heads)?;
    }
    Ok(if h.scale == 1.0 { heads } else { (heads * f64::from(h.scale))? })
}

/// `[rows, heads * head_dim]` from `[heads, rows, head_dim]`.
pub(crate) fn merge_heads(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        return Ok(x.apply_op1_no_bwd(&MergeHeads)?);
    }
    let (heads, rows, head_dim) = x.dims3()?;
    Ok(x.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))?)
}

/// Which cached positions the rows of a block of queries see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// Rows of the block; the scores have them once for each head of a group.
    pub(crate) rows: usize,
    /// Position of the block's first row.
    pub(crate) position: usize,
    /// Position of the first column of the scores.
    pub(crate) first: usize,
    pub(crate) window: Option<usize>,
    pub(crate) softcap: Option<f64>,
}

impl Sight {
    /// The columns that a row sees.
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        let position = self.position + row;
        let oldest = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        oldest.saturating_sub(self.first)..position + 1 - self.first
    }
}

/// Softmax of `[kv_heads, group * rows, columns]` over what each row sees; everything else becomes zero. The scores
/// themselves may be overwritten.
pub(crate) fn softmax(scores: Tensor, sight: &Sight) -> Result<Tensor> {
    if scores.device().is_cpu() {
        scores.inplace_op1(sight)?;
        return Ok(scores);
    }
    softmax_composed(&scores, sight)
}

fn softmax_composed(scores: &Tensor, sight: &Sight) -> Result<Tensor> {
    let (kv_heads, all_rows, columns) = scores.dims3()?;
    let capped = match sight.softcap {
        None => scores.clone(),
        Some(cap) => ((scores / cap)?.tanh()? * cap)?,
    };
    let mask: Vec<f32> = (0..sight.rows)
        .flat_map(|row| {
            let seen = sight.of(row);
            (0..columns).map(move |column| if seen.contains(&column) { 0.0 } else { f32::NEG_INFINITY })
        })
        .collect();
    let mask = Tensor::from_vec(mask, (sight.rows, columns), scores.device())?;
    let masked = capped.reshape((kv_heads, all_rows / sight.rows, sight.rows, columns))?.broadcast_add(&mask)?;
    Ok(candle_nn::ops::softmax_last_dim(&masked)?.reshape((kv_heads, all_rows, columns))?)
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> CandleResult<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("the input is not contiguous"),
    }
}

/// Runs `work` on each row, on several threads where that is worth it.
fn each_row(out: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() < PARALLEL_FROM {
        out.chunks_exact_mut(width).enumerate().for_each(|(row, out)| work(row, out));
    } else {
        out.par_chunks_exact_mut(width).enumerate().for_each(|(row, out)| work(row, out));
    }
}

/// Folds a slice in lanes, which the compiler turns into vector instructions.
fn lanes(values: &[f32], start: f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    let chunks = values.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = fold(*lane, value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, value);
    }
    // What was folded in is folded already: lanes are joined by the fold's own rule for sums and maxima alike.
    lanes.into_iter().fold(start, |a, b| if start == f32::NEG_INFINITY { a.max(b) } else { a + b })
}

fn sum(values: &[f32]) -> f32 {
    lanes(values, 0.0, |a, v| a + v)
}

fn maximum(values: &[f32]) -> f32 {
    lanes(values, f32::NEG_INFINITY, f32::max)
}

fn inverse_rms(values: &[f32], eps: f32) -> f32 {
    let squares = lanes(values, 0.0, |a, v| a + v * v);
    1.0 / (squares / values.len() as f32 + eps).sqrt()
}

/// The exponential function to about one part in ten million, free of branches so that it vectorises on any processor.
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it moves the integer nearest to a float into the float's lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + coefficient;
    }
    let exponent = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(exponent)
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (x, weight) = (floats(x, x_layout)?, floats(weight, weight_layout)?);
        let (rows, columns) = x_layout.shape().dims2()?;
        if weight.len() != columns {
            bail!("a norm of {} weights does not fit rows of {columns}", weight.len());
        }
        let mut out = vec![0.0; rows * columns];
        each_row(&mut out, columns, |row, out| {
            let row = &x[row * columns..][..columns];
            let factor = inverse_rms(row, self.eps);
            for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
                *out = value * factor * weight;
            }
        });
        Ok((CpuStorage::F32(out), (rows, columns).into()))
    }
}

struct Gate {
    activation: Activation,
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let (rows, columns) = layout.shape().dims2()?;
        let half = columns / 2;
        let mut out = vec![0.0; rows * half];
        each_row(&mut out, half, |row, out| {
            let (gate, up) = x[row * columns..][..2 * half].split_at(half);
            let values = out.iter_mut().zip(gate).zip(up);
            match self.activation {
                Activation::Silu => values.for_each(|((out, &g), &u)| *out = g / (1.0 + exp(-g)) * u),
                Activation::GeluTanh => values.for_each(|((out, &g), &u)| {
                    // (1 + tanh z) / 2 is the logistic function of 2 z.
                    let z = 1.595_769_2 * (g + 0.044_715 * g * g * g);
                    *out = g / (1.0 + exp(-z)) * u;
                }),
            }
        });
        Ok((CpuStorage::F32(out), (rows, half).into()))
    }
}

impl CustomOp1 for Heads<'_> {
    fn name(&self) -> &'static str {
        "split-heads"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let (rows, columns) = layout.shape().dims2()?;
        if self.first_column + self.count * self.head_dim > columns {
            bail!("{} heads from column {} on do not fit rows of {columns}", self.count, self.first_column);
        }
        let mut out = vec![0.0; self.count * rows * self.head_dim];
        each_row(&mut out, self.head_dim, |index, out| {
            let (head, row) = (index / rows, index % rows);
            out.copy_from_slice(&x[row * columns + self.first_column + head * self.head_dim..][..self.head_dim]);
            if let Some((weight, eps)) = self.norm {
                let factor = inverse_rms(out, eps);
                out.iter_mut().zip(weight).for_each(|(value, weight)| *value *= factor * weight);
            }
            if let Some(rotation) = self.rotation {
                rotation.turn(row, out);
            }
            if self.scale != 1.0 {
                for value in out.iter_mut() {
                    *value *= self.scale;
                }
            }
        });
        Ok((CpuStorage::F32(out), (self.count, rows, self.head_dim).into()))
    }
}

struct MergeHeads;

impl CustomOp1 for MergeHeads {
    fn name(&self) -> &'static str {
        "merge-heads"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let (heads, rows, head_dim) = layout.shape().dims3()?;
        let width = heads * head_dim;
        let mut out = vec![0.0; rows * width];
        each_row(&mut out, width, |row, out| {
            for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                out.copy_from_slice(&x[(head * rows + row) * head_dim..][..head_dim]);
            }
        });
        Ok((CpuStorage::F32(out), (rows, width).into()))
    }
}

impl InplaceOp1 for Sight {
    fn name(&self) -> &'static str {
        "softmax-of-what-is-seen"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let (_, _, columns) = layout.shape().dims3()?;
        let (Some((start, end)), CpuStorage::F32(all)) = (layout.contiguous_offsets(), storage) else {
            bail!("scores must be contiguous and of type {:?}", DType::F32);
        };
        each_row(&mut all[start..end], columns, |row, out| {
            let seen = self.of(row % self.rows);
            let (before, rest) = out.split_at_mut(seen.start.min(columns));
            let (scores, after) = rest.split_at_mut(seen.len().min(rest.len()));
            before.fill(0.0);
            after.fill(0.0);
            if let Some(cap) = self.softcap {
                let cap = cap as f32;
                for score in scores.iter_mut() {
                    *score = (*score / cap).tanh() * cap;
                }
            }
            let highest = maximum(scores);
            for score in scores.iter_mut() {
                *score = exp(*score - highest);
            }
            let factor = 1.0 / sum(scores);
            for score in scores.iter_mut() {
                *score *= factor;
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

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

    #[test]
    fn heads_are_split_alike_in_one_pass_and_composed() {
        let x = numbers(&[5, 70], 3);
        let weight: Vec<f32> = (0..8).map(|i| 0.5 + i as f32).collect();
        for interleaved in [false, true] {
            for pairs in [4, 3] {
                let frequencies: Vec<f64> = (0..pairs).map(|i| 1.0 / f64::from(i + 1)).collect();
                let rotation = Rotation::new(&frequencies, 1.25, interleaved, 7, 5);
                let heads = Heads {
                    first_column: 6,
                    count: 3,
                    head_dim: 8,
                    norm: Some((&weight, 1e-6)),
                    rotation: Some(&rotation),
                    scale: 0.5,
                };
                let split = split_heads(&x, &heads).expect("split");
                assert_close(&split, &split_heads_composed(&x, &heads).expect("composed"));
            }
        }
    }

    #[test]
    fn merging_undoes_splitting() {
        let x = numbers(&[5, 24], 3);
        let heads = Heads { first_column: 0, count: 3, head_dim: 8, norm: None, rotation: None, scale: 1.0 };
        let merged = merge_heads(&split_heads(&x, &heads).expect("split")).expect("merged");
        assert_close(&merged, &x);
    }

    #[test]
    fn softmax_over_what_is_seen_agrees_with_a_mask() {
        for (window, first) in [(None, 0), (Some(4), 3)] {
            for softcap in [None, Some(2.0)] {
                let sight = Sight { rows: 5, position: 6, first, window, softcap };
                let scores = numbers(&[2, 15, 11 - first], 5);
                let expected = softmax_composed(&scores, &sight).expect("composed");
                assert_close(&softmax(scores.copy().expect("copy"), &sight).expect("softmax"), &expected);
            }
        }
    }
}
