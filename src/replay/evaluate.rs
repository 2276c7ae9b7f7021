//! Every policy at every threshold.

use super::figures::{LEVELS, figures, fixed};
use super::head::head;
use super::points::{self, Basis, Point};
use super::verdict::verdict;
use super::{Known, Options, Outcomes, Policy, Replay, Score};
use crate::metrics::routing::{Curve, Drawn, Models, Ranking, Span, Walk, oracle};
use crate::metrics::statistics::{Resamples, Undefined, holm, mean};
use std::collections::BTreeMap;

/// Why what needs right and wrong answers cannot be had.
pub(super) const GRADED: &str = "quality is graded, not right or wrong";

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
pub(super) struct Candidate<'a> {
    pub(super) name: String,
    pub(super) control: bool,
    pub(super) known: Known,
    /// The score behind it, where there is one.
    pub(super) score: Option<&'a Score>,
    pub(super) ranking: Ranking,
    /// By row; the oracle's are never negative.
    gains: Vec<f64>,
    pub(super) curve: Curve,
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
    pub(super) best: f64,
    /// The policies that are walked, in the order of the candidates; `None` for those that any data give the same figures.
    pub(super) walked: Vec<Option<Drawn>>,
}

/// The resamples of one policy.
pub(super) struct All<'a> {
    all: &'a [Draw],
    index: usize,
}

impl All<'_> {
    /// A figure of the policy in every resample.
    pub(super) fn map(&self, figure: impl Fn(&Draw, &Drawn) -> Option<f64>) -> Vec<Option<f64>> {
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
        let (mut rows, mut weak, mut strong, mut best) = (0.0, 0.0, 0.0, 0.0);
        for ((&query, &w), &s) in outcomes.query_of.iter().zip(&outcomes.weak).zip(&outcomes.strong) {
            let count = f64::from(counts[query as usize]);
            rows += count;
            weak += count * w;
            strong += count * s;
            best += count * w.max(s);
        }
        let walked =
            walks.iter().map(|walk| walk.as_ref().map(|walk| walk.draw(counts, rows, strong - weak))).collect();
        Draw { rows, weak, strong, best, walked }
    })
}

/// Holm over the policies for "better than random", and over all their thresholds for McNemar.
fn adjust(policies: &mut [Policy], points: &mut [Vec<Point>]) {
    let found: Vec<f64> = policies.iter().filter_map(|policy| Some(policy.beats_random.as_ref()?.p_value)).collect();
    let beats = policies.iter_mut().filter_map(|policy| policy.beats_random.as_mut());
    for (beats, adjusted) in beats.zip(holm(&found).unwrap_or_default()) {
        beats.p_value_holm = adjusted;
    }
    let found: Vec<f64> = cells(points).filter_map(|point| point.mcnemar_p).collect();
    for (point, adjusted) in cells(points).zip(holm(&found).unwrap_or_default()) {
        point.mcnemar_p_holm = Some(adjusted);
    }
}

/// The thresholds that are tested. Where everything or nothing is sent, all policies are the same.
fn cells(points: &mut [Vec<Point>]) -> impl Iterator<Item = &mut Point> {
    points.iter_mut().flatten().filter(|p| p.mcnemar_p.is_some() && p.strong_share > 0.0 && p.strong_share < 1.0)
}

/// Why a test of discordant pairs does not apply.
pub(super) fn no_pairs(data: &Data) -> &'static str {
    if data.right_or_wrong { "queries stand in more than one row, which are no independent pairs" } else { GRADED }
}
