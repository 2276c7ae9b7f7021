//! The table of the LLM's calls on the wire.

use super::{Align, Cell, Column, Table};
use crate::metrics::{RemoteCalls, Spread, significant};

/// How the calls went, one row of figures.
pub(super) fn calls(calls: &RemoteCalls) -> Table {
    let times: [(&str, &Spread); 6] = [
        ("name look-up", &calls.dns_s),
        ("connect", &calls.connect_s),
        ("TLS", &calls.tls_s),
        ("first token", &calls.ttft_s),
        ("per token", &calls.tpot_s),
        ("whole request", &calls.total_s),
    ];
    let mut columns = vec![
        Column::new("calls", Align::Right, None),
        Column::new("requests", Align::Right, None),
        Column::new("failed", Align::Left, None),
        Column::new("own limits", Align::Right, Some("s")),
    ];
    columns.extend(times.iter().map(|(name, _)| Column::new(name, Align::Right, Some("s"))));
    let mut row = vec![
        Cell::new(calls.calls.to_string()).with(format!("{} answered", calls.answered)),
        Cell::new(calls.tries.to_string()).with(format!("{} connections", calls.connections)),
        failed(calls),
        Cell::new(significant(calls.queue_s, 3)),
    ];
    row.extend(times.iter().map(|(_, spread)| spread_cell(spread)));
    let mut notes = vec![
        "Medians, and the 95th percentile below from 20 times up, of the requests that were answered; of a connection, of those \
         that made one. The time from a request's start to its first token holds the endpoint's own work. –: did not happen, or \
         cannot be told."
            .to_owned(),
    ];
    if calls.doubted_counts > 0 {
        notes.push(format!(
            "{} answers contradict the token counts that the endpoint reported for them (`usage_note` in trials.jsonl): it is \
             billed by its own counts.",
            calls.doubted_counts
        ));
    }
    if calls.billed_failed_tries > 0 {
        notes.push(format!(
            "{} failed requests were counted by the endpoint, and are billed.",
            calls.billed_failed_tries
        ));
    }
    Table { title: "The LLM's calls on the wire".into(), columns, rows: vec![row], notes }
}

fn failed(calls: &RemoteCalls) -> Cell {
    let mut kinds = calls.failed_tries.iter().map(|(kind, count)| format!("{kind} {count}"));
    let first = Cell::new(kinds.next().unwrap_or_else(|| "–".into()));
    kinds.fold(first, Cell::with)
}

fn spread_cell(spread: &Spread) -> Cell {
    let cell = Cell::new(spread.p50.map_or_else(|| "–".into(), |time| significant(time, 3)));
    match spread.p95 {
        Some(time) => cell.with(significant(time, 3)),
        None => cell,
    }
}
