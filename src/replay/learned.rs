//! Routers that learn from the query's text, judged on rows that they have not seen.
//!
//! All learn what the strong model gains over the weak one, from sentence embeddings. The queries are cut into five parts; a
//! row's score comes from what was fitted on the four parts that its query is not in (cross-fitting), so that a query that
//! stands in several rows is never on both sides.

use super::{Known, Outcomes, Score};
use crate::metrics::routing::First;
use crate::metrics::statistics::{Undefined, undefined};
use crate::router::{Learner, Lessons, Predictor};
use rayon::prelude::*;

/// Parts of the cross-fitting.
pub const FOLDS: usize = 5;
/// Fewer queries teach nothing.
pub(super) const LEAST_QUERIES: u32 = 50;

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
    let parts: Vec<Vec<(usize, f64)>> =
        (0..FOLDS).into_par_iter().map(|part| scores_without(learner, vectors, outcomes, &[part])).collect();
    let mut values = vec![0.0; gains.len()];
    parts.into_iter().flatten().for_each(|(row, score)| values[row] = score);
    Ok(Score { name: learner.name().to_owned(), values, first: First::High, known: Known::BeforeCall })
}

/// The part that a query is in.
pub(super) fn part_of(query: u32) -> usize {
    query as usize % FOLDS
}

/// The scores of the rows of some parts, by what was learned from the rows of all others.
pub(super) fn scores_without(
    learner: Learner,
    vectors: &[Vec<f32>],
    outcomes: &Outcomes,
    parts: &[usize],
) -> Vec<(usize, f64)> {
    let is_held = |row: &usize| parts.contains(&part_of(outcomes.query_of[*row]));
    let (held, taught): (Vec<usize>, Vec<usize>) = (0..vectors.len()).partition(is_held);
    let of = |qualities: &[f64]| taught.iter().map(|&row| qualities[row]).collect::<Vec<_>>();
    let known: Vec<&[f32]> = taught.iter().map(|&row| vectors[row].as_slice()).collect();
    let (weak, strong) = (of(&outcomes.weak), of(&outcomes.strong));
    let predictor = Predictor::fit(learner, Lessons { vectors: &known, weak: &weak, strong: &strong });
    held.into_par_iter().map(|row| (row, predictor.score(&vectors[row]))).collect()
}
