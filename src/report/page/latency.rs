//! Where the time goes and how it is distributed.

use super::charts::{Line, Stack, colour, ecdf, stacks};
use super::html::{figure, folded, grid, key, missing, note, say};
use super::{View, ends};
use crate::metrics::details::{LatencyDetail, latency_parts};
use crate::metrics::{Figure, significant};
use crate::report::{Align, Cell, Column};
use crate::router::Tier;

/// Lines in the chart of distributions at most.
const LINES: usize = 7;

/// Components that are drawn together, in the order of the flow, with their colour.
const GROUPS: [(&str, &str, &[&str]); 7] = [
    ("s4", "memory", &["embed", "search", "gate", "assemble"]),
    ("s3", "routing and prompt", &["routing", "prompt", "tokenise"]),
    ("s0", "prefill, small model", &["prefill"]),
    ("s6", "decode, small model", &["decode"]),
    ("s1", "network and large model", &["network"]),
    ("s2", "contract", &["constrain", "contract"]),
    ("s7", "unaccounted", &["unaccounted"]),
];

pub(super) fn latency(view: &View<'_>) -> String {
    let (shown, left_out) = view.charted();
    let timed: Vec<usize> =
        shown.iter().copied().filter(|&i| !view.report.details.policies[i].latency.later.is_empty()).collect();
    if timed.is_empty() && view.report.details.policies.iter().all(|policy| policy.latency.first.is_empty()) {
        return missing("No latency was measured.", "No trial of this run was scored.");
    }
    let detail = |i: usize| &view.report.details.policies[i].latency;
    let rows: Vec<Stack> = timed
        .iter()
        .map(|&i| stack(view.name(i), &detail(i).later, &format!("mean of {}", detail(i).later_n)))
        .collect();
    let firsts: Vec<Stack> = shown
        .iter()
        .filter(|&&i| !detail(i).first.is_empty())
        .map(|&i| stack(view.name(i), &detail(i).first, "first trial"))
        .collect();
    let groups = || key(GROUPS.iter().map(|(class, name, _)| ((*class).to_owned(), *name)));
    let mut out = say(&sentence(view, &timed));
    if !rows.is_empty() {
        let caption = format!(
            "Warm: mean seconds of a trial by component, each policy's first trial left out. The network holds the endpoint's own \
             computing; scoring comes after the answer and is not counted.{left_out}"
        );
        out += &figure(&stacks("Where the time of later trials goes", &rows, "seconds"), &groups(), &caption);
    }
    let lines: Vec<Line> = shown
        .iter()
        .take(LINES)
        .filter(|&&i| !detail(i).ecdf.seconds.is_empty())
        .map(|&i| Line {
            name: view.name(i).to_owned(),
            number: i,
            points: detail(i).ecdf.seconds.iter().copied().zip(detail(i).ecdf.shares.iter().copied()).collect(),
        })
        .collect();
    let names = key(lines.iter().map(|line| (colour(line.number), line.name.as_str())));
    out += &figure(
        &ecdf("Distribution of the latency", &lines),
        &names,
        "How the latency of all trials is distributed: the further left a line, the faster the policy.",
    );
    out += &quantiles(view, shown);
    out += &calls(view);
    let caption = "Cold: the first trial of each policy, in which caches and connections of its own are used for the first time. \
                   Models are loaded and warmed up before it; that time is below, under methods.";
    out += &folded(
        "The first trial of each policy",
        &figure(&stacks("Where the time of first trials goes", &firsts, "seconds"), &groups(), caption),
    );
    out
}

fn sentence(view: &View<'_>, timed: &[usize]) -> String {
    let median = |i: usize| view.report.summary.policies[i].latency_s.p50;
    let with = timed.iter().filter_map(|&i| Some((i, median(i)?)));
    let Some((fastest, seconds)) = with.min_by(|a, b| a.1.total_cmp(&b.1)) else {
        return "Only the first trial of a policy was scored: there is no warm latency.".into();
    };
    let largest = largest_part(&view.report.details.policies[fastest].latency);
    format!(
        "{} answers fastest, in {} s at the median; most of its time is {}.",
        view.name(fastest),
        significant(seconds, 3),
        largest
    )
}

fn largest_part(detail: &LatencyDetail) -> &'static str {
    let parts = grouped(&detail.later);
    let largest = parts.iter().max_by(|a, b| a.2.total_cmp(&b.2));
    largest.map_or("not known", |(_, name, _)| *name)
}

/// Seconds by the groups that are drawn.
fn grouped(seconds: &[f64]) -> Vec<(&'static str, &'static str, f64)> {
    let names = latency_parts();
    let of = |members: &[&str]| {
        names.iter().zip(seconds).filter(|(name, _)| members.contains(name)).map(|(_, seconds)| seconds).sum()
    };
    GROUPS.iter().map(|(class, name, members)| (*class, *name, of(members))).collect()
}

fn stack(name: &str, seconds: &[f64], what: &str) -> Stack {
    let parts: Vec<(String, String, f64)> =
        grouped(seconds).into_iter().map(|(class, name, size)| (class.to_owned(), name.to_owned(), size)).collect();
    let total: f64 = parts.iter().map(|part| part.2).sum();
    Stack { name: name.to_owned(), detail: format!("{} s, {what}", significant(total, 3)), parts }
}

fn seconds_cell(figure: &Figure) -> Cell {
    let Some(value) = figure.value else { return Cell::new("n/a") };
    let cell = Cell::new(significant(value, 3)).raw(value);
    match ends(figure) {
        Some((low, high)) => cell.with(format!("[{}–{}]", significant(low, 3), significant(high, 3))),
        None => cell,
    }
}

fn quantiles(view: &View<'_>, shown: &[usize]) -> String {
    let columns = [("policy", None), ("n", None), ("p50", Some("s")), ("p90", Some("s")), ("p99", Some("s"))]
        .map(|(name, unit)| Column::new(name, if name == "policy" { Align::Left } else { Align::Right }, unit));
    let policies = &view.report.details.policies;
    let row = |&i: &usize| {
        let latency = &policies[i].latency;
        let n = Cell::new(latency.p50.n.to_string());
        vec![
            Cell::new(view.name(i)),
            n,
            seconds_cell(&latency.p50),
            seconds_cell(&latency.p90),
            seconds_cell(&latency.p99),
        ]
    };
    let rows: Vec<Vec<Cell>> = shown.iter().map(row).collect();
    let hidden = shown.iter().any(|&i| policies[i].latency.p99.value.is_none());
    let why = if hidden {
        note("Under 100 trials a 99th percentile is the largest value or near it, and is not shown.")
    } else {
        String::new()
    };
    format!("{}{why}", grid("Quantiles of the latency", &columns, &rows, "sortable", ""))
}

fn calls(view: &View<'_>) -> String {
    let calls = &view.report.details.calls;
    if calls.is_empty() {
        return missing("No call was timed by tokens.", "No model answered in a scored trial.");
    }
    let columns = [
        ("model", None),
        ("prompt", None),
        ("calls", None),
        ("TTFT p50", Some("s")),
        ("TTFT p90", Some("s")),
        ("TTFT p99", Some("s")),
        ("TPOT p50", Some("s")),
        ("TPOT p90", Some("s")),
        ("TPOT p99", Some("s")),
    ]
    .map(|(name, unit)| {
        Column::new(name, if ["model", "prompt"].contains(&name) { Align::Left } else { Align::Right }, unit)
    });
    let rows: Vec<Vec<Cell>> = calls
        .iter()
        .map(|one| {
            let model = match one.tier {
                Tier::Slm => "small",
                Tier::Llm => "large",
            };
            let prompt = if one.prefix_reused { "warm: a part from a cache" } else { "cold: computed whole" };
            let mut row = vec![Cell::new(model), Cell::new(prompt), Cell::new(one.calls.to_string())];
            row.extend(one.ttft_s.iter().chain(&one.tpot_s).map(seconds_cell));
            row
        })
        .collect();
    format!(
        "{}{}",
        grid("Time to the first token and time per token", &columns, &rows, "", ""),
        note(
            "TTFT: seconds from the call to its first token. TPOT: the seconds after that for each further token. Calls by whether a \
             part of the prompt came from a cache; failed calls are left out."
        )
    )
}
