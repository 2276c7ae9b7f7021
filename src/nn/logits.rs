//! The logits of a position, wherever they were computed.

use super::sampler::{Candidate, best, log_sum_exp};
use crate::error::Result;
use candle_core::Tensor;
use std::borrow::Cow;

/// The logits of one position.
#[derive(Debug)]
pub(crate) enum Logits {
    /// On the CPU.
    Here(Vec<f32>),
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

    /// All of them. From a device they are copied.
    pub(crate) fn whole(&self) -> Result<Cow<'_, [f32]>> {
        Ok(match self {
            Self::Here(logits) => Cow::Borrowed(logits),
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
        let logits = self.whole()?;
        Ok(Leaders { normaliser: log_sum_exp(&logits)?, best: best(&logits, count) })
    }

    /// Waits until they are computed.
    pub(crate) fn wait(&self) -> Result<()> {
        match self {
            Self::Here(_) => Ok(()),
            Self::There(logits) => Ok(logits.device().synchronize()?),
        }
    }
}
