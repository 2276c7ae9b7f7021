//! Means, quantiles, proportions and differences with their 95 % intervals.
//!
//! A figure that cannot be had is [`Undefined`] with its reason: no values, a value that is not a number, one value where
//! an interval needs two. Every bootstrap is seeded, so that the same records give the same figures, and resamples of
//! equally many values use the same indices, so that policies are compared on the same draws.

mod bootstrap;
mod correlation;
mod multiple;
mod paired;
mod ranking;
mod resample;

pub use bootstrap::{
    DRAWS, MOST_RESAMPLED, figure_interval, mean_difference_interval, mean_interval, quantile_interval, ratio_interval,
};
pub use correlation::{pearson, spearman};
pub use multiple::holm;
pub use paired::{PairedDifference, mcnemar_exact, paired_difference, score_bound};
pub use ranking::auroc;
pub use resample::{Resamples, percentile_ends};

/// The standard normal quantile of a two-sided 95 % interval.
pub const Z_TWO_SIDED: f64 = 1.959_963_984_540_054;

/// The standard normal quantile of a one-sided 95 % bound.
pub const Z_ONE_SIDED: f64 = 1.644_853_626_951_472_2;

/// The smallest n for which a 99th percentile is shown: below it, the figure is the largest value or near it.
pub const MIN_N_FOR_P99: usize = 100;

/// An estimate and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Number of values behind it.
    pub n: usize,
}

/// Why a figure cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undefined(pub String);

pub(crate) fn undefined<T>(reason: &str) -> Result<T, Undefined> {
    Err(Undefined(reason.into()))
}

/// Share of `successes` in `n` with its Wilson score interval, without continuity correction.
pub fn wilson(successes: usize, n: usize) -> Result<Interval, Undefined> {
    if n == 0 {
        return undefined("there are no values");
    }
    if successes > n {
        return undefined("there are more successes than values");
    }
    let (count, share, z2) = (n as f64, successes as f64 / n as f64, Z_TWO_SIDED * Z_TWO_SIDED);
    let centre = (share + z2 / (2.0 * count)) / (1.0 + z2 / count);
    let half = Z_TWO_SIDED / (1.0 + z2 / count) * (share * (1.0 - share) / count + z2 / (4.0 * count * count)).sqrt();
    // At the ends the bound is exact; the formula misses it by a rounding error.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == n { 1.0 } else { (centre + half).min(1.0) };
    Ok(Interval { value: share, low, high, n })
}

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> Result<f64, Undefined> {
    refuse_odd(values)?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// The quantile `q` by linear interpolation between order statistics (type 7, the default of NumPy and R).
pub fn quantile(values: &[f64], q: f64) -> Result<f64, Undefined> {
    refuse_odd(values)?;
    if !(0.0..=1.0).contains(&q) {
        return undefined("a quantile lies between 0 and 1");
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(quantile_of_sorted(&sorted, q))
}

/// Type 7 quantile of values in ascending order, of which there is at least one.
pub(crate) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, part) = (position.floor() as usize, position.fract());
    let low = sorted[below];
    match sorted.get(below + 1) {
        Some(high) if part > 0.0 => low + (high - low) * part,
        _ => low,
    }
}

fn refuse_odd(values: &[f64]) -> Result<(), Undefined> {
    if values.is_empty() {
        return undefined("there are no values");
    }
    if values.iter().any(|value| !value.is_finite()) {
        return undefined("a value is not a finite number");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
