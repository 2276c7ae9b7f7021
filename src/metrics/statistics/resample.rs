//! Bootstrap draws as counts: how often each unit is in a resample. Whatever is computed from the same counts is paired.
//!
//! A unit is a query. Where a query stands in several rows (seeds that repeat), all its rows are drawn together, which is the
//! cluster bootstrap.

use super::{Undefined, quantile_of_sorted, undefined};
use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand::rngs::SmallRng;
use rayon::prelude::*;

/// How many resamples of how many units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resamples {
    /// Units that there are, and that each resample draws.
    pub units: u32,
    /// Resamples.
    pub draws: usize,
    /// The same seed gives the same resamples, on however many threads.
    pub seed: u64,
}

impl Resamples {
    /// What `figure` makes of the counts of each resample, in the order of the resamples.
    pub fn map<T: Send>(&self, figure: impl Fn(&[u16]) -> T + Sync) -> Result<Vec<T>, Undefined> {
        if self.units < 2 {
            return undefined("one query has no spread: an interval needs two");
        }
        let Ok(unit) = Uniform::new(0, self.units) else { return undefined("there are no queries") };
        let draw = |counts: &mut Vec<u16>, draw: usize| {
            counts.fill(0);
            let mut random = SmallRng::seed_from_u64(self.seed.wrapping_add(draw as u64));
            for _ in 0..self.units {
                let count = &mut counts[unit.sample(&mut random) as usize];
                *count = count.saturating_add(1);
            }
            figure(counts)
        };
        let fresh = || vec![0_u16; self.units as usize];
        Ok((0..self.draws).into_par_iter().map_init(fresh, draw).collect())
    }
}

/// The ends of a percentile interval over resamples: `level` of them lie below, `level` above. A resample in which the figure
/// is undefined (`None`) counts as lower than all for the lower end and as higher than all for the upper end, so that
/// leaving it out cannot make the interval narrower.
pub fn percentile_ends(drawn: &[Option<f64>], level: f64) -> Result<(f64, f64), Undefined> {
    if drawn.is_empty() {
        return undefined("there are no resamples");
    }
    let missing = drawn.iter().filter(|figure| figure.is_none()).count();
    let end = |stand_in: f64, q: f64| {
        let mut sorted: Vec<f64> = drawn.iter().map(|figure| figure.unwrap_or(stand_in)).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        quantile_of_sorted(&sorted, q)
    };
    let (low, high) = (end(f64::NEG_INFINITY, level), end(f64::INFINITY, 1.0 - level));
    if low.is_finite() && high.is_finite() {
        Ok((low, high))
    } else {
        Err(Undefined(format!("it is undefined in {missing} of {} resamples", drawn.len())))
    }
}
