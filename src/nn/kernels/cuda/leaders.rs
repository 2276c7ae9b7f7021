//! The most probable tokens, found where the logits are.

use super::{address, cuda, launch, unfilled};
use crate::error::{Context, Result, bail, ensure};
use crate::nn::logits::Leaders;
use crate::nn::sampler::Candidate;
use candle_core::{DType, Tensor};

/// More than this are found faster among all logits, on the CPU.
pub(crate) const MOST_LEADERS: usize = 32;

/// The `count` most probable tokens of one row, `[1, vocabulary]`.
pub(crate) fn leaders(logits: &Tensor, count: usize) -> Result<Leaders> {
    let (rows, columns) = logits.dims2()?;
    ensure!(rows == 1, "{rows} rows of logits at once");
    let count = count.min(columns);
    let told = unfilled((1, 3 + 2 * count), DType::F32, logits.device())?;
    let (from, to, width, wanted) = (address::<f32>(logits)?, address::<f32>(&told)?, columns as i32, count as i32);
    launch!(cuda(logits.device())?, "leaders", (1, 1, 1), 1024, 0, &from, &to, &width, &wanted);
    let told = told.flatten_all()?.to_vec1::<f32>()?;
    let [highest, sum, wrong, best @ ..] = told.as_slice() else { bail!("the GPU told nothing of the logits") };
    ensure!(
        *wrong == 0.0,
        "the model computed {wrong} logits that are no numbers: its weights are damaged, or its numbers overflow"
    );
    ensure!(*highest > f32::NEG_INFINITY, "the model gave no token any probability");
    let best = best.as_chunks::<2>().0.iter().map(|&[id, logit]| Candidate { id: id.to_bits(), logit }).collect();
    Ok(Leaders { normaliser: f64::from(*highest) + f64::from(*sum).ln(), best })
}
