//! The head of the page: the question, the answer, and how sure it is.

use super::charts::{Difference, forest};
use super::{CHARTED, Report, View, dollars};
use crate::metrics::Comparison;
use serde::Serialize;

/// The box that is read first.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    kind: &'static str,
    badge: &'static str,
    headline: String,
    text: String,
    reference: String,
    margin: String,
    keys: Vec<(String, String, String)>,
    chart: String,
}

/// The question of the run.
pub(super) fn heading(report: &Report) -> String {
    let header = &report.header;
    let short = |text: &str| super::svg::short(text, 60);
    format!("Can {} take over from {} on {}?", short(&header.slm.model), short(&header.llm.model), short(&header.task))
}

/// What the answer stands on.
pub(super) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let header = &report.header;
    let mut facts = vec![
        ("Samples", format!("{} of the {} split", header.samples.len(), header.split.name())),
        ("Policies", report.summary.policies.len().to_string()),
        ("Trials", report.trials.to_string()),
        ("Measured", header.started_at.split('T').next().unwrap_or_default().to_owned()),
        ("On", super::svg::short(&header.machine.cpu, 60)),
    ];
    if report.runs.len() > 1 {
        facts.insert(0, ("Runs", report.runs.len().to_string()));
    }
    if header.llm_is_stand_in {
        facts.push(("Large model", "a stand-in on this machine".into()));
    }
    facts
}

pub(super) fn verdict(view: &View<'_>) -> Verdict {
    let summary = &view.report.summary;
    let found = &summary.verdict;
    let chosen = found.cell.as_ref().and_then(|cell| view.number_of(cell));
    let name = chosen.map(|chosen| view.name(chosen).to_owned()).or_else(|| found.policy.clone()).unwrap_or_default();
    let stays = chosen.is_some_and(|i| summary.policies[i].router_name() == found.reference);
    let (kind, badge, headline) = match (found.decided, stays) {
        (true, false) => ("yes", "Yes", format!("Use {name}")),
        (true, true) => ("no", "No", format!("Stay with {name}")),
        (false, _) => ("open", "Cannot tell", "This run does not decide it".into()),
    };
    let rows: Vec<Difference> = found.comparisons.iter().take(CHARTED).filter_map(|one| row(view, one)).collect();
    let chart = if rows.is_empty() {
        String::new()
    } else {
        forest("How much accuracy each policy gains or loses", &rows, found.margin, &found.reference)
    };
    Verdict {
        kind,
        badge,
        headline,
        text: super::svg::short(&found.text, 4000),
        reference: found.reference.clone(),
        margin: format!("{:.2}", found.margin),
        keys: keys(view, chosen),
        chart,
    }
}

fn row(view: &View<'_>, one: &Comparison) -> Option<Difference> {
    let difference = one.difference?;
    Some(Difference {
        name: view.name(view.number_of(&one.cell)?).to_owned(),
        value: difference.value,
        low: difference.low,
        high: difference.high,
        bound: difference.lower_bound,
        passes: one.non_inferior == Some(true),
    })
}

/// The few figures that the decision is about: those of the policy to choose, or of the best candidate, beside the reference.
fn keys(view: &View<'_>, chosen: Option<usize>) -> Vec<(String, String, String)> {
    let summary = &view.report.summary;
    let reference_name = &summary.verdict.reference;
    let reference = summary.policies.iter().position(|policy| policy.router_name() == reference_name);
    let is_reference = |i: usize| summary.policies[i].router_name() == reference_name;
    let best = view.order.iter().copied().find(|&i| !is_reference(i) && summary.policies[i].accuracy.value.is_some());
    let Some(subject) = chosen.filter(|&i| !is_reference(i)).or(best) else { return Vec::new() };
    let policy = &summary.policies[subject];
    let other = reference.map(|i| (&summary.policies[i], &view.report.details.policies[i]));
    let against =
        |figure: Option<String>| figure.map_or_else(String::new, |figure| format!("{reference_name}: {figure}"));
    let shown = |value: Option<f64>| value.map_or_else(|| "n/a".into(), |value| format!("{value:.2}"));
    let seconds =
        |value: Option<f64>| value.map_or_else(|| "n/a".into(), |s| format!("{} s", crate::metrics::significant(s, 3)));
    vec![
        ("Policy looked at".into(), view.name(subject).to_owned(), format!("n = {}", policy.n)),
        (
            "Accuracy".into(),
            shown(policy.accuracy.value),
            against(other.map(|(reference, _)| shown(reference.accuracy.value))),
        ),
        (
            "Cost of 1,000 queries".into(),
            dollars(view.report.details.policies[subject].cost.value),
            against(other.map(|(_, detail)| dollars(detail.cost.value))),
        ),
        (
            "Median latency".into(),
            seconds(policy.latency_s.p50),
            against(other.map(|(reference, _)| seconds(reference.latency_s.p50))),
        ),
        (
            "Asked the large model".into(),
            policy.llm_call_rate.map_or_else(|| "n/a".into(), |rate| format!("{:.0} %", rate * 100.0)),
            against(other.map(|(reference, _)| {
                reference.llm_call_rate.map_or_else(|| "n/a".into(), |rate| format!("{:.0} %", rate * 100.0))
            })),
        ),
    ]
}
