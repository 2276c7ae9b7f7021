//! The steps between matrix multiplications.
//!
//! On the CPU each step is one pass over its data, and on other
//! devices it is composed of candle's operations. A test compares the two. Results of a row never depend on other rows.

use super::config::Activation;
use super::kernels::{self, HeadCache, Isa, Sight, each_row, exp, for_each_isa};
use super::kv::LayerKv;
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Shape, Tensor, bail};

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

    #[inline(always)]
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

/// Attention of queries, scaled and `[heads, rows, head_dim]`, to a layer's cache: `[rows, heads * head_dim]`.
pub(crate) fn attend(queries: &Tensor, cache: &LayerKv, sight: &Sight) -> Result<Tensor> {
    match cache {
        LayerKv::Cpu(heads) => Ok(queries.apply_op1_no_bwd(&Attend { heads, sight })?),
        LayerKv::Device { keys, values } => attend_composed(queries, keys, values, sight),
    }
}

fn attend_composed(queries: &Tensor, keys: &Tensor, values: &Tensor, sight: &Sight) -> Result<Tensor> {
    let (heads, rows, head_dim) = queries.dims3()?;
    let kv_heads = keys.dim(0)?;
    let (first, end) = (sight.of(0).start, sight.position + rows);
    let (keys, values) = (keys.narrow(1, first, end - first)?, values.narrow(1, first, end - first)?);
    // The queries of a group share their keys: they are one taller matrix, and no key is repeated.
    let queries = queries.reshape((kv_heads, heads / kv_heads * rows, head_dim))?;
    let scores = queries.matmul(&keys.t()?)?;
    let capped = match sight.softcap {
        None => scores,
        Some(cap) => ((scores / cap)?.tanh()? * cap)?,
    };
    let columns = end - first;
    let mask: Vec<f32> = (0..rows)
        .flat_map(|row| {
            let seen = sight.of(row);
            (first..end).map(move |position| if seen.contains(&position) { 0.0 } else { f32::NEG_INFINITY })
        })
        .collect();
    let mask = Tensor::from_vec(mask, (rows, columns), capped.device())?;
    let masked = capped.reshape((kv_heads, heads / kv_heads, rows, columns))?.broadcast_add(&mask)?;
    let weights = candle_nn::ops::softmax_last_dim(&masked)?.reshape((kv_heads, heads / kv_heads * rows, columns))?;
    let mixed = weights.matmul(&values)?.reshape((heads, rows, head_dim))?;
    Ok(mixed.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))?)
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> CandleResult<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => bail!("the input is not contiguous"),
    }
}

/// One over the root of the mean square, summed in lanes, which the compiler turns into vector instructions.
#[inline(always)]
fn inverse_rms(values: &[f32], eps: f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value * value;
    }
    1.0 / (sums.into_iter().sum::<f32>() / values.len() as f32 + eps).sqrt()
}

for_each_isa! {
    fn normalise(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let factor = inverse_rms(row, eps);
        for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
            *out = value * factor * weight;
        }
    }
}

for_each_isa! {
    fn gate_row(gate: &[f32], up: &[f32], activation: Activation, out: &mut [f32]) {
        let values = out.iter_mut().zip(gate).zip(up);
        match activation {
            Activation::Silu => values.for_each(|((out, &g), &u)| *out = g / (1.0 + exp(-g)) * u),
            Activation::GeluTanh => values.for_each(|((out, &g), &u)| {
                // (1 + tanh z) / 2 is the logistic function of 2 z.
                let z = 1.595_769_2 * (g + 0.044_715 * g * g * g);
                *out = g / (1.0 + exp(-z)) * u;
            }),
        }
    }
}

for_each_isa! {
    fn finish_head(heads: &Heads<'_>, row: usize, out: &mut [f32]) {
        if let Some((weight, eps)) = heads.norm {
            let factor = inverse_rms(out, eps);
            out.iter_mut().zip(weight).for_each(|(value, weight)| *value *= factor * weight);
        }
        if let Some(rotation) = heads.rotation {
            rotation.turn(row, out);
        }
        if heads.scale != 1.0 {
            for value in out.iter_mut() {
                *value *= heads.scale;
            }
        }
    }
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
        let isa = Isa::best();
        let mut out = vec![0.0; rows * columns];
        each_row(&mut out, columns, PARALLEL_FROM, |row, out| {
            let row = &x[row * columns..][..columns];
            normalise(isa, row, weight, self.eps, out);
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
        let isa = Isa::best();
        let mut out = vec![0.0; rows * half];
        each_row(&mut out, half, PARALLEL_FROM, |row, out| {
            let (gate, up) = x[row * columns..][..2 * half].split_at(half);
            gate_row(isa, gate, up, self.activation, out);
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
        let isa = Isa::best();
        let mut out = vec![0.0; self.count * rows * self.head_dim];
        each_row(&mut out, self.head_dim, PARALLEL_FROM, |index, out| {
            let (head, row) = (index / rows, index % rows);
            out.copy_from_slice(&x[row * columns + self.first_column + head * self.head_dim..][..self.head_dim]);
            finish_head(isa, self, row, out);
        });
        Ok((CpuStorage::F32(out), (self.count, rows, self.head_dim).into()))
    }
}

struct Attend<'a> {
    heads: &'a HeadCache,
    sight: &'a Sight,
}

impl CustomOp1 for Attend<'_> {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let (heads, rows, head_dim) = layout.shape().dims3()?;
        if rows != self.sight.rows {
            bail!("{rows} rows of queries for a block of {}", self.sight.rows);
        }
        let out = kernels::attend(Isa::best(), self.heads, floats(storage, layout)?, self.sight);
        Ok((CpuStorage::F32(out), (rows, heads * head_dim).into()))
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
    fn attention_on_the_cpu_agrees_with_the_composed_one() {
        for (window, softcap, head_dim, rows) in
            [(None, None, 8, 5), (Some(4), None, 32, 5), (None, Some(2.0), 64, 19), (Some(21), Some(2.0), 96, 1)]
        {
            let (position, heads, kv_heads) = (26, 6, 2);
            let all = position + rows;
            let sight = Sight { rows, position, window, softcap };
            let (keys, values) = (numbers(&[kv_heads, all, head_dim], 1), numbers(&[kv_heads, all, head_dim], 7));
            let queries = (numbers(&[heads, rows, head_dim], 5) * 0.1).expect("queries");
            let mut cache = HeadCache::new(kv_heads, head_dim);
            cache.grow(64, 0);
            let flat = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
            cache.write(&flat(&keys), &flat(&values), 0);
            let ours = attend(&queries, &LayerKv::Cpu(cache), &sight).expect("attended");
            assert_close(&ours, &attend_composed(&queries, &keys, &values, &sight).expect("composed"));
        }
    }
}
