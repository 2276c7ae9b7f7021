//! Figures that only the report's page shows: what lies between the numbers of a summary, and how sure an order of policies is.
//!
//! Everything is made of the same [`Rows`] as the summary, with the same statistics. The lists that are drawn as curves are
//! thinned, so that their length does not grow with the run.

mod calls;
mod cost;
mod latency;
mod need;
mod ranks;
mod reliability;
mod seeds;
mod slices;
#[cfg(test)]
mod tests;

pub use calls::{CallTimes, Speed};
pub use cost::{LlmTokens, break_even_per_day};
pub use latency::{Ecdf, LatencyDetail, parts as latency_parts};
pub use need::{Need, Needed};
pub(super) use ranks::ranks as rank_policies;
pub use ranks::{RankRange, Ranks};
pub use reliability::{Bin, Reliability};
pub use seeds::SeedStability;
pub(super) use seeds::seeds as seed_stability;
pub use slices::{Slice, SliceValue};

use super::figure::Figure;
use super::routing::hull_of;
use super::row::Rows;
use super::summary::{CellTrials, Summary, by_cell};
use crate::record::{Place, RunHeader};
use crate::trial::Outcome;
use serde::Serialize;

/// What the page shows beside the summary. Its policies are those of the summary, in the same order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Details {
    /// One entry for each policy.
    pub policies: Vec<PolicyDetail>,
    /// The policies on the upper hull of accuracy over cost, from the cheapest up.
    pub hull_cost: Vec<usize>,
    /// The same over the median latency.
    pub hull_latency: Vec<usize>,
    /// The same over the energy of a trial.
    pub hull_energy: Vec<usize>,
    /// Which rank each policy may have.
    pub ranks: Ranks,
    /// Time to the first token and time per token, by model's tier and by whether a part of the prompt came from a cache.
    pub calls: Vec<CallTimes>,
    /// Tokens per second of the small model.
    pub speed: Speed,
    /// Whether the models' confidence can be believed.
    pub reliability: Vec<Reliability>,
    /// Accuracy by what kind of sample it is.
    pub slices: Vec<Slice>,
    /// Policies that were run with several seeds.
    pub seeds: Vec<SeedStability>,
}

/// What the page shows of one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyDetail {
    /// Dollars per 1,000 trials, the API's and the machine's together where both are priced.
    pub cost: Figure,
    /// Whether the machine's share is in it.
    pub cost_has_hardware: bool,
    /// Tokens of the LLM, for other prices than those of the run.
    pub llm_tokens: Option<LlmTokens>,
    /// Where the time went, first trial and later ones apart, and how it is distributed.
    pub latency: LatencyDetail,
    /// Who was sent to the LLM, and who needed it.
    pub need: Need,
}

/// Makes the figures. `summary` is that of the same rows.
#[must_use]
pub fn details(header: &RunHeader, rows: &Rows, summary: &Summary) -> Details {
    let cells = by_cell(header, rows, &mut Vec::new());
    let answers = need::Answers::of(&cells);
    let policies: Vec<PolicyDetail> = cells
        .iter()
        .zip(&summary.policies)
        .map(|(cell, policy)| {
            let scored: Vec<_> = if policy.refused { Vec::new() } else { cell.scored().collect() };
            let (cost, cost_has_hardware) = cost::cost(&scored, policy);
            PolicyDetail {
                cost,
                cost_has_hardware,
                llm_tokens: cost::llm_tokens(&scored),
                latency: latency::latency(&scored),
                need: need::need(cell, &answers),
            }
        })
        .collect();
    let costs: Vec<Option<f64>> = policies.iter().map(|policy| policy.cost.value).collect();
    let medians: Vec<Option<f64>> = summary.policies.iter().map(|policy| policy.latency_s.p50).collect();
    let joules: Vec<Option<f64>> =
        summary.policies.iter().map(|policy| policy.energy.joules_per_request.value).collect();
    Details {
        hull_cost: hull(&costs, summary),
        hull_latency: hull(&medians, summary),
        hull_energy: hull(&joules, summary),
        ranks: ranks::ranks(&cells, &summary.policies),
        calls: calls::call_times(&cells),
        speed: calls::speed(&cells),
        reliability: reliability::reliability(&cells),
        slices: slices::slices(rows, &cells),
        seeds: seeds::seeds(&cells),
        policies,
    }
}

/// The policies on the upper hull of accuracy over a burden.
fn hull(burdens: &[Option<f64>], summary: &Summary) -> Vec<usize> {
    let mut points: Vec<(f64, f64, usize)> = burdens
        .iter()
        .zip(&summary.policies)
        .enumerate()
        .filter_map(|(i, (burden, policy))| Some(((*burden)?, policy.accuracy.value?, i)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    let kept = hull_of(points.iter().map(|&(burden, quality, _)| (burden, quality)));
    kept.iter()
        .filter_map(|vertex| points.iter().find(|point| (point.0, point.1) == *vertex).map(|point| point.2))
        .collect()
}

/// A trial that is worth looking at, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The sample's number among all.
    pub sample: u32,
    /// For each cell, the run and the place of its record; `None` where the cell has none of this sample.
    pub places: Vec<Option<(u32, Place)>>,
}

/// Chooses at most `most` samples to be looked at: first those that policies disagree about, then those that all get wrong or
/// that failed; evenly over the run, so that no part of it is preferred.
#[must_use]
pub fn worth_showing(header: &RunHeader, rows: &Rows, most: usize) -> Vec<Shown> {
    let cells = by_cell(header, rows, &mut Vec::new());
    let mut right = vec![(0_u32, 0_u32); rows.samples.len()];
    for row in cells.iter().flat_map(|cell| &cell.trials) {
        let good = row.label_correct == Some(true);
        let bad = row.label_correct == Some(false) || row.outcome == Outcome::Failed;
        if let Some((rights, wrongs)) = right.get_mut(row.sample as usize) {
            *rights += u32::from(good);
            *wrongs += u32::from(bad);
        }
    }
    let with = |wanted: &dyn Fn(u32, u32) -> bool| -> Vec<u32> {
        (0..).zip(&right).filter(|(_, (good, bad))| wanted(*good, *bad)).map(|(sample, _)| sample).collect()
    };
    let disputed = evenly(&with(&|good, bad| good > 0 && bad > 0), most);
    let lost = evenly(&with(&|good, bad| good == 0 && bad > 0), most - disputed.len());
    let mut chosen = disputed;
    chosen.extend(lost);
    places(&cells, &chosen)
}

/// At most `most` samples evenly over the run, whatever became of them.
#[must_use]
pub fn evenly_over(header: &RunHeader, rows: &Rows, most: usize) -> Vec<Shown> {
    let cells = by_cell(header, rows, &mut Vec::new());
    let mut present = vec![false; rows.samples.len()];
    for row in cells.iter().flat_map(|cell| &cell.trials) {
        if let Some(present) = present.get_mut(row.sample as usize) {
            *present = true;
        }
    }
    let samples: Vec<u32> = (0..).zip(&present).filter(|(_, present)| **present).map(|(sample, _)| sample).collect();
    places(&cells, &evenly(&samples, most))
}

fn places(cells: &[CellTrials<'_>], samples: &[u32]) -> Vec<Shown> {
    let index: std::collections::HashMap<u32, usize> = samples.iter().copied().zip(0..).collect();
    let mut shown: Vec<Shown> =
        samples.iter().map(|&sample| Shown { sample, places: vec![None; cells.len()] }).collect();
    for (cell, trials) in cells.iter().enumerate() {
        for row in &trials.trials {
            if let Some(one) = index.get(&row.sample).and_then(|&at| shown.get_mut(at)) {
                one.places[cell] = Some(row.place);
            }
        }
    }
    shown
}

/// At most `most` of these, evenly spaced, in their order.
fn evenly<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|i| all[i * all.len() / most]).collect()
}
