//! How far a policy's accuracy depends on the seed.

use crate::metrics::figure::Figure;
use crate::metrics::statistics::mean;
use crate::metrics::summary::CellTrials;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One policy under several seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedStability {
    /// Its router, memory and contract.
    pub policy: String,
    /// Its seeds, and the accuracy under each.
    pub seeds: Vec<(u64, Figure)>,
    /// Mean of the accuracies.
    pub mean: Option<f64>,
    /// Their standard deviation, with n − 1.
    pub deviation: Option<f64>,
    /// The largest less the smallest.
    pub range: Option<f64>,
    /// Share of the samples on which all seeds are right or all are wrong.
    pub agreement: Figure,
}

/// The policies that were run with two seeds or more.
pub(in crate::metrics) fn seeds(cells: &[CellTrials<'_>]) -> Vec<SeedStability> {
    let mut groups: Vec<(String, Vec<&CellTrials<'_>>)> = Vec::new();
    for cell in cells {
        let of = cell.cell;
        let key = format!("{}/{}/{}", of.router_name(), of.memory.name(), of.contract.name());
        match groups.iter_mut().find(|(known, group)| {
            *known == key
                && group
                    .iter()
                    .all(|other| (&other.cell.slm, &other.cell.llm, other.cell.repeat) == (&of.slm, &of.llm, of.repeat))
        }) {
            Some((_, group)) => group.push(cell),
            None => groups.push((key, vec![cell])),
        }
    }
    groups.retain(|(_, group)| group.iter().any(|cell| cell.cell.seed != group[0].cell.seed));
    groups.into_iter().map(|(policy, group)| stability(policy, &group)).collect()
}

fn stability(policy: String, group: &[&CellTrials<'_>]) -> SeedStability {
    let right: Vec<HashMap<u32, bool>> = group
        .iter()
        .map(|cell| cell.scored().filter_map(|row| Some((row.sample, row.label_correct?))).collect())
        .collect();
    let share = |of: &HashMap<u32, bool>| {
        Figure::count(of.values().filter(|&&right| right).count(), of.len(), "no trial of this seed was scored")
    };
    let seeds: Vec<(u64, Figure)> = group.iter().zip(&right).map(|(cell, of)| (cell.cell.seed, share(of))).collect();
    let values: Option<Vec<f64>> = seeds.iter().map(|(_, figure)| figure.value).collect();
    let values = values.unwrap_or_default();
    let average = mean(&values).ok();
    let deviation = average.filter(|_| values.len() > 1).map(|average| {
        (values.iter().map(|value| (value - average).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
    });
    let range = average
        .map(|_| values.iter().copied().fold(f64::MIN, f64::max) - values.iter().copied().fold(f64::MAX, f64::min));
    let agree: Vec<bool> = right
        .first()
        .into_iter()
        .flatten()
        .filter_map(|(sample, &first)| {
            let others: Option<Vec<bool>> = right.iter().map(|of| of.get(sample).copied()).collect();
            Some(others?.iter().all(|&other| other == first))
        })
        .collect();
    let agreement = Figure::share(&agree, "no sample was scored under every seed");
    SeedStability { policy, seeds, mean: average, deviation, range, agreement }
}
