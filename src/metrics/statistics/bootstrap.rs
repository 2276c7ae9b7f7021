//! Percentile bootstrap: resample the queries with replacement, take the middle 95 % of what comes out. From
//! [`MOST_RESAMPLED`] values up its limit stands in its place: the normal interval of a mean, order statistics of a quantile.

use super::{Interval, Undefined, Z_ONE_SIDED, Z_TWO_SIDED, mean, quantile, quantile_of_sorted, refuse_odd, undefined};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Resamples drawn for each interval.
pub const DRAWS: usize = 2000;

/// So many values are resampled at most. Of more, the bootstrap's interval differs from its limit by less than the figures
/// that are shown, and takes minutes for a million.
pub const MOST_RESAMPLED: usize = 10_000;

/// The same for every interval: equally many values are resampled by the same indices.
const SEED: u64 = 20_251_124;

/// The mean with its 95 % interval.
pub fn mean_interval(values: &[f64]) -> Result<Interval, Undefined> {
    let value = mean(values)?;
    needs_two(values.len())?;
    if values.len() > MOST_RESAMPLED {
        let half = Z_TWO_SIDED * standard_error(values, value);
        return Ok(Interval { value, low: value - half, high: value + half, n: values.len() });
    }
    let mut means = Vec::with_capacity(DRAWS);
    resample(values.len(), |indices| {
        means.push(indices.iter().map(|&i| values[i as usize]).sum::<f64>() / values.len() as f64);
    });
    Ok(middle(value, means, values.len()))
}

/// A quantile with its 95 % interval.
pub fn quantile_interval(values: &[f64], q: f64) -> Result<Interval, Undefined> {
    let value = quantile(values, q)?;
    needs_two(values.len())?;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted.len() > MOST_RESAMPLED {
        let [low, high] = order_statistics(&sorted, q);
        return Ok(Interval { value, low, high, n: sorted.len() });
    }
    let mut quantiles = Vec::with_capacity(DRAWS);
    let mut drawn = vec![0.0; sorted.len()];
    let mut counts = vec![0_usize; sorted.len()];
    resample(sorted.len(), |indices| {
        // Counting how often each rank was drawn gives the resample in ascending order without sorting it.
        counts.fill(0);
        for &i in indices {
            counts[i as usize] += 1;
        }
        let mut end = 0;
        for (value, &count) in sorted.iter().zip(&counts) {
            drawn[end..end + count].fill(*value);
            end += count;
        }
        quantiles.push(quantile_of_sorted(&drawn, q));
    });
    Ok(middle(value, quantiles, sorted.len()))
}

/// The mean of `first` minus the mean of `second` over the same queries, with its two-sided 95 % interval and its two
/// one-sided 95 % bounds (lower, upper).
pub fn mean_difference_interval(first: &[f64], second: &[f64]) -> Result<(Interval, [f64; 2]), Undefined> {
    refuse_odd(first)?;
    refuse_odd(second)?;
    if first.len() != second.len() {
        return undefined("the two sides are not paired");
    }
    needs_two(first.len())?;
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let value = mean(&differences)?;
    if differences.len() > MOST_RESAMPLED {
        let error = standard_error(&differences, value);
        let end = |z: f64| value + z * error;
        let interval = Interval { value, low: end(-Z_TWO_SIDED), high: end(Z_TWO_SIDED), n: differences.len() };
        return Ok((interval, [end(-Z_ONE_SIDED), end(Z_ONE_SIDED)]));
    }
    let mut means = Vec::with_capacity(DRAWS);
    resample(differences.len(), |indices| {
        means.push(indices.iter().map(|&i| differences[i as usize]).sum::<f64>() / differences.len() as f64);
    });
    means.sort_unstable_by(f64::total_cmp);
    let one_sided = [quantile_of_sorted(&means, 0.05), quantile_of_sorted(&means, 0.95)];
    Ok((middle(value, means, differences.len()), one_sided))
}

/// Any figure of `n` rows with its 95 % interval: `figure` gets the indices of the rows of each resample. Resamples for which
/// it is undefined (one class alone was drawn) are left out; where they are more than half, there is no interval.
pub fn figure_interval(n: usize, figure: impl Fn(&[usize]) -> Result<f64, Undefined>) -> Result<Interval, Undefined> {
    let all: Vec<usize> = (0..n).collect();
    let value = figure(&all)?;
    needs_two(n)?;
    let mut drawn = Vec::with_capacity(DRAWS);
    let mut rows = all;
    resample(n, |indices| {
        rows.clear();
        rows.extend(indices.iter().map(|&i| i as usize));
        drawn.extend(figure(&rows));
    });
    if drawn.len() * 2 < DRAWS {
        return undefined("most resamples leave the figure undefined");
    }
    Ok(middle(value, drawn, n))
}

/// The ratio of two sums over the same queries with its 95 % interval. Draws in which the lower sum is zero say nothing and
/// are left out.
pub fn ratio_interval(upper: &[f64], lower: &[f64]) -> Result<Interval, Undefined> {
    refuse_odd(upper)?;
    refuse_odd(lower)?;
    if upper.len() != lower.len() {
        return undefined("the two sides are not paired");
    }
    figure_interval(upper.len(), |rows| {
        let below: f64 = rows.iter().map(|&row| lower[row]).sum();
        if below == 0.0 {
            return undefined("there is nothing to divide by");
        }
        Ok(rows.iter().map(|&row| upper[row]).sum::<f64>() / below)
    })
}

/// The bootstrap's standard error of a mean: √(Σ(x − mean)² / n) / √n.
fn standard_error(values: &[f64], mean: f64) -> f64 {
    let n = values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n / n).sqrt()
}

/// The values between which a quantile lies with 95 %: how many values lie below it is binomial, here taken as normal.
fn order_statistics(sorted: &[f64], q: f64) -> [f64; 2] {
    let n = sorted.len() as f64;
    let spread = Z_TWO_SIDED * (q * (1.0 - q) / n).sqrt();
    [q - spread, q + spread].map(|at| quantile_of_sorted(sorted, at.clamp(0.0, 1.0)))
}

fn needs_two(n: usize) -> Result<(), Undefined> {
    if n < 2 { undefined("one value has no spread: an interval needs two") } else { Ok(()) }
}

fn middle(value: f64, mut drawn: Vec<f64>, n: usize) -> Interval {
    drawn.sort_unstable_by(f64::total_cmp);
    Interval { value, low: quantile_of_sorted(&drawn, 0.025), high: quantile_of_sorted(&drawn, 0.975), n }
}

fn resample(n: usize, mut each: impl FnMut(&[u32])) {
    let mut random = SmallRng::seed_from_u64(SEED);
    let bound = u32::try_from(n).unwrap_or(u32::MAX);
    let mut indices = vec![0_u32; n];
    for _ in 0..DRAWS {
        indices.fill_with(|| random.random_range(0..bound));
        each(&indices);
    }
}
