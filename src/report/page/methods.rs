//! What the figures mean, and where they come from.

use super::View;
use super::html::{folded, grid, heading, note, table, text};
use crate::metrics::statistics::{DRAWS, MOST_RESAMPLED};
use crate::record::FORMAT;
use crate::report::markdown::origins;
use crate::report::tables::{alone, latency as components, quality};
use crate::report::{Align, Cell, Column};
use std::fmt::Write as _;

pub(super) fn methods(view: &View<'_>) -> String {
    let report = view.report;
    let mut out = warnings(view);
    out += &definitions(view);
    for run in &report.runs {
        out += &heading(&if report.runs.len() > 1 {
            format!("Where {} comes from", run.id)
        } else {
            "Where this comes from".into()
        });
        out += "<dl class=\"plain\">";
        for (name, value) in origins(run) {
            let shown = if name == "command" || name == "settings" {
                format!("<code>{}</code>", text(&value))
            } else {
                text(&value)
            };
            let _ = write!(out, "<dt>{name}</dt><dd><bdi>{shown}</bdi></dd>");
        }
        out += "</dl>";
    }
    let fields = quality(&report.summary);
    if fields.columns.len() > 1 {
        out += &folded(&fields.title.clone(), &table(&fields, "sortable"));
    }
    let of_models = alone(&report.summary);
    out += &folded(&of_models.title.clone(), &table(&of_models, ""));
    let parts = components(&report.summary);
    out += &folded("Latency by component, over all trials", &table(&parts, "sortable"));
    out += &folded("Figures that are not there, and why", &absent(view));
    out + &note(
        "Every figure is made from run.json and trials.jsonl, which hold the raw outputs; summary.json holds the figures of the tables \
         with all digits. This page holds no address and reaches none.",
    )
}

/// What the reader must know before anything else of the methods.
fn warnings(view: &View<'_>) -> String {
    let report = view.report;
    let mut notes: Vec<String> = report.summary.notes.clone();
    if report.torn {
        notes.push("The last line of trials.jsonl was torn by a crash and is left out.".into());
    }
    let formats: Vec<u32> = report.runs.iter().map(|run| run.format).collect();
    if formats.iter().any(|&format| format != FORMAT) {
        let all: Vec<String> = formats.iter().map(ToString::to_string).collect();
        notes.push(format!(
            "Record formats {} and not {FORMAT} alone: figures whose fields an older format lacks are absent, never zero.",
            all.join(", ")
        ));
    }
    if report.trials == 0 {
        notes.insert(0, "The run holds no finished trial: there is nothing to report but where it comes from.".into());
    }
    notes.iter().map(|one| note(one)).collect()
}

fn definitions(view: &View<'_>) -> String {
    let margin = view.report.summary.verdict.margin;
    let reference = &view.report.summary.verdict.reference;
    let items = [
        (
            "n",
            "scored trials. A trial that failed for reasons outside the models (network, key, overflow, interruption) is counted as failed \
             and never scored; one that ended with a broken contract is scored as wrong."
                .to_owned(),
        ),
        ("accuracy", "share of scored trials whose label is exactly the gold label.".into()),
        (
            "intervals",
            format!(
                "95 %. Shares: Wilson score. Means and quantiles: percentile bootstrap over trials, {DRAWS} draws, fixed seed; above \
                 {MOST_RESAMPLED} values the normal interval of the mean and order statistics of the quantile. Differences: over the samples that \
                 both answered, the wider of paired bootstrap and Tango's score interval."
            ),
        ),
        (
            "verdict",
            format!(
                "a policy can replace {reference} when the one-sided 95 % lower bound of the difference in accuracy lies above −{margin}; among \
                 those that pass, the cheapest is named. Each policy is tested alone, with no adjustment for their number."
            ),
        ),
        (
            "rank range",
            "the ranks that a policy has in 95 % of resamples of the samples that all ranked policies answered, drawn together.".into(),
        ),
        (
            "cost",
            "API: tokens of every call of the large model, repairs and failed calls included, at the price below. Machine: seconds that it \
             worked on a trial, waiting for the network excluded, at the hourly rate below. Both as the mean of a scored trial times 1,000."
                .into(),
        ),
        ("latency", "wall time of a trial, one at a time, scoring excluded; quantiles by linear interpolation (type 7).".into()),
        (
            "escalated",
            "the large model took a query over from the small one, after its answer or for a safety finding. A policy that gives a query to \
             the large model to begin with escalates nothing."
                .into(),
        ),
        ("contract kept", "observed on the first answer as it was written, where contracts are off, too.".into()),
        ("grounded", "share of an answer's claims that the injected passages support, averaged over answers with passages and claims.".into()),
        (
            "controls",
            "made from the recorded first answers of both models on the samples that both answered, so of fewer samples than the policies \
             where a router kept some from a model."
                .into(),
        ),
        (
            "shared attempts",
            "none: every policy made its own calls. The controls, the threshold's curve and what was needed take each model's answer from the first \
             trial that asked for it."
                .into(),
        ),
        ("not measured", "energy; peak memory; the price of electricity apart from the machine's hourly rate.".into()),
    ];
    let mut out = "<dl class=\"plain\">".to_owned();
    for (name, meaning) in items {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", text(&meaning));
    }
    out + "</dl>"
}

fn absent(view: &View<'_>) -> String {
    let columns = ["policy", "figure", "why it is absent"].map(|name| Column::new(name, Align::Left, None));
    let rows: Vec<Vec<Cell>> = view
        .report
        .summary
        .policies
        .iter()
        .zip(view.names)
        .flat_map(|(policy, name)| {
            policy
                .not_available
                .iter()
                .map(move |(figure, why)| vec![Cell::new(name), Cell::new(figure), Cell::new(why)])
        })
        .take(200)
        .collect();
    if rows.is_empty() { note("None is absent.") } else { grid("Absent figures", &columns, &rows, "", "") }
}
