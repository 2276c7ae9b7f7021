//! The figures of one policy.

use super::evaluate::{All, Candidate, Data, Draw, GRADED, ORACLE};
use super::{BeatsRandom, CurvePoint, Ends, HullPoint, Known, Policy, Vertex, keep};
use crate::metrics::routing::{CostFigures, Drawn, First, Step, aiq, cost_auc, upper_hull};
use crate::metrics::statistics::{Undefined, auroc, percentile_ends, undefined};
use std::collections::BTreeMap;

/// Levels of CPT, and their names in the output.
pub(super) const LEVELS: [(&str, f64); 3] = [("50", 0.5), ("80", 0.8), ("95", 0.95)];
/// A two-sided 95 % interval leaves this much on either side.
pub(super) const TWO_SIDED: f64 = 0.025;
/// Points of a curve, and vertices of a hull at most, in the output less one.
const CURVE_STEPS: usize = 100;

/// Everything but the points, which need the thresholds of the policy.
pub(super) fn figures(data: &Data, candidate: &Candidate, drawn: &Result<All, Undefined>) -> Policy {
    let (curve, models, span) = (&candidate.curve, data.models, data.span);
    let mut missing = BTreeMap::new();
    let hull = upper_hull(curve);
    let (from_zero, range) = match aiq(&hull, span) {
        Ok((from_zero, range)) => (Ok(from_zero), Ok(range)),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    let vertices = vertices(candidate);
    let mut policy = Policy {
        name: candidate.name.clone(),
        control: candidate.control,
        known: candidate.known,
        apgr: keep(curve.apgr(models), "apgr", &mut missing),
        apgr_exact: keep(curve.apgr_exact(models), "apgr_exact", &mut missing),
        cpt: LEVELS
            .map(|(name, level)| (name, keep(curve.cpt(models, level), &format!("cpt.{name}"), &mut missing)))
            .into(),
        aiq_hull_from_zero: keep(from_zero, "aiq_hull_from_zero", &mut missing),
        aiq_hull_range: keep(range, "aiq_hull_range", &mut missing),
        cost_auc: keep(cost_auc(curve, models, span), "cost_auc", &mut missing),
        deferral_auc: Some(curve.deferral_area()),
        auroc: keep(separation(data, candidate), "auroc", &mut missing),
        intervals: BTreeMap::new(),
        beats_random: None,
        hull: thinned(&hull),
        curve: (0..=CURVE_STEPS).map(|i| point(curve.at(i as f64 / CURVE_STEPS as f64))).collect(),
        points: Vec::new(),
        not_available: BTreeMap::new(),
        vertices,
    };
    match drawn {
        // The expected value of a random choice recovers half of the gap whatever the data; only what it costs varies.
        Ok(all) if candidate.score.is_none() && candidate.name != ORACLE => {
            missing.insert("intervals".into(), "but for costs it is the same straight line on any data".into());
            for (name, figure) in COST_FIGURES {
                add(&mut policy, name, &all.map_line(figure), &mut missing);
            }
        }
        Ok(all) => intervals(&mut policy, all, &mut missing),
        Err(reason) => {
            missing.insert("intervals".into(), format!("undefined because {reason}"));
        }
    }
    policy.not_available = missing;
    policy
}

/// Reads a figure of quality against cost.
type CostFigure = fn(&CostFigures) -> Option<f64>;

/// Figures of quality against cost, and their names in the output.
const COST_FIGURES: [(&str, CostFigure); 3] = [
    ("aiq_hull_from_zero", |cost| cost.aiq_from_zero),
    ("aiq_hull_range", |cost| cost.aiq_range),
    ("cost_auc", |cost| cost.cost_auc),
];

/// Adds the interval of a figure, or why there is none.
fn add(
    policy: &mut Policy,
    name: &str,
    drawn: &[Option<f64>],
    missing: &mut BTreeMap<String, String>,
) -> Option<(f64, f64)> {
    let ends = keep(percentile_ends(drawn, TWO_SIDED), &format!("intervals.{name}"), missing)?;
    policy.intervals.insert(name.to_owned(), Ends { low: ends.0, high: ends.1 });
    Some(ends)
}

fn intervals(policy: &mut Policy, all: &All, missing: &mut BTreeMap<String, String>) {
    let apgr = all.map(|_, drawn| drawn.apgr);
    let ends = add(policy, "apgr", &apgr, missing);
    for (i, (name, _)) in LEVELS.iter().enumerate() {
        add(policy, &format!("cpt.{name}"), &all.map(|_, drawn| drawn.cpt[i]), missing);
    }
    let area = |draw: &Draw, drawn: &Drawn| Some(draw.totals.weak / draw.totals.rows + drawn.area);
    add(policy, "deferral_auc", &all.map(area), missing);
    for (name, figure) in COST_FIGURES {
        add(policy, name, &all.map(|_, drawn| figure(&drawn.cost)), missing);
    }
    if let (Some(value), Some(ends), false) = (policy.apgr, ends, policy.control) {
        policy.beats_random = Some(beats_random(value, ends, &apgr));
    }
}

/// Random routing recovers one half of the gap in every resample, so that the paired difference is the policy's own less that.
fn beats_random(apgr: f64, ends: (f64, f64), drawn: &[Option<f64>]) -> BeatsRandom {
    let differences = || drawn.iter().map(|apgr| apgr.map(|apgr| apgr - 0.5));
    // A resample without a figure speaks for either side.
    let below = differences().filter(|d| d.is_none_or(|d| d <= 0.0)).count();
    let above = differences().filter(|d| d.is_none_or(|d| d >= 0.0)).count();
    let p_value = (2.0 * (below.min(above) + 1) as f64 / (drawn.len() + 1) as f64).min(1.0);
    let (low, high) = (ends.0 - 0.5, ends.1 - 0.5);
    let text = if low > 0.0 {
        "better than sending queries at random"
    } else if high < 0.0 {
        "worse than sending queries at random"
    } else {
        "not shown to be better than sending queries at random"
    };
    BeatsRandom { apgr_difference: apgr - 0.5, low, high, p_value, p_value_holm: p_value, text: text.to_owned() }
}

/// How well a score tells the weak model's right answers from its wrong ones.
fn separation(data: &Data, candidate: &Candidate) -> Result<f64, Undefined> {
    let Some(score) = candidate.score else { return undefined("it decides by no score") };
    if !data.right_or_wrong {
        return undefined(GRADED);
    }
    let right: Vec<bool> = data.outcomes.weak.iter().map(|&quality| quality == 1.0).collect();
    if right.iter().all(|&is| is == right[0]) {
        return undefined("the weak model is right everywhere or nowhere, so only one class is there");
    }
    let area = auroc(&score.values, &right)?;
    Ok(if score.first == First::Low { area } else { 1.0 - area })
}

fn vertices(candidate: &Candidate) -> Vec<Vertex> {
    let (order, ends) = (candidate.ranking.order(), candidate.ranking.ends());
    let threshold = |groups: usize| {
        let row = order[*ends.get(groups.checked_sub(1)?)? as usize - 1];
        Some(candidate.score?.values[row as usize])
    };
    let steps = candidate.curve.steps().iter().enumerate();
    steps.map(|(groups, &step)| Vertex { threshold: threshold(groups), at: point(step) }).collect()
}

fn point(step: Step) -> CurvePoint {
    CurvePoint { strong_share: step.share, quality: step.quality, cost: step.cost }
}

fn thinned(hull: &[(f64, f64)]) -> Vec<HullPoint> {
    let kept = hull.len().min(CURVE_STEPS + 1);
    let at = |i: usize| hull[if kept < 2 { 0 } else { i * (hull.len() - 1) / (kept - 1) }];
    (0..kept).map(at).map(|(cost, quality)| HullPoint { cost, quality }).collect()
}

/// A model alone: one point, no threshold.
pub(super) fn fixed(name: &str, (quality, cost): (f64, f64), strong_share: f64) -> Policy {
    let why = "undefined because it has no threshold to move";
    let names =
        ["apgr", "cpt", "aiq_hull_from_zero", "aiq_hull_range", "cost_auc", "deferral_auc", "auroc", "intervals"];
    Policy {
        name: name.to_owned(),
        control: true,
        known: Known::BeforeCall,
        apgr: None,
        apgr_exact: None,
        cpt: LEVELS.map(|(name, _)| (name, None)).into(),
        aiq_hull_from_zero: None,
        aiq_hull_range: None,
        cost_auc: None,
        deferral_auc: None,
        auroc: None,
        intervals: BTreeMap::new(),
        beats_random: None,
        hull: vec![HullPoint { cost, quality }],
        curve: vec![CurvePoint { strong_share, quality, cost }],
        points: Vec::new(),
        not_available: names.map(|name| (name.to_owned(), why.to_owned())).into(),
        vertices: vec![Vertex { threshold: None, at: CurvePoint { strong_share, quality, cost } }],
    }
}
