//! One run against another as a table, for the terminal and for Markdown.

use super::markdown::{escaped, grid};
use super::{Align, Cell, Column, Table};
use crate::metrics::{Change, Limit, MetricChange, RunComparison, significant};
use std::fmt::Write as _;

/// A limit that was asked for, and whether a change exceeds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Held<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// The metric of a policy.
    pub change: &'a MetricChange,
    /// Whether it is exceeded.
    pub exceeded: bool,
}

/// What got worse, got better and changed; the rest is counted.
#[must_use]
pub fn comparison_table(found: &RunComparison) -> Table {
    let columns = [
        ("policy", Align::Left),
        ("metric", Align::Left),
        ("shows", Align::Left),
        ("before", Align::Right),
        ("after", Align::Right),
        ("difference", Align::Right),
        ("n", Align::Right),
    ]
    .map(|(name, align)| Column::new(name, align, None));
    let kept = |change: &&MetricChange| change.change != Change::Absent;
    let rows = found.changes.iter().filter(kept).map(row).collect();
    let absent = found.changes.iter().filter(|change| change.change == Change::Absent).count();
    let mut notes = vec![
        "Brackets: 95 % interval of the difference, over the samples that both runs answered. Worse and better: the interval leaves \
         zero out; one in twenty does so by chance."
            .to_owned(),
    ];
    if absent > 0 {
        notes.push(format!("{absent} metrics of policies are in neither run or in one alone, and are left out."));
    }
    for (names, which) in [(&found.only_in_baseline, "first"), (&found.only_in_candidate, "second")] {
        if !names.is_empty() {
            notes.push(format!("Only in the {which} run: {}.", names.join(", ")));
        }
    }
    notes.extend(found.notes.iter().cloned());
    Table { title: format!("{} against {}", found.candidate, found.baseline), columns: columns.to_vec(), rows, notes }
}

fn row(change: &MetricChange) -> Vec<Cell> {
    let shows = match change.change {
        Change::Worse => "worse",
        Change::Better => "better",
        Change::Changed => "changed",
        Change::NotShown => "nothing",
        Change::Absent => "absent",
    };
    let number = |value: Option<f64>| value.map_or_else(|| "n/a".into(), |value| significant(value, 3));
    let difference = Cell::new(change.difference.map_or_else(|| "n/a".into(), signed));
    let difference = match (change.low, change.high) {
        (Some(low), Some(high)) => difference.with(format!("[{}, {}]", signed(low), signed(high))),
        _ => difference,
    };
    vec![
        Cell::new(&change.cell),
        Cell::new(change.metric),
        Cell::new(shows),
        Cell::new(number(change.baseline)),
        Cell::new(number(change.candidate)),
        difference,
        Cell::new(change.n.to_string()),
    ]
}

fn signed(value: f64) -> String {
    let text = significant(value.abs(), 3);
    match value {
        v if v < 0.0 => format!("−{text}"),
        v if v > 0.0 => format!("+{text}"),
        _ => text,
    }
}

/// What became of the limits, a sentence each.
#[must_use]
pub fn limit_sentences(held: &[Held<'_>]) -> Vec<String> {
    held.iter()
        .map(|one| {
            let limit =
                if one.limit.relative { format!("{} %", one.limit.most * 100.0) } else { one.limit.most.to_string() };
            let is = if one.exceeded { "exceeds" } else { "keeps" };
            let difference = one.change.difference.map_or_else(|| "n/a".into(), signed);
            format!("{} of {} {is} its limit: {difference}, allowed {limit} worse.", one.change.metric, one.change.cell)
        })
        .collect()
}

/// The comparison for a pull request.
#[must_use]
pub fn comparison_markdown(found: &RunComparison, held: &[Held<'_>]) -> String {
    let table = comparison_table(found);
    let count = |wanted: Change| found.changes.iter().filter(|change| change.change == wanted).count();
    let mut page = format!("## {}\n\n", escaped(&table.title));
    let (worse, better) = (count(Change::Worse), count(Change::Better));
    let _ = writeln!(page, "**{worse} shown to be worse, {better} shown to be better.**\n");
    for sentence in limit_sentences(held) {
        let _ = writeln!(page, "- {}", escaped(&sentence));
    }
    if !held.is_empty() {
        page.push('\n');
    }
    page += &grid(&table);
    for note in &table.notes {
        let _ = write!(page, "\n{}\n", escaped(note));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Rows, compare, example};
    use crate::report::render_terminal;
    use crate::router::RouterKind;

    #[test]
    fn what_got_worse_is_on_top_in_both_forms_and_the_table_fits_80_columns() {
        let (header, trials) = example::run();
        let mut later = trials.clone();
        for record in later.iter_mut().filter(|record| record.router == RouterKind::HybridSpecialist) {
            record.scores.as_mut().unwrap().label_correct = Some(false);
        }
        let found = compare((&header, &Rows::of(&header, &trials)), (&header, &Rows::of(&header, &later)));
        let limit: Limit = "accuracy=0.1".parse().unwrap();
        let change = &found.changes[0];
        let held = [Held { limit: &limit, change, exceeded: limit.is_exceeded(change).unwrap() }];
        let page = comparison_markdown(&found, &held);
        let first = page.lines().find(|line| line.starts_with("| hybrid")).unwrap();
        assert!(first.starts_with("| hybrid-specialist/salience/validate | accuracy | worse | 0.833 | 0 |"), "{page}");
        assert!(page.contains("accuracy of hybrid-specialist/salience/validate exceeds its limit: −0.833"), "{page}");
        let shown = render_terminal(&[comparison_table(&found)], 80);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
}
