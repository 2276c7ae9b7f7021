//! How well confidences agree with outcomes.

use super::super::statistics::Undefined;
use super::check;

/// Bins of the calibration error, the usual number (Guo et al., "On Calibration of Modern Neural Networks", 2017).
pub const BINS: usize = 15;

/// Expected calibration error over bins of equal width: the mean over answers of |share right − mean confidence| of their
/// bin. Bin b of B holds the confidences in (b/B, (b+1)/B], the first one 0 too; empty bins count nothing.
pub fn ece(confidences: &[f64], right: &[bool], bins: usize) -> Result<f64, Undefined> {
    check(confidences, right)?;
    let bins = bins.max(1);
    let mut gaps = vec![0.0; bins];
    for (&p, &right) in confidences.iter().zip(right) {
        gaps[bin_of(p, bins)] += outcome(right) - p;
    }
    Ok(gaps.iter().map(|gap| gap.abs()).sum::<f64>() / confidences.len() as f64)
}

/// The bin whose upper edge is the first one that is not below `p`. Its edges are b/B as they come out in floating point.
pub(in crate::metrics) fn bin_of(p: f64, bins: usize) -> usize {
    let edge = |b: usize| b as f64 / bins as f64;
    let mut b = ((p * bins as f64) as usize).min(bins - 1);
    while b > 0 && p <= edge(b) {
        b -= 1;
    }
    while b + 1 < bins && p > edge(b + 1) {
        b += 1;
    }
    b
}

/// The same over bins that hold equally many answers, as near as can be: of the answers in order of confidence, bin b of
/// B ends after ⌈(b+1)·n/B⌉, or later where equal confidences would be cut apart.
pub fn ece_equal_mass(confidences: &[f64], right: &[bool], bins: usize) -> Result<f64, Undefined> {
    check(confidences, right)?;
    let mut sorted: Vec<(f64, bool)> = confidences.iter().copied().zip(right.iter().copied()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = sorted.len();
    let (mut total, mut start) = (0.0, 0);
    for b in 1..=bins.max(1) {
        let mut end = (b * n).div_ceil(bins.max(1));
        while end > start && end < n && sorted[end].0 == sorted[end - 1].0 {
            end += 1;
        }
        if end > start {
            total += sorted[start..end].iter().map(|&(p, right)| outcome(right) - p).sum::<f64>().abs();
            start = end;
        }
    }
    Ok(total / n as f64)
}

/// Brier score: the mean of (confidence − outcome)².
pub fn brier(confidences: &[f64], right: &[bool]) -> Result<f64, Undefined> {
    check(confidences, right)?;
    let sum: f64 = confidences.iter().zip(right).map(|(&p, &right)| (p - outcome(right)).powi(2)).sum();
    Ok(sum / confidences.len() as f64)
}

/// Area under the risk–coverage curve (Geifman and El-Yaniv, 2017): the mean over k = 1..n of the share wrong among the
/// k answers of highest confidence. Among equal confidences every order is equally likely, and the mean over them is taken.
pub fn aurc(confidences: &[f64], right: &[bool]) -> Result<f64, Undefined> {
    check(confidences, right)?;
    let mut sorted: Vec<(f64, bool)> = confidences.iter().copied().zip(right.iter().copied()).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut area, mut seen, mut wrong) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let errors = tied.iter().filter(|(_, right)| !right).count() as f64;
        let each = errors / tied.len() as f64;
        for j in 1..=tied.len() {
            area += (wrong + each * j as f64) / (seen + j as f64);
        }
        seen += tied.len() as f64;
        wrong += errors;
    }
    Ok(area / confidences.len() as f64)
}

fn outcome(right: bool) -> f64 {
    f64::from(u8::from(right))
}
