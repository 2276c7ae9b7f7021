//! The tables of a replay.

use super::{Align, Cell, Column, Table};
use crate::replay::{Ends, Point, Policy, Replay};
use std::collections::BTreeMap;

/// Matched shares of the table of curves, as places in a curve of steps of one hundredth.
const SHARES: [usize; 7] = [10, 20, 30, 50, 70, 90, 100];
/// Thresholds of each policy that are shown: those nearest to these shares.
const POINTS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.9];

/// Lays a replay out.
#[must_use]
pub fn replay_tables(replay: &Replay) -> Vec<Table> {
    let mut tables = vec![models(replay), policies(replay), curves(replay)];
    if replay.policies.iter().any(|policy| !policy.points.is_empty()) {
        tables.push(thresholds(replay));
    }
    tables
}

fn models(replay: &Replay) -> Table {
    let row = |name: &str, quality: f64, ends: &str, cost: Option<f64>, latency: Option<f64>| {
        vec![
            Cell::new(name),
            within(&percent(quality, 3), replay.intervals.get(ends), |end| percent(end, 2)),
            Cell::new(cost.map_or_else(dash, number)),
            Cell::new(latency.map_or_else(dash, |seconds| format!("{seconds:.3}"))),
        ]
    };
    let latency = replay.latency_s;
    let mut notes = Vec::new();
    if let Some(pairs) = &replay.outcomes {
        notes.push(format!(
            "Both right {}, only the weak model {}, only the strong one {}, neither {}{}.",
            pairs.both_right,
            pairs.only_weak,
            pairs.only_strong,
            pairs.neither,
            replay.mcnemar_p.map_or_else(String::new, |p| format!("; McNemar {}", p_value(p))),
        ));
    }
    notes.push(format!(
        "The oracle sends {} of the rows to the strong model: those on which it alone is better.",
        percent(replay.oracle_strong_share, 2)
    ));
    // That no latencies were given is no news to who gave none.
    let missing = replay.not_available.iter().filter(|(name, _)| *name != "latency_s");
    notes.extend(missing.map(|(name, reason)| format!("{name}: {reason}.")));
    notes.extend(replay.notes.iter().cloned());
    Table {
        title: format!("Two models on {} rows{}", replay.n, left_out(replay)),
        columns: vec![
            Column::new("model", Align::Left, None),
            Column::new("quality", Align::Right, None),
            Column::new("cost", Align::Right, Some(unit(replay))),
            Column::new("latency", Align::Right, Some("s")),
        ],
        rows: vec![
            row(
                &format!("weak: {}", replay.weak_model),
                replay.weak,
                "weak",
                Some(replay.cost.weak),
                latency.map(|both| both.weak),
            ),
            row(
                &format!("strong: {}", replay.strong_model),
                replay.strong,
                "strong",
                Some(replay.cost.strong),
                latency.map(|both| both.strong),
            ),
            row("oracle: the better of the two", replay.oracle, "oracle", None, None),
        ],
        notes,
    }
}

fn left_out(replay: &Replay) -> String {
    if replay.excluded == 0 { String::new() } else { format!(" ({} left out)", replay.excluded) }
}

fn unit(replay: &Replay) -> &str {
    if replay.cost_unit == "usd" { "$ a query" } else { "strong calls" }
}

fn policies(replay: &Replay) -> Table {
    let shown: Vec<&Policy> =
        replay.policies.iter().filter(|policy| policy.hull.len() > 1 || policy.curve.len() > 1).collect();
    let row = |policy: &&Policy| {
        let figure = |figure: Option<f64>| Cell::new(figure.map_or_else(dash, |value| format!("{value:.4}")));
        let mut cells = vec![Cell::new(&policy.name)];
        cells.push(within(
            &policy.apgr.map_or_else(dash, |apgr| format!("{apgr:.4}")),
            policy.intervals.get("apgr"),
            |end| format!("{end:.3}"),
        ));
        for name in ["50", "80", "95"] {
            let share = policy.cpt.get(name).copied().flatten();
            let ends = policy.intervals.get(&format!("cpt.{name}"));
            cells.push(within(&share.map_or_else(dash, |share| percent(share, 2)), ends, |end| percent(end, 1)));
        }
        let areas = [
            (policy.aiq_hull_from_zero, "aiq_hull_from_zero"),
            (policy.aiq_hull_range, "aiq_hull_range"),
            (policy.cost_auc, "cost_auc"),
            (policy.deferral_auc, "deferral_auc"),
        ];
        cells.extend(areas.map(|(area, name)| {
            let shown = area.map_or_else(dash, |area| format!("{area:.4}"));
            within(&shown, policy.intervals.get(name), |end| format!("{end:.3}"))
        }));
        cells.push(figure(policy.auroc));
        cells
    };
    let mut notes: Vec<String> = shown
        .iter()
        .filter_map(|policy| {
            let beats = policy.beats_random.as_ref()?;
            Some(format!(
                "{}: {} (APGR {:+.3} beside it, 95 % interval {:+.3} to {:+.3}, {}, by Holm {}).",
                policy.name,
                beats.text,
                beats.apgr_difference,
                beats.low,
                beats.high,
                p_value(beats.p_value),
                p_value(beats.p_value_holm)
            ))
        })
        .collect();
    notes.extend(reasons(&shown));
    let right = |name: &str| Column::new(name, Align::Right, None);
    Table {
        title: "Policies at every threshold".into(),
        columns: vec![
            Column::new("policy", Align::Left, None),
            right("APGR"),
            right("CPT 50 %"),
            right("CPT 80 %"),
            right("CPT 95 %"),
            right("AIQ / dearest"),
            right("AIQ / range"),
            right("cost AUC"),
            right("deferral AUC"),
            right("AUROC"),
        ],
        rows: shown.iter().map(row).collect(),
        notes,
    }
}

/// Why cells are empty, each reason once.
fn reasons(policies: &[&Policy]) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for policy in policies {
        for (name, reason) in &policy.not_available {
            // That a control has no score is no news.
            if !(policy.control && ["auroc", "intervals"].contains(&name.as_str())) {
                by_reason.entry(reason).or_default().push(format!("{} {name}", policy.name));
            }
        }
    }
    by_reason.into_iter().map(|(reason, names)| format!("{}: {reason}.", names.join(", "))).collect()
}

fn curves(replay: &Replay) -> Table {
    let shown = replay.policies.iter().filter(|policy| policy.curve.len() > 1);
    let at = |policy: &Policy, share: usize| {
        Cell::new(policy.curve.get(share).map_or_else(dash, |point| percent(point.quality, 3)))
    };
    let row = |policy: &Policy| {
        std::iter::once(Cell::new(&policy.name)).chain(SHARES.iter().map(|&share| at(policy, share))).collect()
    };
    let heads = SHARES.iter().map(|share| Column::new(&format!("{share} %"), Align::Right, None));
    Table {
        title: "Quality where so much goes to the strong model".into(),
        columns: std::iter::once(Column::new("policy", Align::Left, None)).chain(heads).collect(),
        rows: shown.map(row).collect(),
        notes: vec!["Between thresholds the expected value; the oracle sends at most so much.".into()],
    }
}

fn thresholds(replay: &Replay) -> Table {
    let row = |policy: &Policy, point: &Point| {
        let share = |figure: Option<f64>| Cell::new(figure.map_or_else(dash, |value| percent(value, 1)));
        let yes = match point.non_inferior {
            Some(true) => "yes".to_owned(),
            Some(false) => "no".to_owned(),
            None => dash(),
        };
        vec![
            Cell::new(&policy.name),
            Cell::new(percent(point.strong_share, 1)),
            Cell::new(point.threshold.map_or_else(dash, number)),
            Cell::new(percent(point.quality, 2)),
            within(&points(point.difference), point.interval.as_ref(), points),
            Cell::new(yes).with(point.lower_bound.map_or_else(String::new, points)),
            Cell::new(point.mcnemar_p_holm.map_or_else(dash, p_value)),
            share(point.over_escalation),
            share(point.under_escalation),
            Cell::new(point.ibc_lift.map_or_else(dash, |lift| format!("{lift:+.2}"))),
            Cell::new(number(point.cost)),
            Cell::new(point.latency_s.map_or_else(dash, |latency| format!("{:.2} / {:.2}", latency.p50, latency.p95))),
        ]
    };
    let nearest = |policy: &Policy| {
        let mut places: Vec<usize> = POINTS
            .iter()
            .filter_map(|wanted| {
                let far = |i: &usize| (policy.points[*i].strong_share - wanted).abs();
                (0..policy.points.len()).min_by(|a, b| far(a).total_cmp(&far(b)))
            })
            .collect();
        places.dedup();
        places
    };
    let mut rows = Vec::new();
    for policy in &replay.policies {
        rows.extend(nearest(policy).into_iter().map(|place| row(policy, &policy.points[place])));
    }
    let right = |name: &str| Column::new(name, Align::Right, None);
    Table {
        title: format!("Some thresholds beside the strong model, margin {}", replay.margin),
        columns: vec![
            Column::new("policy", Align::Left, None),
            right("sent"),
            right("threshold"),
            right("quality"),
            Column::new("difference", Align::Right, Some("points")),
            right("not worse"),
            right("McNemar, Holm"),
            right("sent in vain"),
            right("kept wrongly"),
            right("IBC lift"),
            Column::new("cost", Align::Right, Some(unit(replay))),
            Column::new("latency p50 / p95", Align::Right, Some("s")),
        ],
        rows,
        notes: vec![
            "Not worse: the one-sided 95 % bound below it lies above minus the margin. Sent in vain: the weak model is right. \
             Kept wrongly: only the strong model is right."
                .into(),
        ],
    }
}

fn within(text: &str, ends: Option<&Ends>, show: impl Fn(f64) -> String) -> Cell {
    let cell = Cell::new(text);
    match ends {
        Some(ends) => cell.with(format!("[{}, {}]", show(ends.low), show(ends.high))),
        None => cell,
    }
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}

fn points(difference: f64) -> String {
    // Adding zero turns a negative zero into a plain one.
    format!("{:+.2}", (difference * 1e4).round() / 1e2 + 0.0)
}

fn number(value: f64) -> String {
    crate::metrics::significant(value, 4)
}

fn p_value(p: f64) -> String {
    if p < 1e-4 { "p < 0.0001".into() } else { format!("p = {p:.4}") }
}

fn dash() -> String {
    "–".into()
}
