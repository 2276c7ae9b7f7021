//! What a query's text says, before any call, of how much better the LLM would answer it than the SLM.
//!
//! A predictor is fitted to the unit-length sentence embeddings of queries that both models answered, and to what the
//! answers were worth. Its score is the expected gain: quality of the LLM's answer less that of the SLM's, −1 to 1.

use super::RouterKind;
use super::logistic::{End, Examples, Logistic, Row, inner, minimise};
use crate::error::{Result, usage};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Variance of the prior on the weights of the regression and of the factors: scikit-learn's default, and not tuned here.
pub(crate) const VARIANCE: f64 = 1.0;
/// Neighbours at most.
const MOST_NEIGHBOURS: usize = 100;
/// Numbers in which matrix factorisation describes a query, and a model.
const RANK: usize = 8;
/// Seed of the factors' first values.
const SEED: u64 = 0;
/// Where a fit ends. Thresholds stand on its scores, and a coarser end would leave them uncertain in the third digit.
const FINE: End = End { gradient: 1e-7, steps: 500 };

/// What learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learner {
    /// The mean gain of the nearest queries, as many as the square root of those that it learns from.
    Knn,
    /// The probability that only the LLM is better less the probability that only the SLM is.
    Logistic,
    /// The difference of both models' probabilities to be right, from factors of queries and models (RouteLLM, arXiv
    /// 2406.18665, and EmbedLLM, arXiv 2410.02223, factorise alike).
    Mf,
}

impl Learner {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Knn, Self::Logistic, Self::Mf];

    /// The strategy that decides by what it learned.
    #[must_use]
    pub fn kind(self) -> RouterKind {
        match self {
            Self::Knn => RouterKind::Knn,
            Self::Logistic => RouterKind::Logistic,
            Self::Mf => RouterKind::Mf,
        }
    }

    /// The name of the strategy.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.kind().name()
    }
}

/// What a predictor is fitted to: one entry a query in each list.
#[derive(Debug, Clone, Copy)]
pub struct Lessons<'a> {
    /// Embeddings of the texts.
    pub vectors: &'a [&'a [f32]],
    /// Quality of the SLM's answers, 0 to 1.
    pub weak: &'a [f64],
    /// Quality of the LLM's answers, 0 to 1.
    pub strong: &'a [f64],
}

/// A fitted predictor, as it stands in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Predictor {
    /// See [`Learner::Knn`].
    Knn {
        /// How many of the nearest count.
        neighbours: usize,
        /// The gain of each query.
        gains: Vec<f64>,
        /// The embedding of each query.
        vectors: Vec<Vec<f32>>,
    },
    /// See [`Learner::Logistic`].
    Logistic {
        /// Weights of the classes "the SLM is better", "neither is", "the LLM is"; the last of each is the bias.
        weights: Vec<Vec<f64>>,
    },
    /// See [`Learner::Mf`]: the log-odds of a right answer are m · (Q e) + b.
    Mf {
        /// m of the SLM and of the LLM.
        models: [Vec<f64>; 2],
        /// b of both.
        biases: [f64; 2],
        /// The rows of Q.
        queries: Vec<Vec<f64>>,
    },
}

impl Predictor {
    /// Fits to at least one query; the same lessons give the same predictor.
    #[must_use]
    pub fn fit(learner: Learner, lessons: Lessons<'_>) -> Self {
        let gains = || lessons.weak.iter().zip(lessons.strong).map(|(weak, strong)| strong - weak);
        match learner {
            Learner::Knn => Self::Knn {
                neighbours: ((lessons.vectors.len() as f64).sqrt() as usize).clamp(1, MOST_NEIGHBOURS),
                gains: gains().collect(),
                vectors: lessons.vectors.iter().map(|vector| vector.to_vec()).collect(),
            },
            Learner::Logistic => {
                let classes: Vec<usize> =
                    gains().map(|gain| if gain < 0.0 { 0 } else { 1 + usize::from(gain > 0.0) }).collect();
                Self::Logistic { weights: regress(lessons.vectors, &classes, 3) }
            }
            Learner::Mf => factorise(lessons),
        }
    }

    /// The expected gain.
    #[must_use]
    pub fn score(&self, vector: &[f32]) -> f64 {
        match self {
            Self::Knn { neighbours, gains, vectors } => {
                let mut near: Vec<(f32, usize)> =
                    vectors.iter().enumerate().map(|(other, known)| (inner_f32(vector, known), other)).collect();
                // Of equally near ones the first that was learned: the order must not depend on the sorting.
                let count = (*neighbours).clamp(1, near.len());
                near.select_nth_unstable_by(count - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                near[..count].sort_unstable_by_key(|&(_, other)| other);
                near[..count].iter().map(|&(_, other)| gains[other]).sum::<f64>() / count as f64
            }
            Self::Logistic { weights } => {
                let p = Logistic::from_weights(weights).probabilities(&features(vector));
                p[2] - p[0]
            }
            Self::Mf { models, biases, queries } => {
                let vector = widen(vector);
                let query: Vec<f64> = queries.iter().map(|row| inner(row, &vector)).collect();
                let right = |m: usize| sigmoid(inner(&models[m], &query) + biases[m]);
                right(1) - right(0)
            }
        }
    }

    /// What learned it.
    #[must_use]
    pub fn learner(&self) -> Learner {
        match self {
            Self::Knn { .. } => Learner::Knn,
            Self::Logistic { .. } => Learner::Logistic,
            Self::Mf { .. } => Learner::Mf,
        }
    }

    /// The dimension of the embeddings that it reads; `None` where it reads none.
    #[must_use]
    pub fn dimension(&self) -> Option<usize> {
        match self {
            Self::Knn { vectors, .. } => vectors.first().map(Vec::len),
            Self::Logistic { weights } => weights.first().map(|class| class.len().saturating_sub(1)),
            Self::Mf { queries, .. } => queries.first().map(Vec::len),
        }
    }

    /// Refuses what no fit gives: lists that do not belong together, and what is no number.
    pub fn check(&self) -> Result<()> {
        let finite = |numbers: &[f64]| numbers.iter().all(|x| x.is_finite());
        let dimension = self.dimension().filter(|&dimension| dimension > 0);
        let sound = dimension.is_some_and(|dimension| match self {
            Self::Knn { neighbours, gains, vectors } => {
                *neighbours > 0
                    && gains.len() == vectors.len()
                    && gains.iter().all(|gain| (-1.0..=1.0).contains(gain))
                    && vectors.iter().all(|v| v.len() == dimension && v.iter().all(|x| x.is_finite()))
            }
            Self::Logistic { weights } => {
                weights.len() == 3 && weights.iter().all(|class| class.len() == dimension + 1 && finite(class))
            }
            Self::Mf { models, biases, queries } => {
                models.iter().all(|model| model.len() == queries.len() && finite(model))
                    && finite(biases)
                    && queries.iter().all(|row| row.len() == dimension && finite(row))
            }
        });
        if sound { Ok(()) } else { Err(usage("the fitted predictor is damaged: fit it again")) }
    }
}

/// The probability that a model answers rightly, from a query's embedding: weights of "wrong" and "right".
pub(crate) fn fit_rightness(vectors: &[&[f32]], right: &[bool]) -> Vec<Vec<f64>> {
    let classes: Vec<usize> = right.iter().map(|&right| usize::from(right)).collect();
    regress(vectors, &classes, 2)
}

/// The probability of a right answer by the regression of [`fit_rightness`].
pub(super) fn rightness(regression: &Logistic, vector: &[f32]) -> f64 {
    regression.probabilities(&features(vector))[1]
}

fn regress(vectors: &[&[f32]], classes_of: &[usize], classes: usize) -> Vec<Vec<f64>> {
    let rows: Vec<Row> = vectors.iter().map(|vector| features(vector)).collect();
    Logistic::fit_to(Examples { rows: &rows, classes_of, classes, sparse: 0 }, VARIANCE, FINE).weights()
}

fn features(vector: &[f32]) -> Row {
    Row { dense: widen(vector), sparse: Vec::new() }
}

fn widen(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|&x| f64::from(x)).collect()
}

fn inner_f32(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Least negative log-likelihood of both models' qualities under a Gaussian prior on the factors, which favours few
/// directions of queries that matter to both.
fn factorise(lessons: Lessons<'_>) -> Predictor {
    let vectors: Vec<Vec<f64>> = lessons.vectors.iter().map(|vector| widen(vector)).collect();
    let dimension = vectors.first().map_or(0, Vec::len);
    let qualities = [lessons.weak, lessons.strong];
    let n = vectors.len().max(1) as f64;
    // The parameters in one list: the factors of both models, their biases, the rows of Q.
    let (biases_at, queries_at) = (2 * RANK, 2 * RANK + 2);
    let objective = |x: &[f64]| {
        let (mut loss, mut gradient) = (0.0, vec![0.0; x.len()]);
        for (row, vector) in vectors.iter().enumerate() {
            let query: Vec<f64> = x[queries_at..].chunks_exact(dimension).map(|factor| inner(factor, vector)).collect();
            let mut of_query = [0.0; RANK];
            for (m, qualities) in qualities.iter().enumerate() {
                let model = &x[m * RANK..(m + 1) * RANK];
                let z = inner(model, &query) + x[biases_at + m];
                // log(1 + e^z) − quality · z, without overflow.
                loss += z.max(0.0) + (-z.abs()).exp().ln_1p() - qualities[row] * z;
                let error = sigmoid(z) - qualities[row];
                gradient[biases_at + m] += error;
                for k in 0..RANK {
                    gradient[m * RANK + k] += error * query[k];
                    of_query[k] += error * model[k];
                }
            }
            for (slopes, error) in gradient[queries_at..].chunks_exact_mut(dimension).zip(of_query) {
                slopes.iter_mut().zip(vector).for_each(|(slope, x)| *slope += error * x);
            }
        }
        for (i, (slope, value)) in gradient.iter_mut().zip(x).enumerate() {
            if !(biases_at..queries_at).contains(&i) {
                loss += value * value / (2.0 * VARIANCE);
                *slope += value / VARIANCE;
            }
            *slope /= n;
        }
        (loss / n, gradient)
    };
    // At zero the slopes of all factors are zero: chance breaks the tie, the same one each time.
    let mut chance = SmallRng::seed_from_u64(SEED);
    let start = (0..queries_at + RANK * dimension).map(|i| match i {
        i if (biases_at..queries_at).contains(&i) => 0.0,
        _ => chance.random_range(-0.5..0.5),
    });
    let x = minimise(start.collect(), FINE, objective);
    Predictor::Mf {
        models: [x[..RANK].to_vec(), x[RANK..biases_at].to_vec()],
        biases: [x[biases_at], x[biases_at + 1]],
        queries: x[queries_at..].chunks_exact(dimension.max(1)).map(<[f64]>::to_vec).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries along two axes: along the first the LLM alone is right, along the second both are.
    fn lessons() -> (Vec<Vec<f32>>, Vec<f64>, Vec<f64>) {
        let mut vectors = Vec::new();
        let (mut weak, mut strong) = (Vec::new(), Vec::new());
        for i in 0..40 {
            let tilt = (i as f32 * 0.37).sin() * 0.3;
            let (x, y) = if i % 2 == 0 { (1.0, tilt) } else { (tilt, 1.0) };
            let norm = f32::sqrt(x * x + y * y);
            vectors.push(vec![x / norm, y / norm]);
            weak.push(f64::from(u8::from(i % 2 == 1)));
            strong.push(1.0);
        }
        (vectors, weak, strong)
    }

    #[test]
    fn each_learner_tells_where_the_llm_gains() {
        let (vectors, weak, strong) = lessons();
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        for learner in Learner::ALL {
            let fitted = Predictor::fit(learner, Lessons { vectors: &vectors, weak: &weak, strong: &strong });
            fitted.check().unwrap();
            assert_eq!(fitted.dimension(), Some(2));
            let (hard, easy) = (fitted.score(&[1.0, 0.0]), fitted.score(&[0.0, 1.0]));
            assert!(hard > 0.6 && easy < 0.4 && easy > -0.2, "{}: {hard} and {easy}", learner.name());
            assert_eq!(fitted, Predictor::fit(learner, Lessons { vectors: &vectors, weak: &weak, strong: &strong }));
        }
    }

    #[test]
    fn a_file_gives_back_the_same_scores() {
        let (vectors, weak, strong) = lessons();
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        for learner in Learner::ALL {
            let fitted = Predictor::fit(learner, Lessons { vectors: &vectors, weak: &weak, strong: &strong });
            let read: Predictor = toml::from_str(&toml::to_string(&fitted).unwrap()).unwrap();
            assert_eq!(read, fitted, "{}", learner.name());
        }
    }

    #[test]
    fn a_damaged_predictor_is_refused() {
        let knn = |neighbours, gains: &[f64], vectors: &[Vec<f32>]| Predictor::Knn {
            neighbours,
            gains: gains.to_vec(),
            vectors: vectors.to_vec(),
        };
        assert!(knn(1, &[0.5], &[vec![1.0]]).check().is_ok());
        for damaged in [
            knn(0, &[0.5], &[vec![1.0]]),
            knn(1, &[0.5, 0.1], &[vec![1.0]]),
            knn(1, &[2.0], &[vec![1.0]]),
            knn(1, &[0.5], &[vec![f32::NAN]]),
            knn(1, &[], &[]),
            Predictor::Logistic { weights: vec![vec![0.0, 1.0]; 2] },
            Predictor::Logistic { weights: vec![vec![0.0, 1.0], vec![0.0], vec![0.0, 1.0]] },
            Predictor::Mf { models: [vec![1.0], vec![]], biases: [0.0; 2], queries: vec![vec![1.0]] },
        ] {
            assert!(damaged.check().is_err(), "{damaged:?}");
        }
    }
}
