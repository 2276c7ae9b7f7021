//! Where the time of trials went.

use super::row::Row;
use super::statistics;
use crate::clock::Component;
use serde::{Deserialize, Serialize};

/// The name under which wall time stands that no span accounts for.
pub const UNACCOUNTED: &str = "unaccounted";

/// The time of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComponentSummary {
    /// The component's name, or [`UNACCOUNTED`].
    pub name: String,
    /// Median over the trials, seconds; a trial that spent nothing here counts as 0.
    pub p50_s: Option<f64>,
    /// Mean over the trials, seconds.
    pub mean_s: Option<f64>,
    /// Share of all time of all trials; the shares add up to 1.
    pub share: Option<f64>,
}

/// The breakdown over some trials: every component in the order of the flow, then the rest.
pub(super) fn components<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<ComponentSummary> {
    let rows: Vec<&Row> = rows.collect();
    let of = |component: Component| rows.iter().map(|row| row.span(component)).collect::<Vec<f64>>();
    let mut times: Vec<(&str, Vec<f64>)> = Component::ALL.iter().map(|&part| (part.name(), of(part))).collect();
    times.push((UNACCOUNTED, rows.iter().map(|row| row.unaccounted_s).collect()));
    let total: f64 = times.iter().flat_map(|(_, times)| times).sum();
    times
        .into_iter()
        .map(|(name, times)| ComponentSummary {
            name: name.into(),
            p50_s: statistics::quantile(&times, 0.5).ok(),
            mean_s: statistics::mean(&times).ok(),
            share: (total > 0.0).then(|| times.iter().sum::<f64>() / total),
        })
        .collect()
}
