//! What all layers must know of the rows of a step, where the GPU reads it.

use super::{address, device_of};
use crate::error::{Context, Result, bail};
use crate::nn::ops::{Part, Rotation};
use candle_core::cuda::WrapErr;
use candle_core::{CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Tensor};

/// Positions that one block of threads sees of a row: few enough to occupy the GPU, enough to be worth the merging.
pub(super) const SPAN: usize = 32;
/// Words of a sequence, as `Part` in `kernels.cu`.
const WORDS: usize = 6;

/// The sequences, tokens and rotations of a step: one copy to the GPU for all layers.
#[derive(Debug)]
pub(crate) struct Step {
    words: Tensor,
    form: Form,
}

/// Where what stands, and how much of it there is. Steps of one form differ in their numbers only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Rows of each sequence.
    rows: Vec<usize>,
    /// Pairs of each rotation.
    pairs: Vec<usize>,
    /// Parts that the positions of a row are split into, at most: a power of two, so that few forms occur.
    spans: usize,
}

/// A step's numbers as the GPU reads them.
pub(crate) fn words(tokens: &[u32], parts: &[Part<'_>], rotations: &[Rotation]) -> Result<(Vec<u32>, Form)> {
    let mut words = Vec::new();
    let mut first = 0;
    for part in parts {
        let kept = part.cache.kept().context("a sequence has no room for keys and values")?;
        let place = address::<f32>(kept)?;
        words.extend([place as u32, (place >> 32) as u32]);
        words.extend([first, part.rows, part.cache.len(), kept.dim(1)?].map(|number| number as u32));
        first += part.rows;
    }
    words.extend(tokens);
    for rotation in rotations {
        words.extend(rotation.turns().iter().map(|turn| turn.0.to_bits()));
        words.extend(rotation.turns().iter().map(|turn| turn.1.to_bits()));
    }
    let longest = parts.iter().map(|part| part.cache.len() + part.rows).max().unwrap_or(0);
    let form = Form {
        rows: parts.iter().map(|part| part.rows).collect(),
        pairs: rotations.iter().map(|rotation| rotation.form().0).collect(),
        spans: longest.div_ceil(SPAN).next_power_of_two(),
    };
    Ok((words, form))
}

impl Step {
    pub(crate) fn new(words: &[u32], form: Form, device: &Device) -> Result<Self> {
        Ok(Self { words: Tensor::new(words, device)?, form })
    }

    /// Another step's numbers of the same form in place of these.
    pub(super) fn refill(&self, words: &[u32]) -> Result<()> {
        Ok(self.words.inplace_op1(&Refill(words))?)
    }

    /// The ids of the tokens: `[rows]`.
    pub(crate) fn tokens(&self) -> Result<Tensor> {
        Ok(self.words.narrow(0, self.form.rows.len() * WORDS, self.row_count())?)
    }

    pub(super) fn row_count(&self) -> usize {
        self.form.rows.iter().sum()
    }

    /// The address of the sequences from one on.
    pub(super) fn sequences(&self, first: usize) -> Result<u64> {
        Ok(address::<u32>(&self.words)? + (first * WORDS * size_of::<u32>()) as u64)
    }

    /// The addresses of a rotation's cosines and sines, each `[rows, pairs]`.
    pub(super) fn rotation(&self, index: usize) -> Result<(u64, u64)> {
        let Some(&pairs) = self.form.pairs.get(index) else { bail!("a step has no rotation {index}") };
        let rows = self.row_count();
        let before: usize = self.form.pairs.iter().take(index).map(|pairs| 2 * pairs * rows).sum();
        let cosines = self.sequences(self.form.rows.len())? + ((rows + before) * size_of::<u32>()) as u64;
        Ok((cosines, cosines + (rows * pairs * size_of::<u32>()) as u64))
    }

    /// Parts that the positions of a row are split into where a row sees no more than a window.
    pub(super) fn spans(&self, window: Option<usize>) -> usize {
        window.map_or(self.form.spans, |window| window.div_ceil(SPAN).min(self.form.spans))
    }
}

struct Refill<'a>(&'a [u32]);

impl InplaceOp1 for Refill<'_> {
    fn name(&self) -> &'static str {
        "refill"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        candle_core::bail!("a step is not on the CPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> candle_core::Result<()> {
        let device = device_of(storage);
        let slice = storage.as_cuda_slice_mut::<u32>()?;
        if slice.len() != self.0.len() {
            candle_core::bail!("a step of {} words cannot take {}", slice.len(), self.0.len());
        }
        device.cuda_stream().memcpy_htod(self.0, slice).w()
    }
}
