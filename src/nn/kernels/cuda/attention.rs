//! Attention on the GPU.

use super::rounded::{self, filled};
use super::step::{SPAN, Step};
use super::{address, arena, cuda, launch, unfilled};
use crate::error::{Context, Result, bail, ensure};
use crate::nn::ops::{Attention, Part};
use candle_core::cuda::CudaDevice;
use candle_core::cuda::cudarc::driver::DeviceRepr;
use candle_core::{DType, Tensor};

/// More rows than this of one sequence are multiplied as matrices.
const FEW: usize = 8;
/// Shared memory that every GPU gives a block.
const SHARED: usize = 48 << 10;
/// Threads of a block of `attend`.
const THREADS: usize = 256;
/// Query heads that may share a key: as many as `attend` has code for.
const MOST_SHARING: usize = 16;

/// As in `kernels.cu`.
#[repr(C)]
#[expect(clippy::struct_field_names, reason = "the kernels' names")]
struct Heads {
    layer: i32,
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

// SAFETY: plain numbers, laid out as the structure of the same name in `kernels.cu`.
unsafe impl DeviceRepr for Heads {}

/// Caches the keys and values of a projection's rows, and lets each row attend to what its sequence has cached:
/// `[rows, heads * head_dim]` from `[rows, (heads + 2 * kv_heads) * head_dim]`.
pub(crate) fn attention(qkv: &Tensor, a: &Attention<'_>, parts: &[Part<'_>]) -> Result<Tensor> {
    let Some(step) = a.step else { bail!("a step on the GPU lacks its numbers") };
    let rows = step.row_count();
    ensure!(qkv.dims() == [rows, a.width()], "{:?} is no projection of {rows} rows", qkv.dims());
    let (pairs, interleaved) = a.rotation().form();
    let heads = Heads {
        layer: a.layer as i32,
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
    let shape = (rows, a.heads * a.head_dim);
    let all = Rows {
        device: cuda(qkv.device())?,
        step,
        a,
        heads: &heads,
        queries: &unfilled(shape, DType::F32, qkv.device())?,
        mixed: &unfilled(shape, DType::F32, qkv.device())?,
    };
    let (mut sequence, mut first) = (0, 0);
    // A run of sequences with few rows each, or one with many.
    for run in parts.chunk_by(|a, b| a.rows <= FEW && b.rows <= FEW) {
        let place = Place { sequence, count: run.len(), first, rows: run.iter().map(|part| part.rows).sum() };
        all.finish_heads(qkv, &place)?;
        match run {
            [one] if one.rows > FEW => all.attend_many(one, &place)?,
            _ => all.attend(&place)?,
        }
        sequence += place.count;
        first += place.rows;
    }
    Ok(all.mixed.clone())
}

/// Neighbouring sequences of a step, and their rows.
struct Place {
    sequence: usize,
    count: usize,
    first: usize,
    rows: usize,
}

/// What the launches of a layer share.
struct Rows<'a> {
    device: &'a CudaDevice,
    step: &'a Step,
    a: &'a Attention<'a>,
    heads: &'a Heads,
    queries: &'a Tensor,
    mixed: &'a Tensor,
}

impl Rows<'_> {
    fn finish_heads(&self, qkv: &Tensor, place: &Place) -> Result<()> {
        let a = self.a;
        let (cosines, sines) = self.step.rotation(a.rotation)?;
        let norm = |norm: Option<&Tensor>| norm.map_or(Ok(0), address::<f32>);
        let bias = norm(a.bias)?;
        let (from, to) = (address::<f32>(qkv)?, address::<f32>(self.queries)?);
        let (q_norm, k_norm) = (norm(a.q_norm.map(|norm| &norm.tensor))?, norm(a.k_norm.map(|norm| &norm.tensor))?);
        let (parts, count) = (self.step.sequences(place.sequence)?, place.count as i32);
        let grid = (place.rows as u32, (a.heads + 2 * a.kv_heads) as u32, 1);
        let shared = (a.head_dim * size_of::<f32>()) as u32;
        launch!(
            self.device,
            "finish_heads",
            grid,
            32,
            shared,
            &from,
            &bias,
            &cosines,
            &sines,
            &q_norm,
            &k_norm,
            &to,
            &parts,
            &count,
            self.heads
        );
        Ok(())
    }

    /// Every row alone, its positions split over the GPU.
    fn attend(&self, place: &Place) -> Result<()> {
        // Rounded in blocks of 32, which must not cross heads, and only where these rows are all there are.
        let whole = place.rows == self.step.row_count() && self.a.head_dim.is_multiple_of(32);
        let rounded = if whole { rounded::place(self.mixed)? } else { 0 };
        arena::scratch(|| self.attend_split(place, rounded))
    }

    fn attend_split(&self, place: &Place, rounded: u64) -> Result<()> {
        let a = self.a;
        let spans = self.step.spans(a.window);
        let group = a.heads / a.kv_heads;
        let device = self.mixed.device();
        let sums = unfilled((place.rows, a.heads, spans, a.head_dim), DType::F32, device)?;
        let weights = unfilled((place.rows, a.heads, spans, 2), DType::F32, device)?;
        let shared = group * (a.head_dim + SPAN + a.head_dim.max(THREADS)) * size_of::<f32>();
        ensure!(
            shared <= SHARED && group <= MOST_SHARING,
            "{group} query heads of {} share a key: too many for the GPU's kernel",
            a.head_dim
        );
        let (from, sums, weights) = (address::<f32>(self.queries)?, address::<f32>(&sums)?, address::<f32>(&weights)?);
        let (parts, count, span) = (self.step.sequences(place.sequence)?, place.count as i32, SPAN as i32);
        let grid = (spans as u32, a.kv_heads as u32, place.rows as u32);
        launch!(
            self.device,
            "attend",
            grid,
            THREADS as u32,
            shared as u32,
            &from,
            &sums,
            &weights,
            &parts,
            &count,
            self.heads,
            &span
        );
        let to = address::<f32>(self.mixed)? + (place.first * a.heads * a.head_dim * size_of::<f32>()) as u64;
        let (count, dim, filled) = (spans as i32, a.head_dim as i32, filled(a.heads * a.head_dim) as i32);
        let (grid, shared) = ((a.heads as u32, place.rows as u32, 1), (spans * size_of::<f32>()) as u32);
        launch!(self.device, "merge", grid, 128, shared, &sums, &weights, &to, &rounded, &count, &dim, &filled);
        Ok(())
    }

    /// The rows of one sequence at once, as matrices.
    fn attend_many(&self, part: &Part<'_>, place: &Place) -> Result<()> {
        let a = self.a;
        let (rows, group, length) = (place.rows, a.heads / a.kv_heads, part.cache.len());
        let from = a.window.map_or(0, |window| (length + 1).saturating_sub(window));
        let columns = length + rows - from;
        let (keys, values) = part.cache.layer(a.layer)?;
        let (keys, values) = (keys.narrow(1, from, columns)?, values.narrow(1, from, columns)?);
        // The queries of a group share their keys: they are one taller matrix, and no key is repeated.
        let queries = self.queries.narrow(0, place.first, rows)?.reshape((a.kv_heads, group * rows, a.head_dim))?;
        let scores = queries.matmul(&keys.t()?)?;
        let (to, width) = (address::<f32>(&scores)?, columns as i32);
        let (first, position) = (from as i32, length as i32);
        let grid = (rows as u32, a.heads as u32, 1);
        launch!(self.device, "softmax_seen", grid, 256, 0, &to, &width, &first, &position, self.heads);
        let found = scores.matmul(&values)?.reshape((a.heads, rows, a.head_dim))?;
        let found = found.transpose(0, 1)?.contiguous()?.reshape((rows, a.heads * a.head_dim))?;
        self.mixed.slice_set(&found, 0, place.first)?;
        Ok(())
    }
}
