//! Where the time of trials went.

use super::statistics;
use crate::clock::Component;
use crate::record::TrialRecord;
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

/// Wall time of a trial without scoring, which comes after the answer.
pub(super) fn latency_s(record: &TrialRecord) -> f64 {
    let spans = &record.trial.spans;
    spans.total().0 - spans.get(Component::Scoring).0 + record.unaccounted_s.0
}

/// The breakdown over some trials: every component in the order of the flow, then the rest.
pub(super) fn components<'a>(trials: impl Iterator<Item = &'a TrialRecord>) -> Vec<ComponentSummary> {
    let trials: Vec<_> = trials.collect();
    let of = |component: Component| trials.iter().map(|record| record.trial.spans.get(component).0).collect();
    let mut times: Vec<(&str, Vec<f64>)> = Component::ALL.into_iter().map(|part| (part.name(), of(part))).collect();
    times.push((UNACCOUNTED, trials.iter().map(|record| record.unaccounted_s.0).collect()));
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
