//! Two policies on the same queries, each right or wrong.

use super::{Undefined, Z_ONE_SIDED, Z_TWO_SIDED, mean_difference_interval, undefined};
use serde::{Deserialize, Serialize};

/// The difference in the share of right answers between two policies over the same queries.
///
/// Each bound is the more cautious of two: the percentile bootstrap over queries, and Tango's score interval for paired
/// proportions (Statistics in Medicine 17, 1998). The bootstrap alone is sure of itself where a small sample happens to
/// hold no disagreement: from six queries that both get right it would conclude that they never differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Share right of the first minus share right of the second.
    pub value: f64,
    /// Lower end of the two-sided 95 % interval.
    pub low: f64,
    /// Upper end of the two-sided 95 % interval.
    pub high: f64,
    /// One-sided 95 % lower bound.
    pub lower_bound: f64,
    /// One-sided 95 % upper bound.
    pub upper_bound: f64,
    /// Number of queries that both answered.
    pub n: usize,
    /// Queries that both got right.
    pub both_right: usize,
    /// Queries that only the first got right.
    pub only_first: usize,
    /// Queries that only the second got right.
    pub only_second: usize,
    /// Queries that both got wrong.
    pub both_wrong: usize,
    /// Exact McNemar test of "both are right equally often", two-sided.
    pub p_value: f64,
}

/// Compares two policies over the same queries: element i of both sides is the same query.
pub fn paired_difference(first: &[bool], second: &[bool]) -> Result<PairedDifference, Undefined> {
    if first.len() != second.len() {
        return undefined("the two sides are not paired");
    }
    if first.is_empty() {
        return undefined("no query was answered by both");
    }
    let n = first.len();
    let count = |a: bool, b: bool| first.iter().zip(second).filter(|&(&x, &y)| x == a && y == b).count();
    let (only_first, only_second) = (count(true, false), count(false, true));
    let (sizes, gain, loss) = (n as f64, only_first as f64, only_second as f64);
    let bound = |z: f64| score_bound(sizes, gain, loss, z);
    let [mut low, mut high] = [bound(Z_TWO_SIDED), bound(-Z_TWO_SIDED)];
    let [mut lower_bound, mut upper_bound] = [bound(Z_ONE_SIDED), bound(-Z_ONE_SIDED)];
    let numbers = |side: &[bool]| side.iter().map(|&right| f64::from(u8::from(right))).collect::<Vec<_>>();
    // One pair has no bootstrap interval; the score interval stands alone.
    if let Ok((interval, [lower, upper])) = mean_difference_interval(&numbers(first), &numbers(second)) {
        low = low.min(interval.low);
        high = high.max(interval.high);
        lower_bound = lower_bound.min(lower);
        upper_bound = upper_bound.max(upper);
    }
    Ok(PairedDifference {
        value: (gain - loss) / sizes,
        low,
        high,
        lower_bound,
        upper_bound,
        n,
        both_right: count(true, true),
        only_first,
        only_second,
        both_wrong: count(false, false),
        p_value: mcnemar_exact(only_first, only_second),
    })
}

/// Exact McNemar test: the two-sided binomial p-value of the discordant pairs at one half. Without discordant pairs there
/// is no evidence of a difference, and it is 1.
#[must_use]
pub fn mcnemar_exact(only_first: usize, only_second: usize) -> f64 {
    let discordant = only_first + only_second;
    let fewer = only_first.min(only_second);
    // From the largest term down: each term is the one above times i / (n - i + 1).
    let ln_top = ln_choose(discordant, fewer) - discordant as f64 * std::f64::consts::LN_2;
    let (mut sum, mut term) = (0.0, 1.0);
    for i in (0..=fewer).rev() {
        sum += term;
        term *= i as f64 / (discordant - i + 1) as f64;
        if term < sum * 1e-18 {
            break;
        }
    }
    (2.0 * ln_top.exp() * sum).min(1.0)
}

fn ln_choose(n: usize, k: usize) -> f64 {
    use statrs::function::gamma::ln_gamma;
    if n < 50 {
        // Exact in small cases, where tables are checked by hand.
        return (1..=k).map(|i| (n - k + i) as f64 / i as f64).product::<f64>().ln();
    }
    ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
}

/// Tango's score bound of a paired difference: the difference at which the score statistic equals `z`. A positive `z`
/// gives the lower bound, a negative one the upper. `n` is the number of pairs, `gain` and `loss` the discordant ones.
#[must_use]
pub fn score_bound(n: f64, gain: f64, loss: f64, z: f64) -> f64 {
    let estimate = (gain - loss) / n;
    // The statistic falls as the assumed difference rises and is 0 at the estimate.
    let (mut low, mut high) = if z > 0.0 { (-1.0, estimate) } else { (estimate, 1.0) };
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if score_statistic(n, gain, loss, middle) > z {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

fn score_statistic(n: f64, gain: f64, loss: f64, difference: f64) -> f64 {
    let b = (2.0 * n - gain + loss) * difference - gain - loss;
    let c = -loss * difference * (1.0 - difference);
    // The likeliest share of losses, were the difference the true one.
    let losses = ((b * b - 8.0 * n * c).max(0.0).sqrt() - b) / (4.0 * n);
    let variance = n * (2.0 * losses + difference * (1.0 - difference));
    let distance = gain - loss - n * difference;
    if variance > 0.0 { distance / variance.sqrt() } else { distance * f64::INFINITY }
}
