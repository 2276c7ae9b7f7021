//! How sure the order of policies is.

use crate::metrics::statistics::{DRAWS, Resamples, quantile_of_sorted};
use crate::metrics::summary::{CellTrials, PolicySummary};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Drawn values at most: a run with many samples is resampled less often.
const MOST_DRAWN: usize = 40_000_000;
/// Resamples at least.
const FEWEST_DRAWS: usize = 200;
const SEED: u64 = 20_251_124;

/// The ranks that policies may have by accuracy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    /// Samples that all ranked policies answered.
    pub n: usize,
    /// Resamples of them.
    pub draws: usize,
    /// For each policy its range; null where it has no accuracy.
    pub of: Vec<Option<RankRange>>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The ranks within which a policy lies in 95 % of resamples of the samples; 1 is the best, equals share a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankRange {
    /// By what was measured.
    pub rank: usize,
    /// The best.
    pub best: usize,
    /// The worst.
    pub worst: usize,
}

pub(in crate::metrics) fn ranks(cells: &[CellTrials<'_>], policies: &[PolicySummary]) -> Ranks {
    let ranked: Vec<usize> =
        (0..cells.len()).filter(|&i| policies.get(i).is_some_and(|p| p.accuracy.value.is_some())).collect();
    let none = |reason: &str| Ranks { of: vec![None; cells.len()], reason: Some(reason.into()), ..Ranks::default() };
    if ranked.len() < 2 {
        return none("fewer than two policies have an accuracy");
    }
    let outcomes = common(cells, &ranked);
    let n = outcomes.first().map_or(0, Vec::len);
    if n < 2 {
        return none("the policies share fewer than two samples");
    }
    let draws = (MOST_DRAWN / n).clamp(FEWEST_DRAWS, DRAWS);
    let resamples = Resamples { units: u32::try_from(n).unwrap_or(u32::MAX), draws, seed: SEED };
    let drawn = resamples.map(|counts| {
        let right =
            |of: &Vec<bool>| of.iter().zip(counts).map(|(&right, &count)| u64::from(count) * u64::from(right)).sum();
        order(&outcomes.iter().map(right).collect::<Vec<u64>>())
    });
    let Ok(drawn) = drawn else { return none("the policies share fewer than two samples") };
    let measured =
        order(&outcomes.iter().map(|of| of.iter().filter(|&&right| right).count() as u64).collect::<Vec<_>>());
    let mut of = vec![None; cells.len()];
    for (place, &i) in ranked.iter().enumerate() {
        let end = |side: fn(&Places) -> usize, q: f64| {
            let mut all: Vec<f64> = drawn.iter().map(|places| side(&places[place]) as f64).collect();
            all.sort_unstable_by(f64::total_cmp);
            quantile_of_sorted(&all, q)
        };
        of[i] = Some(RankRange {
            rank: measured[place].best,
            best: end(|places| places.best, 0.025).floor() as usize,
            worst: end(|places| places.worst, 0.975).ceil() as usize,
        });
    }
    Ranks { n, draws, of, reason: None }
}

/// Whether each ranked policy is right, over the samples that all of them answered.
fn common(cells: &[CellTrials<'_>], ranked: &[usize]) -> Vec<Vec<bool>> {
    let right: Vec<HashMap<u32, bool>> = ranked
        .iter()
        .map(|&i| cells[i].scored().filter_map(|row| Some((row.sample, row.label_correct?))).collect())
        .collect();
    let Some(first) = ranked.first() else { return Vec::new() };
    let mut outcomes = vec![Vec::new(); ranked.len()];
    for row in cells[*first].scored() {
        let of_all: Option<Vec<bool>> = right.iter().map(|of| of.get(&row.sample).copied()).collect();
        for (outcome, right) in outcomes.iter_mut().zip(of_all.into_iter().flatten()) {
            outcome.push(right);
        }
    }
    outcomes
}

#[derive(Debug, Clone, Copy)]
struct Places {
    /// One more than the policies that are better.
    best: usize,
    /// The policies that are not worse.
    worst: usize,
}

fn order(scores: &[u64]) -> Vec<Places> {
    let place = |&score: &u64| Places {
        best: 1 + scores.iter().filter(|&&other| other > score).count(),
        worst: scores.iter().filter(|&&other| other >= score).count(),
    };
    scores.iter().map(place).collect()
}
