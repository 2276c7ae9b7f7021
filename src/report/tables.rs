//! What stands in which table.

use super::axes::axes_tables;
use super::calls::calls;
use super::machine::{energy, machine};
use super::{Align, Cell, Column, Table, name_of};
use crate::memory::MemoryKind;
use crate::metrics::statistics::PairedDifference;
use crate::metrics::{Figure, MeanDifference, PolicySummary, Summary, significant};
use std::collections::{BTreeMap, BTreeSet};

/// Policies that the breakdown by component shows side by side.
const POLICIES_BESIDE: usize = 4;

/// The tables of a summary: the comparison, the quality of answers, the machine's cost and energy, the latency by component, the memory, the contract, the
/// models alone, what led to escalation and failure, and the LLM's calls on the wire.
#[must_use]
pub fn tables(summary: &Summary) -> Vec<Table> {
    let quality = quality(summary);
    let mut tables = vec![comparison(summary)];
    if quality.columns.len() > 1 {
        tables.push(quality);
    }
    tables.push(machine(summary));
    tables.extend(energy(summary));
    tables.extend([left(summary), latency(summary)]);
    if summary.policies.iter().any(|policy| policy.memory != MemoryKind::None) {
        tables.push(memory(summary));
    }
    tables.extend([contracts(summary), alone(summary), causes(summary)]);
    tables.extend(summary.remote_calls.as_ref().map(calls));
    tables.extend(axes_tables(summary));
    tables
}

#[derive(Clone, Copy)]
pub(super) enum Format {
    Share,
    Seconds,
    Dollars,
    Joules,
}

impl Format {
    fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{value:.2}"),
            Self::Seconds | Self::Dollars | Self::Joules => significant(value, 3),
        }
    }
}

fn comparison(summary: &Summary) -> Table {
    type Pick = fn(&PolicySummary) -> &Figure;
    let figures: [(&str, Option<&str>, Format, Pick); 9] = [
        ("accuracy", None, Format::Share, |p| &p.accuracy),
        ("schema valid first", None, Format::Share, |p| &p.intervals.schema_valid_first),
        ("schema valid final", None, Format::Share, |p| &p.intervals.schema_valid_final),
        ("grounded", None, Format::Share, |p| &p.intervals.groundedness),
        ("escalation rate", None, Format::Share, |p| &p.intervals.escalation_rate),
        ("latency p50", Some("s"), Format::Seconds, |p| &p.intervals.latency_p50_s),
        ("latency p95", Some("s"), Format::Seconds, |p| &p.intervals.latency_p95_s),
        ("API per 1,000", Some("$"), Format::Dollars, |p| &p.intervals.api_usd_per_1000),
        ("machine per 1,000", Some("$"), Format::Dollars, |p| &p.intervals.hardware_usd_per_1000),
    ];
    let mut columns = vec![Column::new("policy", Align::Left, None), Column::new("n", Align::Right, None)];
    columns.extend(figures.iter().map(|(name, unit, ..)| Column::new(name, Align::Right, *unit)));
    // Groundedness does not apply where an answer abstains; where the task says when that is right, it stands beside.
    let abstains = summary.policies.iter().any(|policy| policy.abstention.is_some());
    let beside = columns.iter().position(|column| column.name == "grounded").map_or(columns.len(), |at| at + 1);
    if abstains {
        let names = ["abstained rightly", "abstained wrongly"];
        columns.splice(beside..beside, names.map(|name| Column::new(name, Align::Right, None)));
    }
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            let mut row = vec![policy_cell(policy), n_cell(policy)];
            row.extend(figures.iter().map(|(_, _, format, pick)| figure_cell(pick(policy), *format, policy.n)));
            if abstains {
                row.splice(beside..beside, abstention_cells(policy));
            }
            row
        })
        .collect();
    let mut notes = vec![
        "Brackets: 95 % interval. n is that of the column n unless a cell gives its own. n/a: not available, see below."
            .to_string(),
    ];
    if abstains {
        notes.push(
            "Abstained rightly: of the answers to queries that the task's knowledge cannot answer, those that say so; the \
             others claim something all the same. Abstained wrongly: of the answers to the other queries."
                .into(),
        );
    }
    notes.extend(absences(summary));
    notes.extend(summary.notes.iter().cloned());
    Table { title: format!("Policies on {} ({})", summary.task, name_of(&summary.split)), columns, rows, notes }
}

/// Figures that only some tasks have; a column stands only where some policy has its figure.
pub(super) fn quality(summary: &Summary) -> Table {
    type Pick = fn(&PolicySummary) -> &Figure;
    let figures: [(&str, Pick); 3] = [
        ("required facts found", |p| &p.intervals.fact_recall),
        ("citations right", |p| &p.intervals.citation_accuracy),
        ("needs-human right", |p| &p.intervals.needs_human_accuracy),
    ];
    let present =
        || figures.iter().filter(|(_, pick)| summary.policies.iter().any(|policy| pick(policy).value.is_some()));
    let mut columns = vec![Column::new("policy", Align::Left, None)];
    columns.extend(present().map(|(name, _)| Column::new(name, Align::Right, None)));
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            let cells = present().map(|(_, pick)| figure_cell(pick(policy), Format::Share, policy.n));
            std::iter::once(policy_cell(policy)).chain(cells).collect()
        })
        .collect();
    Table { title: "Quality of the answers beside the label".into(), columns, rows, notes: vec![] }
}

pub(super) fn left(summary: &Summary) -> Table {
    let columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("queries", Align::Right, None),
        Column::new("tokens", Align::Right, None),
        Column::new("personal data", Align::Right, None),
        Column::new("by type", Align::Left, None),
        Column::new("redacted", Align::Right, None),
        Column::new("held back", Align::Left, None),
    ];
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            let left = &policy.left_device;
            vec![
                policy_cell(policy),
                Cell::new(format!("{} of {}", left.queries, policy.trials)),
                Cell::new(left.input_tokens.map_or_else(not_available, |tokens| tokens.to_string())),
                Cell::new(left.personal_data.map_or_else(not_available, |count| count.to_string())),
                counts_cell(&left.personal_data_by_type),
                Cell::new(left.redacted.to_string()),
                counts_cell(&left.held_back),
            ]
        })
        .collect();
    let mut notes = vec![
        "Queries and prompt tokens sent to a remote engine, findings of personal data in the messages as they were sent (the \
         system's message excepted), and placeholders in the place of values; failed trials count. Held back: what the safety \
         policy kept from it."
            .to_owned(),
    ];
    if summary.llm_is_stand_in {
        notes
            .push("The stand-in counts as the remote LLM that it stands in for: nothing left this machine.".to_owned());
    }
    let told =
        |policy: &PolicySummary| policy.left_device.reason.as_ref().map(|why| format!("{}: {why}.", policy.cell));
    notes.extend(summary.policies.iter().filter_map(told));
    Table { title: "What left the device".into(), columns, rows, notes }
}

pub(super) fn latency(summary: &Summary) -> Table {
    let beside = if summary.policies.len() <= POLICIES_BESIDE { &*summary.policies } else { &[] };
    let mut columns = vec![
        Column::new("component", Align::Left, None),
        Column::new("p50", Align::Right, Some("ms")),
        Column::new("mean", Align::Right, Some("ms")),
        Column::new("share", Align::Right, Some("%")),
    ];
    columns.extend(beside.iter().map(|policy| Column::new(&short_name(policy, summary), Align::Right, Some("ms"))));
    let milliseconds = |seconds: Option<f64>| seconds.map_or_else(not_available, |s| significant(s * 1e3, 3));
    let percent = |share: Option<f64>| share.map_or_else(not_available, |share| format!("{:.1}", share * 100.0));
    let rows = summary
        .components
        .iter()
        .enumerate()
        .map(|(i, part)| {
            let all = [part.name.clone(), milliseconds(part.p50_s), milliseconds(part.mean_s), percent(part.share)];
            let each = beside
                .iter()
                .map(|policy| policy.components.get(i).map_or_else(not_available, |part| milliseconds(part.mean_s)));
            all.into_iter().chain(each).map(Cell::new).collect()
        })
        .collect();
    let note = "Over all scored trials; shares add up to 100 %. Network holds the endpoint's own computing. Unaccounted is \
                wall time that no span explains. Scoring comes after the answer and is not part of the latency above.";
    let mut notes = vec![note.to_string()];
    if !beside.is_empty() {
        notes.push("The columns of policies hold means.".into());
    }
    Table { title: "Where the time goes".into(), columns, rows, notes }
}

pub(super) fn memory(summary: &Summary) -> Table {
    let columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("found", Align::Right, None),
        Column::new("tokens", Align::Right, None),
        Column::new("none found", Align::Right, None),
        Column::new("recall", Align::Right, Some("ms")),
        Column::new("grounded", Align::Right, None),
        Column::new("accuracy beside none", Align::Right, None),
        Column::new("tokens beside none", Align::Right, None),
        Column::new("latency beside none", Align::Right, Some("s")),
    ];
    let number = |value: Option<f64>| Cell::new(value.map_or_else(|| "–".into(), |value| significant(value, 3)));
    let beside = |difference: Option<MeanDifference>| {
        difference.map_or_else(
            || Cell::new("–"),
            |d| Cell::new(signed(d.value)).with(format!("[{}, {}]", signed(d.low), signed(d.high))),
        )
    };
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            let used = &policy.memory_use;
            let effect = summary.memory_effects.iter().find(|effect| effect.cell == policy.cell);
            vec![
                policy_cell(policy),
                number(used.passages.or(used.examples)),
                number(used.passage_tokens),
                Cell::new(used.without_passage.map_or_else(|| "–".into(), |none| format!("{none} of {}", policy.n))),
                number(used.recall_ms),
                figure_cell(&policy.intervals.groundedness, Format::Share, policy.n),
                accuracy_beside(effect.and_then(|effect| effect.accuracy.as_ref())),
                beside(effect.and_then(|effect| effect.input_tokens)),
                beside(effect.and_then(|effect| effect.latency_s)),
            ]
        })
        .collect();
    let mut notes = vec![
        "Means over scored trials. Found are passages, by the episodic memory solved samples; tokens are what the memory adds \
         to a prompt. Beside none: the same policy with no memory, over the same samples, where it was run \
         (`--memory none,…`); tokens are those of all prompts of a trial."
            .to_owned(),
    ];
    let found = &summary.memory_interactions;
    notes.extend(found.iter().map(|one| {
        let MeanDifference { value, low, high, n } = one.difference;
        let [first, second] = &one.routers;
        let shown = if one.is_shown() { "depends" } else { "cannot be shown to depend" };
        format!(
            "What {} memory brings {shown} on the routing: the gain in accuracy under {first} minus that under {second} is \
             {value:+.2} (95 % interval {low:+.2} to {high:+.2}, n = {n}, contract {}).",
            one.memory.name(),
            one.contract.name()
        )
    }));
    if found.len() > 1 {
        notes.push(format!("Of {} such intervals, one in twenty leaves zero out by chance alone.", found.len()));
    }
    Table { title: "What the memory brought and cost".into(), columns, rows, notes }
}

/// A difference of accuracies.
fn accuracy_beside(difference: Option<&PairedDifference>) -> Cell {
    difference.map_or_else(
        || Cell::new("–"),
        |d| Cell::new(format!("{:+.2}", d.value)).with(format!("[{:+.2}, {:+.2}]", d.low, d.high)),
    )
}

/// A number with its sign, to three significant digits.
fn signed(value: f64) -> String {
    let text = significant(value.abs(), 3);
    if value < 0.0 { format!("−{text}") } else { format!("+{text}") }
}

pub(super) fn contracts(summary: &Summary) -> Table {
    let columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("first try", Align::Right, None),
        Column::new("mended", Align::Right, None),
        Column::new("repaired", Align::Right, None),
        Column::new("escalated", Align::Right, None),
        Column::new("passed on", Align::Right, None),
        Column::new("failed", Align::Right, None),
        Column::new("let pass", Align::Right, None),
        Column::new("violations", Align::Left, None),
        Column::new("held by", Align::Left, None),
        Column::new("constraint per token", Align::Right, Some("ms")),
        Column::new("per answer", Align::Right, Some("ms")),
        Column::new("accuracy beside off", Align::Right, None),
    ];
    let milliseconds = |value: Option<f64>| Cell::new(value.map_or_else(|| "–".into(), |ms| significant(ms, 2)));
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            let used = &policy.contract_use;
            let repaired = [used.first_try, used.mended, used.repaired];
            let counts = [&repaired[..], &[used.escalated, used.passed_on, used.failed, used.let_pass]].concat();
            let effect = summary.contract_effects.iter().find(|effect| effect.cell == policy.cell);
            let effect = accuracy_beside(effect.and_then(|effect| effect.accuracy.as_ref()));
            let mut row = vec![policy_cell(policy)];
            row.extend(counts.iter().map(|count| Cell::new(count.to_string())));
            row.extend([counts_cell(&used.violations), counts_cell(&used.held)]);
            row.extend([milliseconds(used.constrain_ms_per_token), milliseconds(used.constrain_ms_per_answer), effect]);
            row
        })
        .collect();
    let mut notes = vec![
        "Scored trials by what became of the contract, each counted once: kept at the first try, after almost-JSON was mended \
         without a model, after the same model was asked again, by the other model that was called for it (escalated) or for \
         another reason (passed on), by none (failed). Let pass: the answer taken breaks it, with contracts off."
            .to_owned(),
    ];
    let disagreements: usize = summary.policies.iter().map(|policy| policy.contract_use.disagreements).sum();
    if disagreements > 0 {
        notes.push(format!(
            "{disagreements} finished answers were held to the grammar and break the contract all the same: where the schema \
             asks for nothing that the grammar leaves out, this is a defect worth reporting."
        ));
    }
    Table { title: "What became of the contract".into(), columns, rows, notes }
}

pub(super) fn alone(summary: &Summary) -> Table {
    let columns = vec![
        Column::new("memory", Align::Left, None),
        Column::new("tier", Align::Left, None),
        Column::new("model", Align::Left, None),
        Column::new("accuracy", Align::Right, None),
        Column::new("n", Align::Right, None),
        Column::new("not asked", Align::Right, None),
        Column::new("chance", Align::Right, None),
    ];
    let mut rows = Vec::new();
    for entry in &summary.models_alone {
        for (tier, model) in [("SLM", &entry.slm), ("LLM", &entry.llm)] {
            rows.push(vec![
                Cell::new(name_of(&entry.memory)),
                Cell::new(tier),
                Cell::new(&model.model),
                figure_cell(&model.accuracy, Format::Share, model.accuracy.n),
                Cell::new(model.accuracy.n.to_string()),
                Cell::new(model.not_asked.to_string()),
                Cell::new(entry.chance.map_or_else(not_available, |chance| format!("{chance:.3}"))),
            ]);
        }
    }
    let mut notes: Vec<String> = summary.models_alone.iter().map(|entry| entry.text.clone()).collect();
    let selected = |entry: &crate::metrics::ModelsAlone| entry.slm.not_asked + entry.llm.not_asked > 0;
    if summary.models_alone.iter().any(selected) {
        notes.push(
            "Where samples were not asked, the routers chose which ones a model saw: its accuracy is that of a selection."
                .into(),
        );
    }
    Table { title: "Each model alone, by its own first answers".into(), columns, rows, notes }
}

pub(super) fn causes(summary: &Summary) -> Table {
    let columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("LLM called", Align::Right, None),
        Column::new("because of", Align::Left, None),
        Column::new("repairs", Align::Right, None),
        Column::new("contract failures", Align::Right, None),
        Column::new("retries", Align::Right, None),
        Column::new("failed calls", Align::Right, None),
        Column::new("failed trials", Align::Right, None),
        Column::new("by kind", Align::Left, None),
    ];
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            vec![
                policy_cell(policy),
                Cell::new(format!("{} of {}", policy.llm_causes.values().sum::<usize>(), policy.n)),
                counts_cell(&policy.llm_causes),
                Cell::new(policy.repairs.to_string()),
                Cell::new(policy.contract_failures.to_string()),
                Cell::new(policy.retries.to_string()),
                Cell::new(policy.failed_attempts.to_string()),
                Cell::new(format!("{} of {}", policy.failures, policy.trials)),
                counts_cell(&policy.failures_by_kind),
            ]
        })
        .collect();
    let note = "A broken contract is the models' failure and scored as wrong; a failed trial (network, overflow, …) is never \
                scored.";
    Table { title: "What led to the LLM, to repairs and to failures".into(), columns, rows, notes: vec![note.into()] }
}

pub(super) fn policy_cell(policy: &PolicySummary) -> Cell {
    let name = policy.router_name();
    let rest = policy.cell.strip_prefix(name).map(|rest| rest.trim_start_matches('/'));
    let cell = Cell::new(name);
    match rest.unwrap_or(&policy.cell) {
        "" => cell,
        rest => cell.with(rest),
    }
}

fn short_name(policy: &PolicySummary, summary: &Summary) -> String {
    let several = summary.policies.iter().filter(|other| other.router_name() == policy.router_name()).count() > 1;
    if several { policy.cell.clone() } else { policy.router_name().to_owned() }
}

fn n_cell(policy: &PolicySummary) -> Cell {
    let cell = Cell::new(policy.n.to_string());
    if policy.failures > 0 { cell.with(format!("+{} failed", policy.failures)) } else { cell }
}

/// Right abstentions of the unanswerable, and wrong ones of the answerable.
fn abstention_cells(policy: &PolicySummary) -> [Cell; 2] {
    policy.abstention.map_or_else(
        || [Cell::new(not_available()), Cell::new(not_available())],
        |used| {
            let cell =
                |part: usize, of: usize| Cell::new(if of == 0 { "–".into() } else { format!("{part} of {of}") });
            [
                cell(used.abstained_on_unanswerable, used.unanswerable),
                cell(used.abstained_on_answerable, used.n - used.unanswerable),
            ]
        },
    )
}

pub(super) fn figure_cell(figure: &Figure, format: Format, n: usize) -> Cell {
    let Some(value) = figure.value else { return Cell::new(not_available()) };
    let mut cell = Cell::new(format.show(value)).raw(value);
    if let (Some(low), Some(high)) = (figure.low, figure.high) {
        cell = cell.with(format!("[{}–{}]", format.show(low), format.show(high)));
    }
    if figure.n == n { cell } else { cell.with(format!("n={}", figure.n)) }
}

fn counts_cell(counts: &BTreeMap<String, usize>) -> Cell {
    let mut lines = counts.iter().map(|(name, count)| format!("{name} {count}"));
    let cell = Cell::new(lines.next().unwrap_or_else(|| "–".into()));
    lines.fold(cell, Cell::with)
}

pub(super) fn not_available() -> String {
    "n/a".into()
}

/// One sentence for each reason: which figure of which policies is absent and why.
fn absences(summary: &Summary) -> Vec<String> {
    let mut by_reason: Vec<(&str, &str, BTreeSet<&str>)> = Vec::new();
    for policy in &summary.policies {
        for (figure, reason) in &policy.not_available {
            let shown = figure != "latency_s.p99" && !QUALITY.contains(&&**figure);
            if let (true, Some(entry)) =
                (shown, by_reason.iter_mut().find(|(cell, why, _)| *cell == policy.cell && why == reason))
            {
                entry.2.insert(figure);
            } else if shown {
                by_reason.push((&policy.cell, reason, [&**figure].into()));
            }
        }
    }
    // The same figures for the same reason in several policies make one sentence.
    let mut merged: Vec<(Vec<&str>, &str, BTreeSet<&str>)> = Vec::new();
    for (cell, reason, figures) in by_reason {
        match merged.iter_mut().find(|(_, why, which)| *why == reason && *which == figures) {
            Some(entry) => entry.0.push(cell),
            None => merged.push((vec![cell], reason, figures)),
        }
    }
    let every = summary.policies.len();
    merged
        .into_iter()
        .map(|(cells, reason, figures)| {
            let who = if cells.len() == every && every > 1 { "every policy".into() } else { cells.join(", ") };
            let which = figures.into_iter().collect::<Vec<_>>().join(", ");
            format!("Not available for {who}: {which} ({reason}).")
        })
        .collect()
}

/// Figures that only some tasks have: a task without them is no matter for a note.
const QUALITY: [&str; 4] = ["fact_recall", "citation_accuracy", "needs_human_accuracy", "abstention"];
