//! Routers that learn from the query's text, judged on rows that they have not seen.
//!
//! Both learn what the strong model gains over the weak one, from sentence embeddings. The queries are cut into five parts; a
//! row's score comes from what was fitted on the four parts that its query is not in (cross-fitting), so that a query that
//! stands in several rows is never on both sides.

use super::{Known, Outcomes, Score};
use crate::metrics::routing::First;
use crate::metrics::statistics::{Undefined, undefined};
use crate::router::logistic::{Examples, Logistic, Row};
use rayon::prelude::*;

/// Parts of the cross-fitting.
pub const FOLDS: usize = 5;
/// Fewer queries teach nothing.
const LEAST_QUERIES: u32 = 50;
/// Variance of the prior on the weights of the logistic regression: scikit-learn's default, and not tuned here.
const VARIANCE: f64 = 1.0;
/// Neighbours at most.
const MOST_NEIGHBOURS: usize = 100;

/// What learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Learner {
    /// The mean gain of the nearest queries, as many as the square root of those that it learns from.
    Knn,
    /// The probability that only the strong model is better less the probability that only the weak one is.
    Logistic,
}

impl Learner {
    /// The policy's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Logistic => "logistic",
        }
    }
}

/// The score of each row by what was learned from the other parts. `vectors` are the unit-length embeddings of the rows' texts.
pub fn cross_fitted(learner: Learner, vectors: &[Vec<f32>], outcomes: &Outcomes) -> Result<Score, Undefined> {
    let gains: Vec<f64> = outcomes.weak.iter().zip(&outcomes.strong).map(|(weak, strong)| strong - weak).collect();
    if vectors.len() != gains.len() {
        return undefined("not every row has a text");
    }
    if outcomes.queries < LEAST_QUERIES {
        let queries = outcomes.queries;
        return Err(Undefined(format!("{queries} queries are too few to learn from: {LEAST_QUERIES} are the least")));
    }
    if gains.iter().all(|&gain| gain == gains[0]) {
        return undefined("the strong model gains the same on every row, so there is nothing to learn");
    }
    let fold_of = |row: usize| outcomes.query_of[row] as usize % FOLDS;
    let mut values = vec![0.0; gains.len()];
    for fold in 0..FOLDS {
        let (held, taught): (Vec<usize>, Vec<usize>) = (0..gains.len()).partition(|&row| fold_of(row) == fold);
        let scores = match learner {
            Learner::Knn => nearest(vectors, &gains, &taught, &held),
            Learner::Logistic => regressed(vectors, &gains, &taught, &held),
        };
        for (row, score) in held.into_iter().zip(scores) {
            values[row] = score;
        }
    }
    Ok(Score { name: learner.name().to_owned(), values, first: First::High, known: Known::BeforeCall })
}

fn nearest(vectors: &[Vec<f32>], gains: &[f64], taught: &[usize], held: &[usize]) -> Vec<f64> {
    let neighbours = (taught.len() as f64).sqrt() as usize;
    let neighbours = neighbours.clamp(1, MOST_NEIGHBOURS);
    held.par_iter()
        .map(|&row| {
            let mut near: Vec<(f32, usize)> =
                taught.iter().map(|&other| (inner(&vectors[row], &vectors[other]), other)).collect();
            // Of equally near ones the first in the file: the order must not depend on the sorting.
            near.select_nth_unstable_by(neighbours - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            near[..neighbours].sort_unstable_by_key(|&(_, other)| other);
            near[..neighbours].iter().map(|&(_, other)| gains[other]).sum::<f64>() / neighbours as f64
        })
        .collect()
}

fn inner(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Classes: the weak model is better, neither is, the strong one is.
fn regressed(vectors: &[Vec<f32>], gains: &[f64], taught: &[usize], held: &[usize]) -> Vec<f64> {
    let features = |row: usize| Row { dense: vectors[row].iter().map(|&x| f64::from(x)).collect(), sparse: Vec::new() };
    let class = |row: usize| if gains[row] < 0.0 { 0 } else { 1 + usize::from(gains[row] > 0.0) };
    let rows: Vec<Row> = taught.iter().map(|&row| features(row)).collect();
    let classes_of: Vec<usize> = taught.iter().map(|&row| class(row)).collect();
    let model = Logistic::fit(Examples { rows: &rows, classes_of: &classes_of, classes: 3, sparse: 0 }, VARIANCE);
    held.par_iter()
        .map(|&row| {
            let p = model.probabilities(&features(row));
            p[2] - p[0]
        })
        .collect()
}
