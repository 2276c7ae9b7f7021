//! Where a policy's time goes, its first trial and the later ones apart, and how the time is distributed.

use crate::clock::Component;
use crate::metrics::figure::Figure;
use crate::metrics::policy::latencies;
use crate::metrics::row::Row;
use crate::metrics::statistics::{MIN_N_FOR_P99, mean};
use serde::Serialize;

/// Points of a distribution at most.
const ECDF_POINTS: usize = 101;

/// The latency of one policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LatencyDetail {
    /// Seconds of each component in the policy's first scored trial, in the order of the flow, what no span explains last and
    /// scoring left out; empty where no trial was scored.
    pub first: Vec<f64>,
    /// Mean seconds of each component in the trials after it.
    pub later: Vec<f64>,
    /// Trials after the first.
    pub later_n: usize,
    /// The distribution over all trials.
    pub ecdf: Ecdf,
    /// Quantiles over all trials.
    pub p50: Figure,
    /// The 90th percentile.
    pub p90: Figure,
    /// The 99th percentile, from 100 trials up.
    pub p99: Figure,
}

/// The empirical distribution: the share of trials that took at most so long, at the values of evenly spaced ranks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ecdf {
    /// Seconds, ascending.
    pub seconds: Vec<f64>,
    /// Shares of trials up to these.
    pub shares: Vec<f64>,
}

/// The components of a latency in the order of its lists.
#[must_use]
pub fn parts() -> Vec<&'static str> {
    let measured = Component::ALL.into_iter().filter(|component| *component != Component::Scoring);
    measured.map(Component::name).chain([crate::metrics::UNACCOUNTED]).collect()
}

pub(super) fn latency(scored: &[&Row]) -> LatencyDetail {
    let times = latencies(scored);
    let (first, later) = scored.split_at(scored.len().min(1));
    let none = "no trial was scored";
    let p99 = match times.len() {
        0 => Figure::absent(none),
        n if n < MIN_N_FOR_P99 => {
            Figure::absent(format!("a 99th percentile needs {MIN_N_FOR_P99} trials, this policy has {n}"))
        }
        _ => Figure::quantile(&times, 0.99, none),
    };
    LatencyDetail {
        first: means(first),
        later: means(later),
        later_n: later.len(),
        ecdf: ecdf(&times),
        p50: Figure::quantile(&times, 0.5, none),
        p90: Figure::quantile(&times, 0.9, none),
        p99,
    }
}

/// Mean seconds of every component but scoring, and of what no span explains; empty without rows.
fn means(rows: &[&Row]) -> Vec<f64> {
    let average = |of: &dyn Fn(&Row) -> f64| mean(&rows.iter().map(|row| of(row)).collect::<Vec<_>>()).ok();
    let components = Component::ALL.into_iter().filter(|component| *component != Component::Scoring);
    let mut found: Vec<f64> = components.filter_map(|component| average(&|row| row.span(component))).collect();
    found.extend(average(&|row| row.unaccounted_s));
    found
}

/// The distribution of some values, thinned to ranks that are evenly spaced; the smallest and the largest stay.
pub(super) fn ecdf(values: &[f64]) -> Ecdf {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let kept = n.min(ECDF_POINTS);
    let ranks = (0..kept).map(|i| if kept < 2 { 0 } else { i * (n - 1) / (kept - 1) });
    let (seconds, shares) = ranks.map(|rank| (sorted[rank], (rank + 1) as f64 / n as f64)).unzip();
    Ecdf { seconds, shares }
}
