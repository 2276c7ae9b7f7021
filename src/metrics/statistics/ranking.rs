//! How well a score separates two classes.

use super::{Undefined, refuse_odd, undefined};

/// The area under the ROC curve: the probability that a positive scores above a negative, ties counted as one half
/// (the Mann–Whitney statistic over the number of pairs).
pub fn auroc(scores: &[f64], positive: &[bool]) -> Result<f64, Undefined> {
    refuse_odd(scores)?;
    if scores.len() != positive.len() {
        return undefined("scores and classes are not paired");
    }
    let positives = positive.iter().filter(|&&is| is).count();
    let negatives = positive.len() - positives;
    if positives == 0 || negatives == 0 {
        return undefined("only one class is there");
    }
    let mut ascending: Vec<(f64, bool)> = scores.iter().copied().zip(positive.iter().copied()).collect();
    ascending.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut won) = (0.0, 0.0);
    for tied in ascending.chunk_by(|a, b| a.0 == b.0) {
        let above = tied.iter().filter(|(_, is)| *is).count() as f64;
        let equal = tied.len() as f64 - above;
        won += above * (below + equal / 2.0);
        below += equal;
    }
    Ok(won / (positives as f64 * negatives as f64))
}
