//! Quality and cost against the share of queries that the strong model gets.

use super::{First, Ranking};
use crate::metrics::statistics::{Undefined, undefined};

/// Steps of the grid of APGR: RouteLLM's code reads a curve at eleven shares.
pub const APGR_STEPS: usize = 10;

/// The two models alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Models {
    /// Mean quality of the weak model, w.
    pub weak: f64,
    /// Mean quality of the strong model, s.
    pub strong: f64,
}

impl Models {
    /// Performance gap recovered by a quality r.
    pub fn pgr(self, quality: f64) -> Result<f64, Undefined> {
        Ok((quality - self.weak) / self.gap()?)
    }

    /// s − w, which is undefined as a gap where it is not positive.
    pub fn gap(self) -> Result<f64, Undefined> {
        let Self { weak, strong } = self;
        if strong > weak {
            return Ok(strong - weak);
        }
        Err(Undefined(format!(
            "the strong model is not better than the weak one ({strong:.4} against {weak:.4}), so there is no gap to recover"
        )))
    }
}

/// One vertex of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Share of the queries that the strong model gets.
    pub share: f64,
    /// Mean quality.
    pub quality: f64,
    /// Mean cost, in the unit of what was given.
    pub cost: f64,
}

/// A policy at every share, with straight lines between its vertices.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// From nothing to everything at the strong model; shares never fall.
    steps: Vec<Step>,
}

impl Curve {
    /// The curve of a ranking. `gains` and `costs` say for each row what sending it to the strong model adds to quality and
    /// cost; `start` is the weak model alone. There is at least one row.
    #[must_use]
    pub fn of(ranking: &Ranking, gains: &[f64], costs: &[f64], start: (f64, f64)) -> Self {
        let n = gains.len() as f64;
        let mut steps = Vec::with_capacity(ranking.ends().len() + 1);
        let (mut gain, mut cost, mut from) = (0.0, 0.0, 0);
        let vertex = |end: usize, gain: f64, cost: f64| Step {
            share: end as f64 / n,
            quality: start.0 + gain / n,
            cost: start.1 + cost / n,
        };
        steps.push(vertex(0, 0.0, 0.0));
        for &end in ranking.ends() {
            for &row in &ranking.order()[from..end as usize] {
                gain += gains[row as usize];
                cost += costs[row as usize];
            }
            from = end as usize;
            steps.push(vertex(from, gain, cost));
        }
        Self { steps }
    }

    /// The vertices: the curve after each whole group.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The curve where a share goes to the strong model; between vertices the expected value.
    #[must_use]
    pub fn at(&self, share: f64) -> Step {
        let next = self.steps.partition_point(|step| step.share < share);
        let after = self.steps[next.min(self.steps.len() - 1)];
        let Some(before) = next.checked_sub(1).map(|i| self.steps[i]) else { return after };
        if after.share <= before.share || share >= after.share {
            return Step { share, ..after };
        }
        let part = (share - before.share) / (after.share - before.share);
        Step {
            share,
            quality: before.quality + (after.quality - before.quality) * part,
            cost: before.cost + (after.cost - before.cost) * part,
        }
    }

    /// Average PGR by the trapezoid rule on the grid of eleven shares 0, 0.1, … 1.
    pub fn apgr(&self, models: Models) -> Result<f64, Undefined> {
        let gap = models.gap()?;
        let inner: f64 = (1..APGR_STEPS).map(|i| self.at(i as f64 / APGR_STEPS as f64).quality - models.weak).sum();
        let ends = self.at(0.0).quality + self.at(1.0).quality - 2.0 * models.weak;
        Ok((inner + ends / 2.0) / APGR_STEPS as f64 / gap)
    }

    /// Average PGR as the exact integral over the curve.
    pub fn apgr_exact(&self, models: Models) -> Result<f64, Undefined> {
        Ok((self.deferral_area() - models.weak) / models.gap()?)
    }

    /// The area under quality against the share that is deferred to the strong model (Gupta et al., arXiv 2404.10136).
    #[must_use]
    pub fn deferral_area(&self) -> f64 {
        self.steps
            .windows(2)
            .map(|pair| (pair[1].share - pair[0].share) * f64::midpoint(pair[0].quality, pair[1].quality))
            .sum()
    }

    /// The smallest share at which PGR reaches `level`, by the first crossing of the curve.
    pub fn cpt(&self, models: Models, level: f64) -> Result<f64, Undefined> {
        let wanted = models.weak + level * models.gap()?;
        let reached = |step: &Step| step.quality >= wanted - wanted.abs() * f64::EPSILON;
        let Some(next) = self.steps.iter().position(reached) else {
            return Err(Undefined(format!("the curve never recovers {level} of the gap")));
        };
        let after = self.steps[next];
        let Some(before) = next.checked_sub(1).map(|i| self.steps[i]) else { return Ok(after.share) };
        let part = ((wanted - before.quality) / (after.quality - before.quality)).min(1.0);
        Ok(before.share + (after.share - before.share) * part)
    }
}

/// The oracle: it knows every outcome, sends first what gains most, and where at most a share p may be sent never sends what
/// gains nothing. So its curve does not fall, and at p = 1 it is the best that any choice between the two could do.
pub fn oracle(gains: &[f64], costs: &[f64], start: (f64, f64)) -> Result<(Ranking, Curve), Undefined> {
    if gains.is_empty() {
        return undefined("there are no rows");
    }
    let useful: Vec<f64> = gains.iter().map(|gain| gain.max(0.0)).collect();
    let spent: Vec<f64> = useful.iter().zip(costs).map(|(&gain, &cost)| if gain > 0.0 { cost } else { 0.0 }).collect();
    let ranking = Ranking::by_score(&useful, First::High)?;
    let curve = Curve::of(&ranking, &useful, &spent, start);
    Ok((ranking, curve))
}
