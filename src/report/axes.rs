//! The tables of a grid's axes.

use super::{Align, Cell, Column, Table};
use crate::metrics::{AxesSummary, MeanDifference, Summary, significant};

/// Pairs, and ranks, that a table lists at most.
const MOST_ROWS: usize = 120;

/// The tables of the axes; none for a run that is no grid.
pub(super) fn axes_tables(summary: &Summary) -> Vec<Table> {
    let Some(axes) = &summary.axes else { return Vec::new() };
    let mut tables = Vec::new();
    if !axes.axes.is_empty() {
        tables.extend([effects(axes), pairs(axes)]);
    }
    if !axes.interactions.is_empty() {
        tables.push(interactions(axes));
    }
    tables.push(ranks(axes, summary));
    if !axes.seeds.is_empty() {
        tables.push(seeds(axes));
    }
    tables.push(work(axes));
    tables
}

fn left(name: &str) -> Column {
    Column::new(name, Align::Left, None)
}

fn right(name: &str, unit: Option<&str>) -> Column {
    Column::new(name, Align::Right, unit)
}

fn share(value: Option<f64>) -> Cell {
    value.map_or_else(|| Cell::new("n/a"), |value| Cell::new(format!("{value:.3}")).raw(value))
}

fn signed(effect: &MeanDifference) -> Cell {
    Cell::new(format!("{:+.3}", effect.value))
        .raw(effect.value)
        .with(format!("[{:+.3}, {:+.3}]", effect.low, effect.high))
}

fn effects(axes: &AxesSummary) -> Table {
    let columns = vec![
        left("axis"),
        left("value"),
        right("accuracy", None),
        right("effect", None),
        right("latency mean", Some("s")),
        right("n", None),
    ];
    let rows = axes.axes.iter().flat_map(|axis| {
        axis.values.iter().map(|value| {
            vec![
                Cell::new(&axis.axis),
                Cell::new(&value.value),
                share(value.accuracy),
                value.effect.as_ref().map_or_else(|| Cell::new("n/a"), signed),
                value.latency_s.map_or_else(|| Cell::new("n/a"), |s| Cell::new(significant(s, 3)).raw(s)),
                value.effect.as_ref().map_or_else(|| Cell::new("0"), |effect| Cell::new(effect.n.to_string())),
            ]
        })
    });
    let mut notes = vec![
        "Effect: mean accuracy with this value less the mean over all values of its axis, over the combinations of the other axes \
         that have every value. Brackets: 95 % interval, by resampling samples; n counts them."
            .to_owned(),
    ];
    for axis in axes.axes.iter().filter(|axis| axis.incomplete > 0) {
        notes.push(format!(
            "{}: {} of {} combinations of the other axes lack a value and are left out here.",
            axis.axis,
            axis.incomplete,
            axis.complete + axis.incomplete
        ));
    }
    Table { title: "What each axis does".into(), columns, rows: rows.collect(), notes }
}

fn pairs(axes: &AxesSummary) -> Table {
    let columns = vec![
        left("axis"),
        left("first"),
        left("second"),
        right("difference", None),
        right("p", None),
        right("p adjusted", None),
    ];
    let p = |value: f64| {
        let text = if value < 0.001 { "< 0.001".to_owned() } else { format!("{value:.3}") };
        Cell::new(text).raw(value)
    };
    let all = || axes.axes.iter().flat_map(|axis| axis.pairs.iter().map(move |pair| (axis, pair)));
    let rows = all().take(MOST_ROWS).map(|(axis, pair)| {
        vec![
            Cell::new(&axis.axis),
            Cell::new(&pair.first),
            Cell::new(&pair.second),
            signed(&pair.difference),
            p(pair.p_value),
            p(pair.p_adjusted),
        ]
    });
    let mut notes = vec![
        "Accuracy of the first less that of the second, each sample averaged over the combinations of the other axes that have both. \
         p: Student's t over the samples; adjusted by Holm over all rows."
            .to_owned(),
    ];
    if all().count() > MOST_ROWS {
        notes.push(format!("{} of {} pairs are shown; summary.json has all.", MOST_ROWS, all().count()));
    }
    Table { title: "Differences within an axis".into(), columns, rows: rows.collect(), notes }
}

fn interactions(axes: &AxesSummary) -> Table {
    let columns = vec![left("router"), left("memory"), right("together beyond their effects", None), right("n", None)];
    let rows = axes.interactions.iter().map(|one| {
        vec![Cell::new(&one.router), Cell::new(&one.memory), signed(&one.effect), Cell::new(one.effect.n.to_string())]
    });
    let notes = vec![
        "Accuracy of the router with the memory less what their two effects add up to: zero where what a memory does is the same \
         under every router."
            .to_owned(),
    ];
    Table { title: "Router by memory".into(), columns, rows: rows.collect(), notes }
}

fn ranks(axes: &AxesSummary, summary: &Summary) -> Table {
    let columns =
        vec![left("policy"), right("rank", None), right("best", None), right("worst", None), right("accuracy", None)];
    let mut ranked: Vec<_> =
        axes.ranks.of.iter().zip(&summary.policies).filter_map(|(rank, policy)| Some(((*rank)?, policy))).collect();
    ranked.sort_by_key(|(rank, _)| (rank.rank, rank.best, rank.worst));
    let rows = ranked.iter().take(MOST_ROWS).map(|(rank, policy)| {
        let number = |rank: usize| Cell::new(rank.to_string()).raw(rank as f64);
        vec![
            Cell::new(&policy.cell),
            number(rank.rank),
            number(rank.best),
            number(rank.worst),
            share(policy.accuracy.value),
        ]
    });
    let note = match &axes.ranks.reason {
        Some(reason) => format!("There are no ranks: {reason}."),
        None => format!(
            "Ranks by accuracy, 1 the best, equals share one. Best and worst: in 95 % of {} resamples of the {} samples that all \
             ranked policies answered.",
            axes.ranks.draws, axes.ranks.n
        ),
    };
    let mut notes = vec![note];
    if ranked.len() > MOST_ROWS {
        notes.push(format!("The first {MOST_ROWS} of {} are shown; summary.json has all.", ranked.len()));
    }
    Table { title: "How sure the order is".into(), columns, rows: rows.collect(), notes }
}

fn seeds(axes: &AxesSummary) -> Table {
    let columns = vec![
        left("policy"),
        right("seeds", None),
        right("mean", None),
        right("deviation", None),
        right("range", None),
        right("agreement", None),
    ];
    let rows = axes.seeds.iter().take(MOST_ROWS).map(|one| {
        vec![
            Cell::new(&one.policy),
            Cell::new(one.seeds.len().to_string()),
            share(one.mean),
            share(one.deviation),
            share(one.range),
            share(one.agreement.value),
        ]
    });
    let notes = vec![
        "Accuracy over the seeds of one policy: mean, standard deviation, largest less smallest, and the share of samples on which \
         all seeds are right or all are wrong."
            .to_owned(),
    ];
    Table { title: "How far seeds matter".into(), columns, rows: rows.collect(), notes }
}

fn work(axes: &AxesSummary) -> Table {
    let work = &axes.work;
    let columns = vec![left("work"), right("in all trials", None), right("computed or spent", None)];
    let count = |value: u64| Cell::new(value.to_string()).raw(value as f64);
    let dollars =
        |value: Option<f64>| value.map_or_else(|| Cell::new("n/a"), |usd| Cell::new(format!("{usd:.4}")).raw(usd));
    let rows = vec![
        vec![Cell::new("attempts"), count(work.attempts), count(work.attempts.saturating_sub(work.shared))],
        vec![Cell::new("generated tokens"), count(work.output_tokens), count(work.output_tokens_computed)],
        vec![Cell::new("LLM, dollars"), dollars(work.policy_usd), dollars(work.spent_usd)],
    ];
    let notes = vec![
        "An attempt that several cells need is computed once. Each cell is billed and timed with it as if it had been its own, with \
         the times that were measured once; so latencies of cells that share attempts are not independent measurements."
            .to_owned(),
    ];
    Table { title: "Work shared between cells".into(), columns, rows, notes }
}
