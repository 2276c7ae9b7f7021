//! What a policy takes of this machine, in dollars and in joules.

use super::tables::{figure_cell, not_available, policy_cell};
use super::{Align, Cell, Column, Table};
use crate::device::Basis;
use crate::metrics::{PolicySummary, Summary, significant};

/// The machine's cost beside the API's, and from how many queries a day it pays.
pub(super) fn machine(summary: &Summary) -> Table {
    let columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("machine at work", Align::Right, Some("s")),
        Column::new("price or hire", Align::Right, Some("$ per 1,000")),
        Column::new("electricity", Align::Right, Some("$ per 1,000")),
        Column::new("API", Align::Right, Some("$ per 1,000")),
        Column::new("together", Align::Right, Some("$ per 1,000")),
        Column::new("pays from queries a day", Align::Right, None),
        Column::new("can do a day", Align::Right, None),
    ];
    let number = |value: Option<f64>| Cell::new(value.map_or_else(not_available, |value| significant(value, 3)));
    let rows = summary
        .policies
        .iter()
        .map(|policy| {
            let used = &policy.machine_use;
            let cost = policy.cost_usd_per_1000;
            let energy = used.energy_usd_per_1000;
            let together = cost.api.zip(cost.hardware).map(|(api, hardware)| api + hardware);
            vec![
                policy_cell(policy),
                number(used.busy_s),
                number(used.amortisation_usd_per_1000),
                Cell::new(energy.map_or_else(|| "not measured".to_owned(), |usd| significant(usd, 3))),
                number(cost.api),
                number(together),
                pays(policy, summary),
                Cell::new(used.most_per_day.map_or_else(|| "–".to_owned(), |most| format!("{most:.0}"))),
            ]
        })
        .collect();
    let notes = vec![format!(
        "Means over scored trials. At work: waiting for the network excluded. Pays: from so many queries a day the machine's price of a \
         day, used or not, is less than what the policy saves against {}; can do: one after the other.",
        summary.verdict.reference
    )];
    Table { title: "The machine beside the API".into(), columns, rows, notes }
}

fn pays(policy: &PolicySummary, summary: &Summary) -> Cell {
    if policy.router_name() == summary.verdict.reference {
        return Cell::new("–");
    }
    let Some(from) = policy.machine_use.break_even_per_day else { return Cell::new("never") };
    let cell = Cell::new(format!("{:.0}", from.ceil()));
    match policy.machine_use.most_per_day {
        Some(most) if most < from => cell.with("more than it can do"),
        _ => cell,
    }
}

/// Joules, where they were measured or estimated.
pub(super) fn energy(summary: &Summary) -> Option<Table> {
    let basis = summary.policies.iter().find_map(|policy| policy.energy.basis)?;
    let columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("a query", Align::Right, Some("J")),
        Column::new("above idle", Align::Right, Some("J")),
        Column::new("an output token", Align::Right, Some("J")),
        Column::new("token above idle", Align::Right, Some("J")),
    ];
    let number = |value: Option<f64>| Cell::new(value.map_or_else(|| "–".into(), |value| significant(value, 3)));
    let rows = summary.policies.iter().map(|policy| {
        let used = &policy.energy;
        vec![
            policy_cell(policy),
            figure_cell(&used.joules_per_request, super::tables::Format::Joules, policy.n),
            figure_cell(&used.joules_per_request_above_idle, super::tables::Format::Joules, policy.n),
            number(used.joules_per_output_token),
            number(used.joules_per_output_token_above_idle),
        ]
    });
    let idle = summary.policies.iter().find_map(|policy| policy.energy.idle_watts);
    let mut note = match basis {
        Basis::Measured => {
            "Measured with the machine's counters over each scored trial; loading and warming up are not in it."
        }
        Basis::Estimated => {
            "Estimated, not measured: the power that was given with --watts, times the time that the machine worked."
        }
    }
    .to_owned();
    if let Some(watts) = idle {
        note += " The loaded machine at rest took ";
        note += &significant(watts, 3);
        note += " W; above idle is what remains.";
    }
    if summary.llm_is_stand_in {
        note.push_str(" What the stand-in took in the LLM's place is not in it.");
    }
    note.push_str(" Output tokens are those of models on this machine.");
    let title = if basis == Basis::Measured { "Energy" } else { "Energy (estimated)" };
    Some(Table { title: title.into(), columns, rows: rows.collect(), notes: vec![note] })
}
