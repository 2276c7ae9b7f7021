//! What a policy takes of the machine: energy, and what the machine costs beside the API.

use super::details::break_even_per_day;
use super::figure::Figure;
use super::price::local_seconds;
use super::row::Row;
use super::statistics::mean;
use super::summary::PolicySummary;
use crate::clock::Component;
use crate::device::Basis;
use crate::record::{HardwarePrice, RunHeader};
use crate::units::Joules;
use serde::{Deserialize, Serialize};

const SECONDS_OF_DAY: f64 = 86_400.0;

/// Energy of the scored trials of a policy, loading and warming up excluded, as is what a stand-in took in the LLM's place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EnergyUse {
    /// Where the figures come from; null is "not measured".
    pub basis: Option<Basis>,
    /// Joules of a trial.
    pub joules_per_request: Figure,
    /// Joules of a trial above those that the resting machine takes in the same time.
    pub joules_per_request_above_idle: Figure,
    /// Joules of all trials over the tokens that models on this machine generated in them; null where there are none.
    pub joules_per_output_token: Option<f64>,
    /// The same above the resting machine.
    pub joules_per_output_token_above_idle: Option<f64>,
    /// Power of the resting machine.
    pub idle_watts: Option<f64>,
}

/// What the machine costs in a policy, means over scored trials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineUse {
    /// Seconds that the machine works on a trial.
    pub busy_s: Option<f64>,
    /// The machine's price and hire, dollars for 1,000 trials.
    pub amortisation_usd_per_1000: Option<f64>,
    /// Its electricity; null where it has no tariff, or neither counters nor a power were there.
    pub energy_usd_per_1000: Option<f64>,
    /// Queries a day from which the machine is paid by what the policy saves on the API against the run's reference; null where it
    /// saves nothing.
    pub break_even_per_day: Option<f64>,
    /// Queries a day that the machine can do one after the other; null where it does nothing for them.
    pub most_per_day: Option<f64>,
}

/// What electricity costs, of a trial whose energy is known or follows from the machine's power.
pub(super) fn energy_usd(header: &RunHeader, energy_j: Option<f64>, busy_s: f64) -> Option<f64> {
    let hardware = header.hardware_price.as_ref()?;
    hardware.energy_usd(energy_j.map(Joules), busy_s).map(|usd| usd.0)
}

pub(super) fn energy_use(header: &RunHeader, scored: &[&Row], why: &dyn Fn(&str) -> String) -> EnergyUse {
    let source = &header.energy;
    let reason = source.reason.clone().unwrap_or_else(|| "the run recorded no energy".to_owned());
    let all = |of: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> {
        scored.iter().map(|row| of(row)).collect::<Option<Vec<f64>>>().unwrap_or_default()
    };
    let spent = all(&|row| row.energy_j);
    let above = all(&|row| Some(row.energy_j? - source.idle_watts? * counted_s(header, row)));
    let tokens: u64 = scored.iter().map(|row| row.tokens.slm.output_tokens).sum();
    let per_token =
        |joules: &[f64]| (tokens > 0 && !joules.is_empty()).then(|| joules.iter().sum::<f64>() / tokens as f64);
    let no_idle = match source.basis {
        Some(Basis::Estimated) => "an estimate from a given power knows no resting machine".to_owned(),
        _ => reason.clone(),
    };
    EnergyUse {
        basis: source.basis,
        joules_per_request: Figure::mean(&spent, &why(&reason)),
        joules_per_request_above_idle: Figure::mean(&above, &why(&no_idle)),
        joules_per_output_token: per_token(&spent),
        joules_per_output_token_above_idle: per_token(&above),
        idle_watts: source.idle_watts,
    }
}

/// The time over which a trial's energy was counted: a stand-in's was not.
fn counted_s(header: &RunHeader, row: &Row) -> f64 {
    row.latency_s() - if header.llm_is_stand_in { row.span(Component::Network) } else { 0.0 }
}

pub(super) fn machine_use(header: &RunHeader, scored: &[&Row]) -> MachineUse {
    let Some(hardware) = &header.hardware_price else { return MachineUse::default() };
    let busy = |row: &Row| local_seconds(|component| row.span(component));
    let average = |values: Vec<f64>| mean(&values).ok();
    let Some(busy_s) = average(scored.iter().map(|row| busy(row)).collect()) else { return MachineUse::default() };
    let energy: Option<Vec<f64>> =
        scored.iter().map(|row| Some(energy_usd(header, row.energy_j, busy(row))? * 1000.0)).collect();
    MachineUse {
        busy_s: Some(busy_s),
        amortisation_usd_per_1000: Some(busy_s / 3600.0 * hardware.usd_per_hour * 1000.0),
        energy_usd_per_1000: energy.and_then(average),
        break_even_per_day: None,
        most_per_day: (busy_s > 0.0).then(|| SECONDS_OF_DAY / busy_s),
    }
}

/// Sets from how many queries a day each policy pays the machine, against the reference beside it.
pub(super) fn break_even(header: &RunHeader, policies: &mut [PolicySummary], reference: &str) {
    let Some(day) = header.hardware_price.as_ref().map(HardwarePrice::per_day) else { return };
    // What a query costs as it comes: the API, and the electricity where that is known.
    let running = |policy: &PolicySummary| {
        Some(policy.cost_usd_per_1000.api? + policy.machine_use.energy_usd_per_1000.unwrap_or(0.0))
    };
    let beside = |policy: &PolicySummary| (policy.memory, policy.contract, policy.seed);
    let references: Vec<_> = policies
        .iter()
        .filter(|policy| policy.router_name() == reference)
        .filter_map(|policy| Some((beside(policy), running(policy)?)))
        .collect();
    for policy in policies.iter_mut().filter(|policy| policy.router_name() != reference) {
        let own = references.iter().find(|(place, _)| *place == beside(policy)).or(references.first());
        policy.machine_use.break_even_per_day =
            own.zip(running(policy)).and_then(|((_, against), running)| break_even_per_day(*against, running, day));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::EnergySource;
    use crate::metrics::{Summary, example, summarise};

    fn summary(change: impl FnOnce(&mut RunHeader, &mut Vec<crate::record::TrialRecord>)) -> Summary {
        let (mut header, mut trials) = example::run();
        change(&mut header, &mut trials);
        summarise(&header, &trials)
    }

    fn near(value: Option<f64>, expected: f64) {
        assert!(value.is_some_and(|value| (value - expected).abs() < 1e-9), "{value:?} is not {expected}");
    }

    #[test]
    fn joules_stand_for_a_request_and_a_token_with_and_without_the_resting_machine() {
        let measured = summary(|header, trials| {
            header.llm_is_stand_in = false;
            header.energy =
                EnergySource { basis: Some(Basis::Measured), idle_watts: Some(4.0), ..EnergySource::default() };
            for trial in trials.iter_mut() {
                trial.energy_j = Some(Joules(30.0));
            }
        });
        let slm = &measured.policies[1];
        let used = &slm.energy;
        near(used.joules_per_request.value, 30.0);
        let (requests, tokens) = (slm.n as f64, slm.tokens.slm.output_tokens as f64);
        near(used.joules_per_output_token, 30.0 * requests / tokens);
        let wall =
            slm.components.iter().filter(|part| part.name != "scoring").filter_map(|part| part.mean_s).sum::<f64>();
        near(used.joules_per_request_above_idle.value, 30.0 - 4.0 * wall);
        assert_eq!(measured.policies[0].energy.joules_per_output_token, None, "no token was generated here");
    }

    #[test]
    fn one_trial_without_energy_leaves_the_figure_out_and_the_reason_is_told() {
        let missing = summary(|header, trials| {
            header.energy = EnergySource { reason: Some("no counters".into()), ..EnergySource::default() };
            for trial in trials.iter_mut().skip(1) {
                trial.energy_j = Some(Joules(30.0));
            }
        });
        let used = &missing.policies[0].energy;
        assert_eq!((used.basis, used.joules_per_request.value), (None, None));
        assert_eq!(used.joules_per_request.reason.as_deref(), Some("no counters"));
        assert!(missing.notes.iter().any(|note| note.contains("not measured: no counters")), "{:?}", missing.notes);
    }

    #[test]
    fn the_break_even_is_the_days_price_over_what_a_query_saves() {
        let priced = summary(|header, _| {
            let machine = HardwarePrice::hourly("test", 3.6, "");
            header.hardware_price =
                Some(HardwarePrice { usd_per_day: Some(2.0), watts: Some(36.0), usd_per_kwh: Some(0.5), ..machine });
        });
        let [llm, slm] = [0, 1].map(|at| &priced.policies[at]);
        let used = &slm.machine_use;
        let busy = used.busy_s.unwrap();
        near(used.amortisation_usd_per_1000, busy);
        near(used.energy_usd_per_1000, busy * 36.0 / 3.6e6 * 0.5 * 1000.0);
        let saved =
            llm.cost_usd_per_1000.api.unwrap() - slm.cost_usd_per_1000.api.unwrap() - used.energy_usd_per_1000.unwrap();
        near(used.break_even_per_day, 2.0 / (saved / 1000.0));
        near(used.most_per_day, 86_400.0 / busy);
        assert_eq!((llm.machine_use.break_even_per_day, llm.machine_use.most_per_day), (None, None));
    }
}
