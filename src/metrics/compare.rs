//! One run against another, policy by policy and metric by metric, over the samples that both answered.

use super::figure::Figure;
use super::row::{Row, Rows};
use super::statistics::{
    Interval, MOST_RESAMPLED, Undefined, figure_interval, mean, mean_difference_interval, paired_difference, quantile,
    quantile_interval,
};
use super::summary::{CellTrials, by_cell};
use crate::record::RunHeader;
use crate::trial::Outcome;
use serde::Serialize;
use std::collections::HashMap;

/// What a second run changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunComparison {
    /// The first run, which is compared with.
    pub baseline: String,
    /// The second one.
    pub candidate: String,
    /// Every metric of every policy that both ran: what got worse first, then what got better, then the rest.
    pub changes: Vec<MetricChange>,
    /// Policies that only the first run has.
    pub only_in_baseline: Vec<String>,
    /// Policies that only the second one has.
    pub only_in_candidate: Vec<String>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

/// A metric of a policy in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricChange {
    /// The policy's cell.
    pub cell: String,
    /// The metric, as `summary.json` calls it.
    pub metric: &'static str,
    /// Which way is better.
    pub better: Better,
    /// In the first run, over the samples that both answered; null where there is none.
    pub baseline: Option<f64>,
    /// In the second one.
    pub candidate: Option<f64>,
    /// Second less first.
    pub difference: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Samples.
    pub n: usize,
    /// What that shows.
    pub change: Change,
    /// Why figures are null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which way of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Up.
    Higher,
    /// Down.
    Lower,
    /// Neither of itself.
    Neither,
}

/// What a difference shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The interval lies on the worse side of zero.
    Worse,
    /// It lies on the better side.
    Better,
    /// It lies on one side, and neither is better.
    Changed,
    /// It holds zero.
    NotShown,
    /// There is no difference to judge.
    Absent,
}

/// How a metric is read.
enum Read {
    Share(fn(&Row) -> Option<bool>),
    Mean(fn(&Row) -> Option<f64>),
    Quantile(fn(&Row) -> Option<f64>, f64),
}

struct Metric {
    name: &'static str,
    better: Better,
    read: Read,
    /// Whether failed trials count.
    of_all: bool,
}

fn metrics() -> Vec<Metric> {
    use Better::{Higher, Lower, Neither};
    let metric = |name, better, read| Metric { name, better, read, of_all: false };
    let seconds: fn(&Row) -> Option<f64> = |row| Some(row.latency_s());
    vec![
        metric("accuracy", Higher, Read::Share(|row| row.label_correct)),
        metric("schema_valid_first", Higher, Read::Share(|row| row.first_valid)),
        metric("schema_valid_final", Higher, Read::Share(|row| row.final_valid)),
        metric("groundedness", Higher, Read::Mean(|row| row.groundedness)),
        metric("fact_recall", Higher, Read::Mean(|row| row.fact_recall)),
        metric("citation_accuracy", Higher, Read::Share(|row| row.citations_correct)),
        metric("needs_human_accuracy", Higher, Read::Share(|row| row.needs_human_correct)),
        Metric {
            of_all: true,
            ..metric("failure_rate", Lower, Read::Share(|row| Some(row.outcome == Outcome::Failed)))
        },
        metric("latency_mean_s", Lower, Read::Mean(seconds)),
        metric("latency_p50_s", Lower, Read::Quantile(seconds, 0.5)),
        metric("latency_p95_s", Lower, Read::Quantile(seconds, 0.95)),
        metric("api_usd_per_1000", Lower, Read::Mean(|row| row.api_usd.map(|usd| usd * 1000.0))),
        metric("hardware_usd_per_1000", Lower, Read::Mean(|row| row.hardware_usd.map(|usd| usd * 1000.0))),
        metric("escalation_rate", Neither, Read::Share(|row| Some(row.escalated))),
        metric("llm_call_rate", Neither, Read::Share(|row| Some(row.llm_cause.is_some()))),
    ]
}

/// The names of all metrics that are compared.
#[must_use]
pub fn compared_metrics() -> Vec<&'static str> {
    metrics().into_iter().map(|metric| metric.name).collect()
}

/// Compares two runs. Cells are the same policy where they have the same name, samples where they have the same id.
#[must_use]
pub fn compare(first: (&RunHeader, &Rows), second: (&RunHeader, &Rows)) -> RunComparison {
    let mut notes = Vec::new();
    let cells = |header: &RunHeader| -> Vec<String> { header.cells.iter().map(|cell| cell.name.clone()).collect() };
    let (ours, theirs) = (by_cell(first.0, first.1, &mut notes), by_cell(second.0, second.1, &mut notes));
    let (names, other_names) = (cells(first.0), cells(second.0));
    if first.0.task_sha256 != second.0.task_sha256 {
        notes.push("The task's files differ between the runs: samples are matched by their ids alone.".into());
    }
    let mut changes = Vec::new();
    for (cell, name) in ours.iter().zip(&names) {
        let Some(other) = other_names.iter().position(|other| other == name).and_then(|i| theirs.get(i)) else {
            continue;
        };
        let pairs = Pairs::of((cell, first.1), (other, second.1));
        changes.extend(metrics().iter().map(|metric| pairs.change(name, metric)));
    }
    changes.sort_by_key(|change| change.change);
    let missing = |of: &[String], from: &[String]| of.iter().filter(|name| !from.contains(name)).cloned().collect();
    RunComparison {
        baseline: first.0.id.clone(),
        candidate: second.0.id.clone(),
        changes,
        only_in_baseline: missing(&names, &other_names),
        only_in_candidate: missing(&other_names, &names),
        notes,
    }
}

/// The trials of one policy in both runs, sample by sample.
struct Pairs<'a> {
    all: Vec<(&'a Row, &'a Row)>,
}

impl<'a> Pairs<'a> {
    fn of((ours, our_rows): (&CellTrials<'a>, &'a Rows), (theirs, their_rows): (&CellTrials<'a>, &'a Rows)) -> Self {
        let others: HashMap<u32, &Row> = theirs.trials.iter().map(|row| (row.sample, *row)).collect();
        let twin = |row: &&'a Row| {
            let number = their_rows.samples.find(our_rows.samples.name(row.sample))?;
            Some((*row, *others.get(&number)?))
        };
        Self { all: ours.trials.iter().filter_map(twin).collect() }
    }

    fn read<T>(&self, metric: &Metric, of: fn(&Row) -> Option<T>) -> (Vec<T>, Vec<T>) {
        let counts = |row: &Row| metric.of_all || row.outcome != Outcome::Failed;
        let both = self.all.iter().filter(|(a, b)| counts(a) && counts(b));
        both.filter_map(|(a, b)| Some((of(a)?, of(b)?))).unzip()
    }

    fn change(&self, cell: &str, metric: &Metric) -> MetricChange {
        let (values, found, n) = match metric.read {
            Read::Share(of) => {
                let (a, b) = self.read(metric, of);
                let share = |of: &[bool]| Figure::share(of, "").value;
                let found = paired_difference(&b, &a)
                    .map(|d| Interval { value: d.value, low: d.low, high: d.high, n: d.n })
                    .map_err(|reason| (None, reason));
                ((share(&a), share(&b)), found, a.len())
            }
            Read::Mean(of) => {
                let (a, b) = self.read(metric, of);
                let values = (mean(&a).ok(), mean(&b).ok());
                let found = mean_difference_interval(&b, &a).map(|(interval, _)| interval);
                (values, found.map_err(|reason| (difference(values), reason)), a.len())
            }
            Read::Quantile(of, q) => {
                let (a, b) = self.read(metric, of);
                let values = (quantile(&a, q).ok(), quantile(&b, q).ok());
                (values, quantile_difference(&a, &b, q).map_err(|reason| (difference(values), reason)), a.len())
            }
        };
        let (baseline, candidate) = values;
        let (difference, low, high, reason) = match found {
            Ok(interval) => (Some(interval.value), Some(interval.low), Some(interval.high), None),
            Err((difference, reason)) => (difference, None, None, Some(reason.0)),
        };
        let shown = match (low, high) {
            (Some(low), _) if low > 0.0 => Some(true),
            (_, Some(high)) if high < 0.0 => Some(false),
            _ => None,
        };
        let change = match (difference, shown, metric.better) {
            (None, ..) => Change::Absent,
            (_, None, _) => Change::NotShown,
            (_, Some(_), Better::Neither) => Change::Changed,
            (_, Some(up), better) if up == (better == Better::Higher) => Change::Better,
            _ => Change::Worse,
        };
        MetricChange {
            cell: cell.to_owned(),
            metric: metric.name,
            better: metric.better,
            baseline,
            candidate,
            difference,
            low,
            high,
            n,
            change,
            reason,
        }
    }
}

fn difference((first, second): (Option<f64>, Option<f64>)) -> Option<f64> {
    Some(second? - first?)
}

/// The quantile of the second less that of the first, resampled sample by sample; of many samples the ends of the two intervals,
/// which is wider.
fn quantile_difference(first: &[f64], second: &[f64], q: f64) -> Result<Interval, Undefined> {
    if first.len() <= MOST_RESAMPLED {
        let of = |values: &[f64], rows: &[usize]| quantile(&rows.iter().map(|&row| values[row]).collect::<Vec<_>>(), q);
        return figure_interval(first.len(), |rows| Ok(of(second, rows)? - of(first, rows)?));
    }
    let (a, b) = (quantile_interval(first, q)?, quantile_interval(second, q)?);
    Ok(Interval { value: b.value - a.value, low: b.low - a.high, high: b.high - a.low, n: a.n })
}

/// How far a metric may get worse.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// The metric.
    pub metric: String,
    /// So far, in the metric's unit, or as a share of its value in the first run.
    pub most: f64,
    /// Whether it is a share.
    pub relative: bool,
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (metric, limit) =
            text.split_once('=').ok_or("write METRIC=LIMIT, such as accuracy=0.02 or latency_p50_s=10%")?;
        if !compared_metrics().contains(&metric) {
            return Err(format!("{metric:?} is no metric that is compared: {}", compared_metrics().join(", ")));
        }
        let (number, relative) = limit.strip_suffix('%').map_or((limit, false), |number| (number, true));
        let most: f64 = number.trim().parse().map_err(|_| format!("{limit:?} is no number and no percentage"))?;
        if !most.is_finite() || most < 0.0 {
            return Err(format!("{limit:?} is no limit: it must be finite and not negative"));
        }
        Ok(Self { metric: metric.to_owned(), most: if relative { most / 100.0 } else { most }, relative })
    }
}

impl Limit {
    /// Whether a metric got worse by more than the limit, by its estimate: where neither way is better, by its rise. `None`
    /// where that cannot be told.
    #[must_use]
    pub fn is_exceeded(&self, change: &MetricChange) -> Option<bool> {
        let difference = change.difference?;
        let worse = if change.better == Better::Higher { -difference } else { difference };
        let most = if self.relative { self.most * change.baseline?.abs() } else { self.most };
        // A difference that equals the limit does not exceed it, whatever the last bit says.
        Some(worse > most + 1e-12 * most.abs().max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::router::RouterKind;
    use crate::units::{Seconds, Usd};

    fn of<'a>(found: &'a RunComparison, metric: &str) -> &'a MetricChange {
        let is = |change: &&MetricChange| change.metric == metric && change.cell.starts_with("slm-dominant");
        found.changes.iter().find(is).expect("the metric")
    }

    #[test]
    fn a_run_against_itself_shows_nothing() {
        let (header, trials) = example::run();
        let rows = Rows::of(&header, &trials);
        let found = compare((&header, &rows), (&header, &rows));
        assert_eq!(found.changes.len(), 3 * compared_metrics().len());
        let idle = |change: &MetricChange| matches!(change.change, Change::NotShown | Change::Absent);
        assert!(found.changes.iter().all(idle), "{:?}", found.changes);
        assert_eq!(of(&found, "accuracy").difference, Some(0.0));
        assert!(of(&found, "groundedness").reason.is_some());
    }

    #[test]
    fn what_got_worse_stands_first_with_figures_of_the_shared_samples() {
        let (header, trials) = example::run();
        let mut later = trials.clone();
        for record in later.iter_mut().filter(|record| record.router == RouterKind::SlmDominant) {
            record.scores.as_mut().unwrap().label_correct = Some(false);
            record.unaccounted_s = Seconds(1.25);
            record.cost.api_usd = Some(Usd(0.0));
        }
        later.retain(|record| record.sample != "s6");
        let (first, second) = (Rows::of(&header, &trials), Rows::of(&header, &later));
        let found = compare((&header, &first), (&header, &second));
        assert!(found.changes[0].change == Change::Worse && found.changes[0].cell.starts_with("slm-dominant"));
        let accuracy = of(&found, "accuracy");
        // Of the five samples that are left the first run has all right.
        assert_eq!((accuracy.baseline, accuracy.candidate, accuracy.n), (Some(1.0), Some(0.0), 5));
        assert_eq!((accuracy.difference, accuracy.change), (Some(-1.0), Change::Worse));
        let latency = of(&found, "latency_p50_s");
        assert!((latency.difference.unwrap() - 1.0).abs() < 1e-12 && latency.change == Change::Worse, "{latency:?}");
    }

    #[test]
    fn policies_of_one_run_alone_are_named() {
        let (header, trials) = example::run();
        let mut other = header.clone();
        other.cells[0].name = "new".into();
        other.task_sha256 = "cd".repeat(32);
        let (first, second) = (Rows::of(&header, &trials), Rows::of(&other, &trials));
        let found = compare((&header, &first), (&other, &second));
        assert_eq!(found.only_in_baseline, ["llm-first/salience/validate"]);
        assert_eq!(found.only_in_candidate, ["new"]);
        assert!(found.notes.iter().any(|note| note.contains("files differ")), "{:?}", found.notes);
    }

    #[test]
    fn a_limit_is_in_the_metrics_unit_or_relative_to_the_first_run() {
        let change = |metric, better, baseline: f64, difference| MetricChange {
            cell: "c".into(),
            metric,
            better,
            baseline: Some(baseline),
            candidate: Some(baseline + difference),
            difference: Some(difference),
            low: None,
            high: None,
            n: 9,
            change: Change::NotShown,
            reason: None,
        };
        let exceeded = |limit: &str, change: &MetricChange| limit.parse::<Limit>().unwrap().is_exceeded(change);
        let accuracy = change("accuracy", Better::Higher, 0.8, -0.05);
        assert_eq!(exceeded("accuracy=0.04", &accuracy), Some(true));
        assert_eq!(exceeded("accuracy=0.05", &accuracy), Some(false));
        assert_eq!(exceeded("accuracy=5%", &accuracy), Some(true));
        let latency = change("latency_p50_s", Better::Lower, 2.0, -1.0);
        assert_eq!(exceeded("latency_p50_s=0", &latency), Some(false));
        let absent = MetricChange { difference: None, ..latency };
        assert_eq!(exceeded("latency_p50_s=0", &absent), None);
        for bad in ["accuracy", "accuracy=x", "accuracy=-1", "speed=1", "accuracy=inf", "accuracy=NaN"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }
}
