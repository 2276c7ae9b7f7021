//! The logits of a position, wherever they were computed.

use super::kernels::each_row;
use super::sampler::{Candidate, best, log_sum_exp};
use crate::error::Result;
use candle_core::Tensor;
use std::borrow::Cow;

/// The logits of one position.
#[derive(Debug)]
pub(crate) enum Logits {
    /// On the CPU.
    Here(Vec<f32>),
    /// On the CPU, and the most probable ones are found already.
    Led(Vec<f32>, Leaders),
    /// On a device: `[1, vocabulary]`.
    There(Tensor),
}

/// The most probable tokens of a position, most probable first, and what to subtract from a logit to get the logarithm of its
/// probability.
#[derive(Debug)]
pub(crate) struct Leaders {
    pub(crate) normaliser: f64,
    pub(crate) best: Vec<Candidate>,
}

impl Logits {
    /// Each row of `[rows, vocabulary]`.
    pub(crate) fn of_rows(logits: &Tensor) -> Result<Vec<Self>> {
        if logits.device().is_cpu() {
            return Ok(logits.to_vec2()?.into_iter().map(Self::Here).collect());
        }
        (0..logits.dim(0)?).map(|row| Ok(Self::There(logits.narrow(0, row, 1)?))).collect()
    }

    /// Finds the most probable tokens of several positions, side by side on all threads: as many of each as `counts` says.
    pub(crate) fn lead(rows: &mut [Self], counts: &[usize]) {
        each_row(rows, 1, 2, |row, logits| {
            let (Some(&count), [Self::Here(values)]) = (counts.get(row), &mut *logits) else { return };
            // What is no number is an error for whoever chooses from it.
            let Some(normaliser) = log_sum_exp(values).ok().filter(|_| count > 0) else { return };
            let best = best(values, count);
            logits[0] = Self::Led(std::mem::take(values), Leaders { normaliser, best });
        });
    }

    /// All of them. From a device they are copied.
    pub(crate) fn whole(&self) -> Result<Cow<'_, [f32]>> {
        Ok(match self {
            Self::Here(logits) | Self::Led(logits, _) => Cow::Borrowed(logits),
            Self::There(logits) => Cow::Owned(logits.flatten_all()?.to_vec1()?),
        })
    }

    /// The `count` most probable tokens. A GPU finds them itself, so that they alone are copied.
    pub(crate) fn leaders(&self, count: usize) -> Result<Leaders> {
        #[cfg(feature = "cuda")]
        if let Self::There(logits) = self
            && logits.device().is_cuda()
            && count <= super::kernels::cuda::MOST_LEADERS
        {
            return super::kernels::cuda::leaders(logits, count);
        }
        if let Self::Led(logits, Leaders { normaliser, best }) = self
            && best.len() >= count.min(logits.len())
        {
            return Ok(Leaders { normaliser: *normaliser, best: best.iter().take(count).copied().collect() });
        }
        let logits = self.whole()?;
        Ok(Leaders { normaliser: log_sum_exp(&logits)?, best: best(&logits, count) })
    }

    /// Waits until they are computed.
    pub(crate) fn wait(&self) -> Result<()> {
        match self {
            Self::Here(_) | Self::Led(..) => Ok(()),
            Self::There(logits) => Ok(logits.device().synchronize()?),
        }
    }
}
