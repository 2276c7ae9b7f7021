//! What is said of the two models before any policy.

use super::evaluate::{Data, Draw, GRADED, no_pairs};
use super::figures::TWO_SIDED;
use super::{Both, Ends, Options, Pairs, Policy, Replay, Verdict, keep};
use crate::metrics::statistics::{Undefined, mcnemar_exact, mean, percentile_ends, wilson};
use std::collections::BTreeMap;

/// Puts what was found together.
pub(super) fn head(
    data: &Data,
    options: &Options,
    policies: Vec<Policy>,
    verdict: Verdict,
    drawn: &Result<&Vec<Draw>, Undefined>,
    mut missing: BTreeMap<String, String>,
) -> Replay {
    let outcomes = data.outcomes;
    let n = outcomes.weak.len();
    let best: Vec<f64> = outcomes.weak.iter().zip(&outcomes.strong).map(|(w, s)| w.max(*s)).collect();
    let total = best.iter().sum::<f64>();
    let escalated = data.gains.iter().filter(|&&gain| gain > 0.0).count();
    let single = data.right_or_wrong && outcomes.rows_are_queries();
    let count =
        |w: f64, s: f64| outcomes.weak.iter().zip(&outcomes.strong).filter(|&(&a, &b)| a == w && b == s).count();
    let pairs = data.right_or_wrong.then(|| Pairs {
        both_right: count(1.0, 1.0),
        only_weak: count(1.0, 0.0),
        only_strong: count(0.0, 1.0),
        neither: count(0.0, 0.0),
    });
    if pairs.is_none() {
        missing.insert("outcomes".into(), format!("undefined because {GRADED}"));
    }
    let mcnemar = pairs.filter(|_| single).map(|pairs| mcnemar_exact(pairs.only_weak, pairs.only_strong));
    if mcnemar.is_none() {
        missing.insert("mcnemar_p".into(), format!("undefined because {}", no_pairs(data)));
    }
    let mut intervals = BTreeMap::new();
    let mut add = |name: &str, ends: Result<(f64, f64), Undefined>| {
        if let Some((low, high)) = keep(ends, &format!("intervals.{name}"), &mut missing) {
            intervals.insert(name.to_owned(), Ends { low, high });
        }
    };
    let of_draws = |figure: &dyn Fn(&Draw) -> f64| {
        let draws = drawn.as_ref().map_err(|reason| (*reason).clone())?;
        percentile_ends(&draws.iter().map(|draw| Some(figure(draw))).collect::<Vec<_>>(), TWO_SIDED)
    };
    let share = |right: f64, figure: &dyn Fn(&Draw) -> f64| {
        if single { wilson(right as usize, n).map(|interval| (interval.low, interval.high)) } else { of_draws(figure) }
    };
    add("weak", share(outcomes.weak.iter().sum(), &|draw| draw.totals.weak / draw.totals.rows));
    add("strong", share(outcomes.strong.iter().sum(), &|draw| draw.totals.strong / draw.totals.rows));
    add("oracle", share(total, &|draw| draw.best / draw.totals.rows));
    add("strong_less_weak", of_draws(&|draw| (draw.totals.strong - draw.totals.weak) / draw.totals.rows));
    let mut notes = outcomes.notes.clone();
    if !outcomes.rows_are_queries() {
        notes.push(format!(
            "{n} rows are of {} queries: the rows of a query are drawn together, and tests that need a row for each query are \
             left out.",
            outcomes.queries
        ));
    }
    let latency_s = outcomes
        .latency
        .as_ref()
        .and_then(|sides| Some(Both { weak: mean(&sides.weak).ok()?, strong: mean(&sides.strong).ok()? }));
    if latency_s.is_none() {
        missing.insert("latency_s".into(), "no latencies were given".into());
    }
    Replay {
        n,
        queries: outcomes.queries as usize,
        excluded: outcomes.excluded,
        weak_model: outcomes.weak_model.clone(),
        strong_model: outcomes.strong_model.clone(),
        weak: data.models.weak,
        strong: data.models.strong,
        oracle: total / n as f64,
        oracle_strong_share: escalated as f64 / n as f64,
        outcomes: pairs,
        intervals,
        mcnemar_p: mcnemar,
        cost_unit: if outcomes.cost.is_some() { "usd" } else { "strong_calls" }.to_owned(),
        cost: Both { weak: data.span.weak, strong: data.span.strong },
        latency_s,
        draws: options.draws,
        seed: options.seed,
        margin: options.margin,
        policies,
        verdict,
        not_available: missing,
        notes,
    }
}
