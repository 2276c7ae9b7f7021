//! The steps between matrix multiplications.
//!
//! On the CPU each step is one pass over its data, on NVIDIA's GPUs one kernel, and on other
//! devices it is composed of candle's operations. A test compares the first with the last. On the CPU results of a row never
//! depend on other rows.

use super::config::Activation;
use super::kernels::{self, Isa, PAGE, Rows, Sight, each_row, exp, for_each_isa};
use super::kv::KvCache;
use crate::error::{Result, ensure};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Device, Layout, Shape, Storage, Tensor, bail};
use std::sync::Arc;

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

/// `x + y`, and the norm of that.
pub(crate) fn add_norm(x: &Tensor, y: &Tensor, weight: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return kernels::cuda::add_norm(x, y, weight, eps);
    }
    let sum = (x + y)?;
    let normed = rms_norm(&sum, weight, eps)?;
    Ok((sum, normed))
}

/// `activation(gate) * up` of rows that hold the gate in their first half and the other factor in their second.
pub(crate) fn gate(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    if gate_up.device().is_cpu() {
        return Ok(gate_up.apply_op1_no_bwd(&Gate { activation })?);
    }
    #[cfg(feature = "cuda")]
    if gate_up.device().is_cuda() {
        return kernels::cuda::gate(gate_up, activation == Activation::GeluTanh);
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
    /// Cosines and sines, each `[positions, pairs]`, where the device is not the CPU.
    on_device: Option<(Tensor, Tensor)>,
}

impl Rotation {
    /// Of these positions, one row each.
    pub(crate) fn new(
        frequencies: &[f64],
        magnitude: f64,
        interleaved: bool,
        positions: impl IntoIterator<Item = usize>,
    ) -> Self {
        let turns = positions
            .into_iter()
            .flat_map(|position| {
                frequencies.iter().map(move |frequency| {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    ((cos * magnitude) as f32, (sin * magnitude) as f32)
                })
            })
            .collect();
        Self { interleaved, pairs: frequencies.len(), turns, on_device: None }
    }

    /// The same where a device that is not the CPU reads it, once for all layers.
    pub(crate) fn onto(mut self, device: &Device) -> Result<Self> {
        let column = |pick: fn(&(f32, f32)) -> f32| {
            let values: Vec<f32> = self.turns.iter().map(pick).collect();
            Tensor::from_vec(values, (self.turns.len() / self.pairs.max(1), self.pairs), device)
        };
        self.on_device = Some((column(|turn| turn.0)?, column(|turn| turn.1)?));
        Ok(self)
    }

    /// Cosines and sines, each `[positions, pairs]`.
    pub(crate) fn on_device(&self) -> Result<(&Tensor, &Tensor)> {
        match &self.on_device {
            Some((cosines, sines)) => Ok((cosines, sines)),
            None => crate::error::bail!("the rotation is on the CPU"),
        }
    }

    /// For each position and pair, cosine then sine.
    #[cfg(feature = "cuda")]
    pub(crate) fn turns(&self) -> &[(f32, f32)] {
        &self.turns
    }

    /// How many pairs of a head are turned, and whether the two of a pair stand side by side.
    #[cfg(feature = "cuda")]
    pub(crate) fn form(&self) -> (usize, bool) {
        (self.pairs, self.interleaved)
    }

    #[inline(always)]
    fn turn(&self, row: usize, head: &mut [f32]) {
        let turns = &self.turns[row * self.pairs..][..self.pairs];
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

    /// Turns `[heads, rows, head_dim]` by the rows from `first` on.
    fn turn_tensor(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let (_, rows, head_dim) = x.dims3()?;
        let (cosines, sines) = self.on_device()?;
        let (cos, sin) = (cosines.narrow(0, first, rows)?, sines.narrow(0, first, rows)?);
        let dims = 2 * self.pairs;
        let turned = x.narrow(2, 0, dims)?.contiguous()?.unsqueeze(0)?;
        let rope = if self.interleaved { candle_nn::rotary_emb::rope_i } else { candle_nn::rotary_emb::rope };
        let turned = rope(&turned, &cos, &sin)?.squeeze(0)?;
        Ok(if dims == head_dim { turned } else { Tensor::cat(&[&turned, &x.narrow(2, dims, head_dim - dims)?], 2)? })
    }
}

/// The weights of a norm of heads, where the CPU and where the device reads them.
#[derive(Debug)]
pub(crate) struct HeadNorm {
    pub(crate) values: Vec<f32>,
    pub(crate) tensor: Tensor,
}

/// The numbers of a step that GPUs have, others not.
#[cfg(feature = "cuda")]
pub(crate) use kernels::cuda::Step;
#[cfg(not(feature = "cuda"))]
#[derive(Debug)]
pub(crate) enum Step {}

/// What attention does with the rows of a projection, which hold the query heads, then the key heads, then the value heads.
#[derive(Debug)]
pub(crate) struct Attention<'a> {
    pub(crate) layer: usize,
    /// What is still to be added to the projection, on NVIDIA's GPUs.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "NVIDIA's GPUs read it"))]
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) q_norm: Option<&'a HeadNorm>,
    pub(crate) k_norm: Option<&'a HeadNorm>,
    pub(crate) norm_eps: f32,
    /// What queries are multiplied by.
    pub(crate) scale: f32,
    pub(crate) rotations: &'a [Rotation],
    /// Which of them is meant.
    pub(crate) rotation: usize,
    /// The step's numbers on an NVIDIA GPU.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "NVIDIA's GPUs read it"))]
    pub(crate) step: Option<&'a Step>,
    pub(crate) window: Option<usize>,
    pub(crate) softcap: Option<f64>,
}

/// How many neighbouring rows of a block belong to a sequence, and its cache.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) rows: usize,
    pub(crate) cache: &'a mut KvCache,
}

/// Caches the keys and values of a projection's rows, `[rows, (heads + 2 * kv_heads) * head_dim]`, and lets each row attend
/// to what its sequence has cached: `[rows, heads * head_dim]`. The caches have room, and do not count the rows yet.
pub(crate) fn attention(qkv: &Tensor, attention: &Attention<'_>, parts: &mut [Part<'_>]) -> Result<Tensor> {
    if qkv.device().is_cpu() {
        return attention_on_cpu(qkv, attention, parts);
    }
    #[cfg(feature = "cuda")]
    if qkv.device().is_cuda() {
        return kernels::cuda::attention(qkv, attention, parts);
    }
    let mut first = 0;
    let mut mixed = Vec::with_capacity(parts.len());
    for part in parts {
        mixed.push(attention_composed(&qkv.narrow(0, first, part.rows)?, attention, first, part.cache)?);
        first += part.rows;
    }
    match mixed.as_slice() {
        [only] => Ok(only.clone()),
        several => Ok(Tensor::cat(several, 0)?),
    }
}

impl Attention<'_> {
    pub(crate) fn rotation(&self) -> &Rotation {
        &self.rotations[self.rotation]
    }

    pub(crate) fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn sight(&self, rows: usize, cache: &KvCache) -> Sight {
        Sight { rows, position: cache.len(), window: self.window, softcap: self.softcap }
    }

    /// The head of a row, counted over queries, keys and values.
    fn head<'a>(&self, row: &'a [f32], head: usize) -> &'a [f32] {
        &row[head * self.head_dim..][..self.head_dim]
    }
}

fn attention_on_cpu(qkv: &Tensor, attention: &Attention<'_>, parts: &mut [Part<'_>]) -> Result<Tensor> {
    let &Attention { heads, kv_heads, head_dim, norm_eps, layer, .. } = attention;
    let (storage, layout) = qkv.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { crate::error::bail!("the projection is not on the CPU") };
    let qkv = floats(storage, layout)?;
    let (rows, width) = (parts.iter().map(|part| part.rows).sum::<usize>(), attention.width());
    ensure!(qkv.len() == rows * width, "{} numbers for {rows} rows of {width}", qkv.len());
    let isa = Isa::best();

    let mut queries = vec![0.0; rows * heads * head_dim];
    let mut first = 0;
    for part in parts.iter_mut() {
        let own = &qkv[first * width..][..part.rows * width];
        each_row(&mut queries[first * heads * head_dim..][..part.rows * heads * head_dim], head_dim, PARALLEL_FROM, {
            |index, out| {
                let (head, row) = (index / part.rows, index % part.rows);
                out.copy_from_slice(attention.head(&own[row * width..], head));
                let norm = attention.q_norm.map(|norm| (norm.values.as_slice(), norm_eps));
                finish_head(isa, norm, attention.rotation(), first + row, attention.scale, out);
            }
        });
        let start = part.cache.len() % PAGE;
        let rows = part.rows;
        let several = if rows * kv_heads * head_dim < PARALLEL_FROM { usize::MAX } else { 0 };
        let Some(pages) = part.cache.open_pages() else { crate::error::bail!("the cache is not on the CPU") };
        ensure!(start + rows <= pages.len() * PAGE, "the key-value cache has no room for {rows} positions");
        each_row(&mut pages[..(start + rows).div_ceil(PAGE)], 1, several, |index, page| {
            let Some(page) = page.first_mut().and_then(Arc::get_mut) else {
                unreachable!("pages to write are not shared")
            };
            let mut key = vec![0.0; head_dim];
            for position in (index * PAGE).max(start)..((index + 1) * PAGE).min(start + rows) {
                let row = position - start;
                let own = &own[row * width..][..width];
                for head in 0..kv_heads {
                    key.copy_from_slice(attention.head(own, heads + head));
                    let norm = attention.k_norm.map(|norm| (norm.values.as_slice(), norm_eps));
                    finish_head(isa, norm, attention.rotation(), first + row, 1.0, &mut key);
                    page.write(layer, head, position % PAGE, &key, attention.head(own, heads + kv_heads + head));
                }
            }
        });
        first += rows;
    }

    let mut sequences = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        let Some(pages) = part.cache.pages() else { crate::error::bail!("the cache is not on the CPU") };
        sequences.push(Rows { pages, sight: attention.sight(part.rows, part.cache) });
    }
    let Some(shape) = parts.first().map(|part| part.cache.shape().pages) else { crate::error::bail!("no sequence") };
    let mixed = kernels::attend(isa, shape, layer, &sequences, &queries, heads);
    Ok(Tensor::from_vec(mixed, (rows, heads * head_dim), &Device::Cpu)?)
}

/// One sequence, composed of candle's operations; its first row is the rotation's row `first`.
fn attention_composed(qkv: &Tensor, a: &Attention<'_>, first: usize, cache: &KvCache) -> Result<Tensor> {
    let rows = qkv.dim(0)?;
    let split = |from: usize, count: usize, norm: Option<&HeadNorm>| -> Result<Tensor> {
        let heads = qkv.narrow(1, from * a.head_dim, count * a.head_dim)?.contiguous()?;
        let mut heads = heads.reshape((rows, count, a.head_dim))?;
        if let Some(norm) = norm {
            heads = candle_nn::ops::rms_norm(&heads, &norm.tensor, a.norm_eps)?;
        }
        Ok(heads.transpose(0, 1)?.contiguous()?)
    };
    let queries = a.rotation().turn_tensor(&split(0, a.heads, a.q_norm)?, first)?;
    let keys = a.rotation().turn_tensor(&split(a.heads, a.kv_heads, a.k_norm)?, first)?;
    let values = split(a.heads + a.kv_heads, a.kv_heads, None)?;
    let sight = a.sight(rows, cache);
    cache.write(a.layer, &keys, &values)?;
    let (keys, values) = cache.layer(a.layer)?;
    attend_composed(&(queries * f64::from(a.scale))?, &keys, &values, &sight)
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
    let scores = capped.reshape((kv_heads, heads / kv_heads, rows, columns))?;
    // What a single row does not see is not among the columns.
    let masked = if rows == 1 { scores } else { scores.broadcast_add(&mask(sight, first..end, keys.device())?)? };
    let weights = candle_nn::ops::softmax_last_dim(&masked)?.reshape((kv_heads, heads / kv_heads * rows, columns))?;
    let mixed = weights.matmul(&values)?.reshape((heads, rows, head_dim))?;
    Ok(mixed.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))?)
}

/// What is added to the scores of each row and position: nothing where the row sees the position.
fn mask(sight: &Sight, positions: std::ops::Range<usize>, device: &Device) -> Result<Tensor> {
    let shape = (sight.rows, positions.len());
    let mask: Vec<f32> = (0..sight.rows)
        .flat_map(|row| {
            let seen = sight.of(row);
            positions.clone().map(move |position| if seen.contains(&position) { 0.0 } else { f32::NEG_INFINITY })
        })
        .collect();
    Ok(Tensor::from_vec(mask, shape, device)?)
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
    pub(crate) fn finish_head(norm: Option<(&[f32], f32)>, rotation: &Rotation, row: usize, scale: f32, out: &mut [f32]) {
        if let Some((weight, eps)) = norm {
            let factor = inverse_rms(out, eps);
            out.iter_mut().zip(weight).for_each(|(value, weight)| *value *= factor * weight);
        }
        rotation.turn(row, out);
        if scale != 1.0 {
            for value in out.iter_mut() {
                *value *= scale;
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

#[cfg(test)]
mod tests;
