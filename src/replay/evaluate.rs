//! Every policy at every threshold.

use super::points::{self, Basis, Point};
use super::verdict::verdict;
use super::{
    BeatsRandom, Both, CurvePoint, Ends, HullPoint, Known, Options, Outcomes, Pairs, Policy, Replay, Score, Vertex,
    keep,
};
use crate::metrics::routing::{
    Curve, Drawn, First, Models, Ranking, Span, Step, Walk, aiq, cost_auc, oracle, upper_hull,
};
use crate::metrics::statistics::{
    Resamples, Undefined, auroc, holm, mcnemar_exact, mean, percentile_ends, undefined, wilson,
};
use std::collections::BTreeMap;

/// Levels of CPT, and their names in the output.
const LEVELS: [(&str, f64); 3] = [("50", 0.5), ("80", 0.8), ("95", 0.95)];
/// A two-sided 95 % interval leaves this much on either side.
const TWO_SIDED: f64 = 0.025;
/// Points of a curve, and vertices of a hull at most, in the output less one.
const CURVE_STEPS: usize = 100;

/// What the outcomes come to, once.
pub(super) struct Data<'a> {
    pub(super) outcomes: &'a Outcomes,
    pub(super) gains: Vec<f64>,
    pub(super) models: Models,
    pub(super) span: Span,
    pub(super) right_or_wrong: bool,
    weak_costs: Vec<f64>,
    strong_costs: Vec<f64>,
}

impl<'a> Data<'a> {
    fn of(outcomes: &'a Outcomes) -> Result<Self, Undefined> {
        let n = outcomes.weak.len();
        let (weak_costs, strong_costs) = match &outcomes.cost {
            Some(cost) => (cost.weak.clone(), cost.strong.clone()),
            None => (vec![0.0; n], vec![1.0; n]),
        };
        Ok(Self {
            outcomes,
            gains: outcomes.weak.iter().zip(&outcomes.strong).map(|(weak, strong)| strong - weak).collect(),
            models: Models { weak: mean(&outcomes.weak)?, strong: mean(&outcomes.strong)? },
            span: Span { weak: mean(&weak_costs)?, strong: mean(&strong_costs)? },
            right_or_wrong: outcomes.is_right_or_wrong(),
            weak_costs,
            strong_costs,
        })
    }

    /// What sending each row to the strong model adds to its cost.
    fn added_costs(&self, known: Known) -> Vec<f64> {
        match known {
            Known::AfterWeak => self.strong_costs.clone(),
            Known::BeforeCall => self.strong_costs.iter().zip(&self.weak_costs).map(|(s, w)| s - w).collect(),
        }
    }

    fn start(&self) -> (f64, f64) {
        (self.models.weak, self.span.weak)
    }

    /// Dollars of the weak and of the strong model in a row.
    pub(super) fn costs(&self, row: usize) -> (f64, f64) {
        (self.weak_costs[row], self.strong_costs[row])
    }
}

/// A policy on its way to its figures.
struct Candidate<'a> {
    name: String,
    control: bool,
    known: Known,
    /// The score behind it, where there is one.
    score: Option<&'a Score>,
    ranking: Ranking,
    /// By row; the oracle's are never negative.
    gains: Vec<f64>,
    curve: Curve,
}

/// Puts every policy through every threshold. There is at least one row.
pub fn replay(outcomes: &Outcomes, options: &Options) -> Result<Replay, Undefined> {
    let data = Data::of(outcomes)?;
    let mut not_available = BTreeMap::new();
    let mut candidates = controls(&data)?;
    for score in &outcomes.scores {
        match scored(&data, score) {
            Ok(candidate) => candidates.push(candidate),
            Err(reason) => {
                not_available.insert(format!("policies.{}", score.name), format!("undefined because {reason}"));
            }
        }
    }
    let bases: Vec<Option<Basis>> = candidates
        .iter()
        .map(|candidate| (!candidate.control).then(|| Basis::of(&candidate.ranking, &data, candidate.known)))
        .collect();
    let resampled = resample(&data, &candidates, &bases, options);

    let mut policies = vec![fixed("always-weak", data.start(), 0.0), fixed("always-strong", end(&data), 1.0)];
    let mut all_points: Vec<Vec<Point>> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let drawn = resampled.as_ref().map(|all| All { all, index }).map_err(Clone::clone);
        let mut policy = figures(&data, candidate, &drawn);
        if let Some(basis) = &bases[index] {
            policy.points = points::points(&data, basis, candidate.score, &drawn, options.margin);
        }
        all_points.push(std::mem::take(&mut policy.points));
        policies.push(policy);
    }
    adjust(&mut policies, &mut all_points);
    for (policy, points) in policies.iter_mut().skip(2).zip(all_points) {
        policy.points = points;
    }

    let whole = resampled.as_ref().map_err(Clone::clone);
    let verdict = verdict(&data, &policies, &whole, options);
    Ok(head(&data, options, policies, verdict, &whole, not_available))
}

fn end(data: &Data) -> (f64, f64) {
    (data.models.strong, data.span.strong)
}

/// Controls that have a curve.
fn controls<'a>(data: &Data) -> Result<Vec<Candidate<'a>>, Undefined> {
    let n = data.gains.len();
    let costs = data.added_costs(Known::BeforeCall);
    let random = Ranking::random(n);
    let curve = Curve::of(&random, &data.gains, &costs, data.start());
    let control = |name: &str, ranking: Ranking, gains: Vec<f64>, curve: Curve| Candidate {
        name: name.to_owned(),
        control: true,
        known: Known::BeforeCall,
        score: None,
        ranking,
        gains,
        curve,
    };
    let (ranking, best) = oracle(&data.gains, &costs, data.start())?;
    let useful = data.gains.iter().map(|gain| gain.max(0.0)).collect();
    Ok(vec![
        control("random", random.clone(), data.gains.clone(), curve.clone()),
        control("linear", random, data.gains.clone(), curve),
        control("oracle", ranking, useful, best),
    ])
}

fn scored<'a>(data: &Data, score: &'a Score) -> Result<Candidate<'a>, Undefined> {
    let ranking = Ranking::by_score(&score.values, score.first)?;
    let curve = Curve::of(&ranking, &data.gains, &data.added_costs(score.known), data.start());
    Ok(Candidate {
        name: score.name.clone(),
        control: false,
        known: score.known,
        score: Some(score),
        ranking,
        gains: data.gains.clone(),
        curve,
    })
}

/// One resample of everything.
pub(super) struct Draw {
    /// Rows in it.
    pub(super) rows: f64,
    /// Sums of quality over them.
    pub(super) weak: f64,
    pub(super) strong: f64,
    /// The policies that are walked, in the order of the candidates; `None` for those that any data give the same figures.
    walked: Vec<Option<Drawn>>,
}

/// The resamples of one policy.
pub(super) struct All<'a> {
    all: &'a [Draw],
    index: usize,
}

impl All<'_> {
    /// A figure of the policy in every resample.
    fn map(&self, figure: impl Fn(&Draw, &Drawn) -> Option<f64>) -> Vec<Option<f64>> {
        self.all.iter().map(|draw| draw.walked[self.index].as_ref().and_then(|drawn| figure(draw, drawn))).collect()
    }

    /// Quality less that of the strong model after the groups of a mark.
    pub(super) fn differences(&self, mark: usize) -> Vec<Option<f64>> {
        self.map(|draw, drawn| Some((draw.weak + drawn.gain_at.get(mark)? - draw.strong) / draw.rows))
    }
}

fn resample(
    data: &Data,
    candidates: &[Candidate],
    bases: &[Option<Basis>],
    options: &Options,
) -> Result<Vec<Draw>, Undefined> {
    let outcomes = data.outcomes;
    let levels = LEVELS.map(|(_, level)| level);
    let walks: Vec<Option<Walk>> = candidates
        .iter()
        .zip(bases)
        .map(|(candidate, basis)| {
            let marks = basis.as_ref().map_or_else(Vec::new, |basis| basis.groups.clone());
            let varies = basis.is_some() || candidate.name == "oracle";
            varies.then(|| Walk::new(&candidate.ranking, &candidate.gains, &outcomes.query_of, marks, levels))
        })
        .collect();
    let resamples = Resamples { units: outcomes.queries, draws: options.draws, seed: options.seed };
    resamples.map(|counts| {
        let (mut rows, mut weak, mut strong) = (0.0, 0.0, 0.0);
        for ((&query, &w), &s) in outcomes.query_of.iter().zip(&outcomes.weak).zip(&outcomes.strong) {
            let count = f64::from(counts[query as usize]);
            rows += count;
            weak += count * w;
            strong += count * s;
        }
        let walked =
            walks.iter().map(|walk| walk.as_ref().map(|walk| walk.draw(counts, rows, strong - weak))).collect();
        Draw { rows, weak, strong, walked }
    })
}

fn figures(data: &Data, candidate: &Candidate, drawn: &Result<All, Undefined>) -> Policy {
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
        // The expected value of a random choice recovers half of the gap whatever the data: there is nothing to resample.
        Ok(_) if candidate.score.is_none() && candidate.name != "oracle" => {
            missing.insert("intervals".into(), "it is a straight line on any data".into());
        }
        Ok(all) => intervals(&mut policy, all, &mut missing),
        Err(reason) => {
            missing.insert("intervals".into(), format!("undefined because {reason}"));
        }
    }
    policy.not_available = missing;
    policy
}

fn intervals(policy: &mut Policy, all: &All, missing: &mut BTreeMap<String, String>) {
    let mut add = |name: &str, drawn: Vec<Option<f64>>| {
        let ends = keep(percentile_ends(&drawn, TWO_SIDED), &format!("intervals.{name}"), missing)?;
        policy.intervals.insert(name.to_owned(), Ends { low: ends.0, high: ends.1 });
        Some((ends, drawn))
    };
    let apgr = add("apgr", all.map(|_, drawn| drawn.apgr));
    for (i, (name, _)) in LEVELS.iter().enumerate() {
        add(&format!("cpt.{name}"), all.map(|_, drawn| drawn.cpt[i]));
    }
    add("deferral_auc", all.map(|draw, drawn| Some(draw.weak / draw.rows + drawn.area)));
    if let (Some(value), Some((ends, drawn)), false) = (policy.apgr, apgr, policy.control) {
        policy.beats_random = Some(beats_random(value, ends, &drawn));
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

/// Holm over the policies for "better than random", and over all their thresholds for McNemar.
fn adjust(policies: &mut [Policy], points: &mut [Vec<Point>]) {
    let found: Vec<f64> = policies.iter().filter_map(|policy| Some(policy.beats_random.as_ref()?.p_value)).collect();
    let beats = policies.iter_mut().filter_map(|policy| policy.beats_random.as_mut());
    for (beats, adjusted) in beats.zip(holm(&found).unwrap_or_default()) {
        beats.p_value_holm = adjusted;
    }
    // Where everything or nothing is sent, all policies are the same.
    fn cells(points: &mut [Vec<Point>]) -> impl Iterator<Item = &mut Point> {
        points.iter_mut().flatten().filter(|p| p.mcnemar_p.is_some() && p.strong_share > 0.0 && p.strong_share < 1.0)
    }
    let found: Vec<f64> = cells(points).filter_map(|point| point.mcnemar_p).collect();
    for (point, adjusted) in cells(points).zip(holm(&found).unwrap_or_default()) {
        point.mcnemar_p_holm = Some(adjusted);
    }
}

/// How well a score tells the weak model's right answers from its wrong ones.
fn separation(data: &Data, candidate: &Candidate) -> Result<f64, Undefined> {
    let Some(score) = candidate.score else { return undefined("it decides by no score") };
    if !data.right_or_wrong {
        return undefined("quality is graded, not right or wrong");
    }
    let right: Vec<bool> = data.outcomes.weak.iter().map(|&quality| quality == 1.0).collect();
    let area = auroc(&score.values, &right).map_err(|reason| match reason {
        Undefined(text) if text.starts_with("only one class") => {
            Undefined("the weak model is right everywhere or nowhere, so only one class is there".into())
        }
        other => other,
    })?;
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
fn fixed(name: &str, (quality, cost): (f64, f64), strong_share: f64) -> Policy {
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

fn head(
    data: &Data,
    options: &Options,
    policies: Vec<Policy>,
    verdict: super::Verdict,
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
        missing.insert("outcomes".into(), "undefined because quality is graded, not right or wrong".into());
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
    let share = |right: f64, figure: &dyn Fn(&Draw) -> f64| match single {
        true => wilson(right as usize, n).map(|interval| (interval.low, interval.high)),
        false => of_draws(figure),
    };
    add("weak", share(outcomes.weak.iter().sum(), &|draw| draw.weak / draw.rows));
    add("strong", share(outcomes.strong.iter().sum(), &|draw| draw.strong / draw.rows));
    let oracle_at = policies.iter().position(|policy| policy.name == "oracle").map_or(0, |i| i - 2);
    add(
        "oracle",
        share(total, &|draw| {
            let gained = draw.walked[oracle_at].as_ref().map_or(0.0, |drawn| drawn.whole_gain);
            (draw.weak + gained) / draw.rows
        }),
    );
    add("strong_less_weak", of_draws(&|draw| (draw.strong - draw.weak) / draw.rows));
    let mut notes = outcomes.notes.clone();
    if !outcomes.rows_are_queries() {
        notes.push(format!(
            "{n} rows are of {} queries: the rows of a query are drawn together, and tests that need a row for each query are \
             left out.",
            outcomes.queries
        ));
    }
    let latency = outcomes.latency.as_ref().map(|sides| (mean(&sides.weak), mean(&sides.strong)));
    let latency_s = match latency {
        Some((Ok(weak), Ok(strong))) => Some(Both { weak, strong }),
        _ => {
            missing.insert("latency_s".into(), "no latencies were given".into());
            None
        }
    };
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

/// Why a test of discordant pairs does not apply.
pub(super) fn no_pairs(data: &Data) -> &'static str {
    if data.right_or_wrong {
        "queries stand in more than one row, which are no independent pairs"
    } else {
        "quality is graded, not right or wrong"
    }
}
