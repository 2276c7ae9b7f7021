//! A policy at whole thresholds: what it costs, what it loses against the strong model, and whom it sends in vain.

use super::evaluate::{All, Data, GRADED, no_pairs};
use super::{Ends, Known, Score, keep};
use crate::metrics::routing::{Ranking, Step, ibc_lift};
use crate::metrics::statistics::{
    Undefined, Z_ONE_SIDED, Z_TWO_SIDED, mcnemar_exact, percentile_ends, quantile_of_sorted, score_bound, undefined,
};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// Points of a policy, less one.
const STEPS: usize = 20;

/// A threshold and what comes of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Share of rows that the strong model gets: whole groups of equals up to the next twentieth.
    pub strong_share: f64,
    /// The score that the last group has; null where nothing is sent.
    pub threshold: Option<f64>,
    /// Mean quality.
    pub quality: f64,
    /// Mean cost.
    pub cost: f64,
    /// Performance gap recovered.
    pub pgr: Option<f64>,
    /// Quality less that of the strong model on the same rows.
    pub difference: f64,
    /// Its two-sided 95 % interval.
    pub interval: Option<Ends>,
    /// Its one-sided 95 % lower bound.
    pub lower_bound: Option<f64>,
    /// Whether that bound lies above minus the margin.
    pub non_inferior: Option<bool>,
    /// Exact McNemar test against the strong model.
    pub mcnemar_p: Option<f64>,
    /// The same, adjusted by Holm over all policies and thresholds; null where everything or nothing is sent.
    pub mcnemar_p_holm: Option<f64>,
    /// Share of rows that are sent though the weak model is right.
    pub over_escalation: Option<f64>,
    /// Share of rows that are kept though only the strong model is right.
    pub under_escalation: Option<f64>,
    /// Incremental benefit per cost, beside that of the strong model.
    pub ibc_lift: Option<f64>,
    /// Seconds for a row; null where none were given.
    pub latency_s: Option<Latency>,
    /// Dollars of the strong model's share, and of the weak model's, per row.
    #[serde(skip)]
    pub spent: (f64, f64),
    /// Why a figure above is null.
    pub not_available: BTreeMap<String, String>,
}

/// Seconds for a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
}

/// The thresholds of a policy, and sums over the rows that they send and keep.
pub(super) struct Basis<'a> {
    ranking: &'a Ranking,
    known: Known,
    /// Numbers of whole groups, ascending.
    pub(super) groups: Vec<usize>,
    sums: Vec<Sums>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    rows: usize,
    gain: f64,
    strong_cost: f64,
    weak_cost: f64,
    /// Rows sent though the weak model is right.
    weak_right: usize,
    /// Rows sent that only the strong model, or only the weak one, has right.
    only_strong: usize,
    only_weak: usize,
}

impl<'a> Basis<'a> {
    pub(super) fn of(ranking: &'a Ranking, data: &Data, known: Known) -> Self {
        let mut groups: Vec<usize> = (0..=STEPS).map(|i| ranking.whole_groups(i as f64 / STEPS as f64)).collect();
        groups.dedup();
        let outcomes = data.outcomes;
        let (mut sums, mut sum, mut from) = (Vec::new(), Sums::default(), 0);
        for &group in &groups {
            let end = ranking.rows_in(group);
            for &row in &ranking.order()[from..end] {
                let row = row as usize;
                let (weak_cost, strong_cost) = data.costs(row);
                sum.rows += 1;
                sum.gain += data.gains[row];
                sum.strong_cost += strong_cost;
                sum.weak_cost += weak_cost;
                sum.weak_right += usize::from(outcomes.weak[row] == 1.0);
                sum.only_strong += usize::from(data.gains[row] > 0.0);
                sum.only_weak += usize::from(data.gains[row] < 0.0);
            }
            from = end;
            sums.push(sum);
        }
        Self { ranking, known, groups, sums }
    }
}

/// The figures at every threshold.
pub(super) fn points(
    data: &Data,
    basis: &Basis,
    score: Option<&Score>,
    drawn: &Result<All, Undefined>,
    margin: f64,
) -> Vec<Point> {
    let whole = Sums {
        only_strong: data.gains.iter().filter(|&&gain| gain > 0.0).count(),
        only_weak: data.gains.iter().filter(|&&gain| gain < 0.0).count(),
        ..Sums::default()
    };
    let one = |mark: usize| point(data, basis, (mark, whole), score, drawn, margin);
    (0..basis.groups.len()).into_par_iter().map(one).collect()
}

fn point(
    data: &Data,
    basis: &Basis,
    (mark, whole): (usize, Sums),
    score: Option<&Score>,
    drawn: &Result<All, Undefined>,
    margin: f64,
) -> Point {
    let (sums, n) = (basis.sums[mark], data.gains.len() as f64);
    let weak_spent = match basis.known {
        Known::AfterWeak => data.span.weak,
        Known::BeforeCall => data.span.weak - sums.weak_cost / n,
    };
    let spent = (sums.strong_cost / n, weak_spent);
    let at = Step { share: sums.rows as f64 / n, quality: data.models.weak + sums.gain / n, cost: spent.0 + spent.1 };
    let mut missing = BTreeMap::new();
    // Policy and strong model differ on the rows that are kept.
    let (lost, won) = (whole.only_strong - sums.only_strong, whole.only_weak - sums.only_weak);
    let single = data.right_or_wrong && data.outcomes.rows_are_queries();
    let discordant = single.then_some((won as f64, lost as f64));
    let bounds = data.may_bound().and_then(|()| bounds(drawn, mark, n, discordant));
    let (interval, lower_bound) = match keep(bounds, "lower_bound", &mut missing) {
        Some((interval, lower)) => (Some(interval), Some(lower)),
        None => (None, None),
    };
    let escalation = |rows: usize| if data.right_or_wrong { Ok(rows as f64 / n) } else { undefined(GRADED) };
    let mcnemar = if single { Ok(mcnemar_exact(won, lost)) } else { undefined(no_pairs(data)) };
    let threshold = basis.groups[mark].checked_sub(1).and_then(|last| {
        let row = basis.ranking.order()[basis.ranking.rows_in(last + 1) - 1];
        Some(score?.values[row as usize])
    });
    Point {
        strong_share: at.share,
        threshold,
        quality: at.quality,
        cost: at.cost,
        pgr: keep(data.models.pgr(at.quality), "pgr", &mut missing),
        difference: at.quality - data.models.strong,
        interval,
        lower_bound,
        non_inferior: lower_bound.map(|bound| bound > -margin),
        mcnemar_p: keep(mcnemar, "mcnemar_p", &mut missing),
        mcnemar_p_holm: None,
        over_escalation: keep(escalation(sums.weak_right), "over_escalation", &mut missing),
        under_escalation: keep(escalation(lost), "under_escalation", &mut missing),
        ibc_lift: keep(ibc_lift(at, data.models, data.span), "ibc_lift", &mut missing),
        latency_s: latency(data, basis, sums.rows),
        spent,
        not_available: missing,
    }
}

/// The interval and the lower bound of the difference to the strong model: by the bootstrap, and where each row is a right or
/// wrong answer to a query of its own by Tango's score interval too, of which the more cautious counts.
fn bounds(
    drawn: &Result<All, Undefined>,
    mark: usize,
    n: f64,
    discordant: Option<(f64, f64)>,
) -> Result<(Ends, f64), Undefined> {
    let drawn = drawn.as_ref().map_err(Clone::clone)?.differences(mark);
    let (mut low, mut high) = percentile_ends(&drawn, 0.025)?;
    let (mut lower, _) = percentile_ends(&drawn, 0.05)?;
    if let Some((won, lost)) = discordant {
        low = low.min(score_bound(n, won, lost, Z_TWO_SIDED));
        high = high.max(score_bound(n, won, lost, -Z_TWO_SIDED));
        lower = lower.min(score_bound(n, won, lost, Z_ONE_SIDED));
    }
    Ok((Ends { low, high }, lower))
}

fn latency(data: &Data, basis: &Basis, sent: usize) -> Option<Latency> {
    let sides = data.outcomes.latency.as_ref()?;
    let seconds = |(place, &row): (usize, &u32)| {
        let (weak, strong) = (sides.weak[row as usize], sides.strong[row as usize]);
        match (place < sent, basis.known) {
            (false, _) => weak,
            (true, Known::BeforeCall) => strong,
            (true, Known::AfterWeak) => weak + strong,
        }
    };
    let mut all: Vec<f64> = basis.ranking.order().iter().enumerate().map(seconds).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    all.sort_unstable_by(f64::total_cmp);
    Some(Latency { mean, p50: quantile_of_sorted(&all, 0.5), p95: quantile_of_sorted(&all, 0.95) })
}
