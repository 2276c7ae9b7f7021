//! Attention on the GPU.

use super::{address, cuda, launch, unfilled};
use crate::error::{Context, Result, bail, ensure};
use crate::nn::ops::{Attention, Part};
use candle_core::cuda::CudaDevice;
use candle_core::cuda::cudarc::driver::DeviceRepr;
use candle_core::{DType, Tensor};

/// Sequences of one launch, as in `kernels.cu`.
const PARTS: usize = 16;
/// More rows than this of one sequence are multiplied as matrices.
const FEW: usize = 8;
/// Positions that one block sees: few enough to occupy the GPU, enough to be worth the merging.
const SPAN: usize = 64;

/// As in `kernels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Rows {
    keys: u64,
    values: u64,
    first: i32,
    rows: i32,
    length: i32,
    capacity: i32,
}

/// As in `kernels.cu`.
#[repr(C)]
struct Parts {
    part: [Rows; PARTS],
    count: i32,
}

/// As in `kernels.cu`.
#[repr(C)]
struct Heads {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    pairs: i32,
    interleaved: i32,
    eps: f32,
    scale: f32,
    window: i32,
    softcap: f32,
}

// SAFETY: plain numbers, laid out as the structures of the same names in `kernels.cu`.
unsafe impl DeviceRepr for Parts {}
// SAFETY: as above.
unsafe impl DeviceRepr for Heads {}

/// Caches the keys and values of a projection's rows, and lets each row attend to what its sequence has cached:
/// `[rows, heads * head_dim]` from `[rows, (heads + 2 * kv_heads) * head_dim]`.
pub(crate) fn attention(qkv: &Tensor, a: &Attention<'_>, parts: &mut [Part<'_>]) -> Result<Tensor> {
    let device = cuda(qkv.device())?;
    let rows: usize = parts.iter().map(|part| part.rows).sum();
    ensure!(qkv.dims() == [rows, a.width()], "{:?} is no projection of {rows} rows", qkv.dims());
    let (pairs, interleaved) = a.rotation.form();
    let heads = Heads {
        heads: a.heads as i32,
        kv_heads: a.kv_heads as i32,
        head_dim: a.head_dim as i32,
        pairs: pairs as i32,
        interleaved: i32::from(interleaved),
        eps: a.norm_eps,
        scale: a.scale,
        window: a.window.unwrap_or(0) as i32,
        softcap: a.softcap.unwrap_or(0.0) as f32,
    };
    let queries = unfilled((rows, a.heads * a.head_dim), DType::F32, qkv.device())?;
    let mixed = unfilled((rows, a.heads * a.head_dim), DType::F32, qkv.device())?;
    let mut first = 0;
    // A run of sequences with few rows each, or one with many.
    for run in parts.chunk_by_mut(|a, b| a.rows <= FEW && b.rows <= FEW) {
        for run in run.chunks_mut(PARTS) {
            let run = Run::new(run, a.layer, first)?;
            first += run.rows;
            run.finish_heads(device, qkv, a, &heads, &queries)?;
            if run.most <= FEW {
                run.attend(device, a, &heads, &queries, &mixed)?;
            } else {
                run.attend_many(device, a, &heads, &queries, &mixed)?;
            }
        }
    }
    Ok(mixed)
}

/// Neighbouring sequences of a batch.
struct Run {
    parts: Parts,
    /// The layer's keys and values of the first.
    cache: (Tensor, Tensor),
    /// The first row, their number, and that of the sequence with the most.
    first: usize,
    rows: usize,
    most: usize,
    /// Positions that a row of them sees, at most and without a window.
    longest: usize,
    /// Positions cached of the first.
    length: usize,
}

impl Run {
    fn new(run: &[Part<'_>], layer: usize, first: usize) -> Result<Self> {
        let mut parts = Parts { part: [Rows::default(); PARTS], count: run.len() as i32 };
        let mut rows = 0;
        for (part, place) in run.iter().zip(&mut parts.part) {
            let (keys, values) = part.cache.layer(layer)?;
            let capacity = keys.dim(1)?;
            ensure!(
                part.cache.len() + part.rows <= capacity,
                "the key-value cache has no room for {} positions",
                part.rows
            );
            *place = Rows {
                keys: address::<f32>(&keys)?,
                values: address::<f32>(&values)?,
                first: (first + rows) as i32,
                rows: part.rows as i32,
                length: part.cache.len() as i32,
                capacity: capacity as i32,
            };
            rows += part.rows;
        }
        let Some(one) = run.first() else { bail!("no sequence to attend") };
        Ok(Self {
            parts,
            cache: one.cache.layer(layer)?,
            first,
            rows,
            most: run.iter().map(|part| part.rows).max().unwrap_or(0),
            longest: run.iter().map(|part| part.cache.len() + part.rows).max().unwrap_or(0),
            length: one.cache.len(),
        })
    }

    fn finish_heads(
        &self,
        device: &CudaDevice,
        qkv: &Tensor,
        a: &Attention<'_>,
        heads: &Heads,
        queries: &Tensor,
    ) -> Result<()> {
        let (cosines, sines) = a.rotation.on_device()?;
        let norm = |norm: Option<&Tensor>| norm.map_or(Ok(0), address::<f32>);
        let (from, to) = (address::<f32>(qkv)?, address::<f32>(queries)?);
        let (cosines, sines) = (address::<f32>(cosines)?, address::<f32>(sines)?);
        let (q_norm, k_norm) = (norm(a.q_norm.map(|norm| &norm.tensor))?, norm(a.k_norm.map(|norm| &norm.tensor))?);
        let grid = (self.rows as u32, (a.heads + 2 * a.kv_heads) as u32, 1);
        let shared = (a.head_dim * size_of::<f32>()) as u32;
        launch!(
            device,
            "finish_heads",
            grid,
            32,
            shared,
            &from,
            &cosines,
            &sines,
            &q_norm,
            &k_norm,
            &to,
            &self.parts,
            heads
        );
        Ok(())
    }

    /// Every row alone, its positions split over the GPU.
    fn attend(
        &self,
        device: &CudaDevice,
        a: &Attention<'_>,
        heads: &Heads,
        queries: &Tensor,
        mixed: &Tensor,
    ) -> Result<()> {
        let seen = a.window.map_or(self.longest, |window| window.min(self.longest));
        let spans = seen.div_ceil(SPAN);
        let group = a.heads / a.kv_heads;
        let sums = unfilled((self.rows, a.heads, spans, a.head_dim), DType::F32, mixed.device())?;
        let weights = unfilled((self.rows, a.heads, spans, 2), DType::F32, mixed.device())?;
        let shared = group * (a.head_dim + SPAN) * size_of::<f32>();
        ensure!(shared <= 48 << 10, "{group} query heads of {} share a key: too many for the GPU's kernel", a.head_dim);
        let (from, sums, weights) = (address::<f32>(queries)?, address::<f32>(&sums)?, address::<f32>(&weights)?);
        let span = SPAN as i32;
        let grid = (spans as u32, a.kv_heads as u32, self.rows as u32);
        launch!(device, "attend", grid, 128, shared as u32, &from, &sums, &weights, &self.parts, heads, &span);
        let to = address::<f32>(mixed)? + (self.first * a.heads * a.head_dim * size_of::<f32>()) as u64;
        let (spans, head_count, dim) = (spans as i32, a.heads as i32, a.head_dim as i32);
        let grid = (a.heads as u32, self.rows as u32, 1);
        launch!(device, "merge", grid, 128, 0, &sums, &weights, &to, &spans, &head_count, &dim);
        Ok(())
    }

    /// The rows of one sequence at once, as matrices.
    fn attend_many(
        &self,
        device: &CudaDevice,
        a: &Attention<'_>,
        heads: &Heads,
        queries: &Tensor,
        mixed: &Tensor,
    ) -> Result<()> {
        let (rows, group) = (self.rows, a.heads / a.kv_heads);
        let end = self.length + rows;
        let from = a.window.map_or(0, |window| (self.length + 1).saturating_sub(window));
        let columns = end - from;
        let (keys, values) = (self.cache.0.narrow(1, from, columns)?, self.cache.1.narrow(1, from, columns)?);
        // The queries of a group share their keys: they are one taller matrix, and no key is repeated.
        let queries = queries.narrow(0, self.first, rows)?.reshape((a.kv_heads, group * rows, a.head_dim))?;
        let scores = queries.matmul(&keys.t()?)?;
        let (place, width) = (address::<f32>(&scores)?, columns as i32);
        let (first, position) = (from as i32, self.length as i32);
        let grid = (rows as u32, a.heads as u32, 1);
        launch!(device, "softmax_seen", grid, 256, 0, &place, &width, &first, &position, heads);
        let found = scores.matmul(&values)?.reshape((a.heads, rows, a.head_dim))?;
        let found = found.transpose(0, 1)?.contiguous()?.reshape((rows, a.heads * a.head_dim))?;
        mixed.slice_set(&found, 0, self.first)?;
        Ok(())
    }
}
