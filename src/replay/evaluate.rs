//! Every policy at every threshold.

use super::figures::{LEVELS, figures, fixed};
use super::head::head;
use super::points::{self, Basis, Point};
use super::verdict::verdict;
use super::{Known, Options, Outcomes, Policy, Replay, Score};
use crate::metrics::routing::{CostFigures, Curve, Drawn, Models, Ranking, Span, Totals, Walk, oracle};
use crate::metrics::statistics::{Resamples, Undefined, holm, mean};
use std::collections::BTreeMap;

/// Why what needs right and wrong answers cannot be had.
pub(super) const GRADED: &str = "quality is graded, not right or wrong";

/// Queries that resampling alone may bound a difference from.
const LEAST_RESAMPLED: u32 = 20;

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

    /// Refuses bounds of a difference where resampling alone would have to give them and there is too little to resample: from
    /// two queries that agree it would conclude that they always do. Right and wrong answers have a score interval besides.
    pub(super) fn may_bound(&self) -> Result<(), Undefined> {
        let (outcomes, queries) = (self.outcomes, self.outcomes.queries);
        if queries >= LEAST_RESAMPLED || (self.right_or_wrong && outcomes.rows_are_queries()) {
            return Ok(());
        }
        Err(Undefined(format!(
            "{queries} queries are too few for bounds by resampling alone: {LEAST_RESAMPLED} are the least"
        )))
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
    /// What sending each row adds to quality and to cost; the oracle's gains are never negative, and what gains nothing costs
    /// it nothing.
    gains: Vec<f64>,
    costs: Vec<f64>,
    pub(super) curve: Curve,
}

/// The policies that are there whatever was recorded.
pub(super) const CONTROLS: [&str; 5] = [ALWAYS_WEAK, ALWAYS_STRONG, RANDOM, LINEAR, ORACLE];
pub(super) const ALWAYS_WEAK: &str = "always-weak";
const ALWAYS_STRONG: &str = "always-strong";
const RANDOM: &str = "random";
const LINEAR: &str = "linear";
pub(super) const ORACLE: &str = "oracle";

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

    let mut policies = vec![fixed(ALWAYS_WEAK, data.start(), 0.0), fixed(ALWAYS_STRONG, end(&data), 1.0)];
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
    let control = |name: &str, ranking: Ranking, (gains, costs): (Vec<f64>, Vec<f64>), curve: Curve| Candidate {
        name: name.to_owned(),
        control: true,
        known: Known::BeforeCall,
        score: None,
        ranking,
        gains,
        costs,
        curve,
    };
    let (ranking, best) = oracle(&data.gains, &costs, data.start())?;
    let useful = data.gains.iter().map(|gain| gain.max(0.0)).collect();
    let spent = data.gains.iter().zip(&costs).map(|(&gain, &cost)| if gain > 0.0 { cost } else { 0.0 }).collect();
    let all = || (data.gains.clone(), costs.clone());
    Ok(vec![
        control(RANDOM, random.clone(), all(), curve.clone()),
        control(LINEAR, random, all(), curve),
        control(ORACLE, ranking, (useful, spent), best),
    ])
}

fn scored<'a>(data: &Data, score: &'a Score) -> Result<Candidate<'a>, Undefined> {
    let ranking = Ranking::by_score(&score.values, score.first)?;
    let costs = data.added_costs(score.known);
    let curve = Curve::of(&ranking, &data.gains, &costs, data.start());
    Ok(Candidate {
        name: score.name.clone(),
        control: false,
        known: score.known,
        score: Some(score),
        ranking,
        gains: data.gains.clone(),
        costs,
        curve,
    })
}

/// One resample of everything.
pub(super) struct Draw {
    /// Sums over its rows.
    pub(super) totals: Totals,
    /// The sum of the better quality of both models.
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
        let of = |Totals { rows, weak, strong, .. }: Totals, gain: f64| (weak + gain - strong) / rows;
        self.map(|draw, drawn| Some(of(draw.totals, *drawn.gain_at.get(mark)?)))
    }

    /// A figure of the line between the models in every resample.
    pub(super) fn map_line(&self, figure: impl Fn(&CostFigures) -> Option<f64>) -> Vec<Option<f64>> {
        self.all.iter().map(|draw| figure(&draw.totals.line())).collect()
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
            let varies = basis.is_some() || candidate.name == ORACLE;
            let added = (candidate.gains.as_slice(), candidate.costs.as_slice());
            varies.then(|| Walk::new(&candidate.ranking, added, &outcomes.query_of, marks, levels))
        })
        .collect();
    // The rows of a query are drawn together, so that their sums are all that a resample needs of them.
    let of_queries = |values: &mut dyn Iterator<Item = f64>| {
        let mut sums = vec![0.0; outcomes.queries as usize];
        outcomes.query_of.iter().zip(values).for_each(|(&query, value)| sums[query as usize] += value);
        sums
    };
    let (weak, strong) = (&outcomes.weak, &outcomes.strong);
    let rows = of_queries(&mut std::iter::repeat_n(1.0, weak.len()));
    let qualities = [weak, strong].map(|values| of_queries(&mut values.iter().copied()));
    let best = of_queries(&mut weak.iter().zip(strong).map(|(w, s)| w.max(*s)));
    let costs = outcomes
        .cost
        .as_ref()
        .map(|cost| [&cost.weak, &cost.strong].map(|values| of_queries(&mut values.iter().copied())));
    let resamples = Resamples { units: outcomes.queries, draws: options.draws, seed: options.seed };
    resamples.map(|counts| {
        let rows = weighted(counts, &rows);
        let [weak, strong] = qualities.each_ref().map(|values| weighted(counts, values));
        // Without costs a cost is a call of the strong model.
        let priced = costs.as_ref().map(|costs| costs.each_ref().map(|values| weighted(counts, values)));
        let [weak_cost, strong_cost] = priced.unwrap_or([0.0, rows]);
        let totals = Totals { rows, weak, strong, weak_cost, strong_cost };
        let walked = walks.iter().map(|walk| walk.as_ref().map(|walk| walk.draw(counts, &totals))).collect();
        Draw { totals, best: weighted(counts, &best), walked }
    })
}

/// The sum of values, each as often as it was drawn, in eight running sums, which the compiler can keep in vector registers.
fn weighted(counts: &[u16], values: &[f64]) -> f64 {
    let (count_chunks, rest_counts) = counts.as_chunks::<8>();
    let (value_chunks, rest_values) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (counts, values) in count_chunks.iter().zip(value_chunks) {
        for ((sum, &count), value) in sums.iter_mut().zip(counts).zip(values) {
            *sum += f64::from(count) * value;
        }
    }
    let rest: f64 = rest_counts.iter().zip(rest_values).map(|(&count, value)| f64::from(count) * value).sum();
    sums.iter().sum::<f64>() + rest
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
