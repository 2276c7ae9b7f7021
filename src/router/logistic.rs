//! Multinomial logistic regression: maximum a posteriori under a Gaussian prior on the weights, by L-BFGS, in f64,
//! with a fixed order of summation, so that the same data give the same weights.

use rayon::prelude::*;
use std::collections::VecDeque;

/// Rows of one partial sum. Part of the summation order: it must not depend on the number of threads.
const CHUNK: usize = 128;
/// Iterations at most.
const ITERATIONS: usize = 100;
/// The fit ends when no component of the mean gradient is larger.
const TOLERANCE: f64 = 1e-5;
/// Past steps that L-BFGS remembers.
const MEMORY: usize = 8;

/// Examples: features of equal length, and the class of each.
#[derive(Clone, Copy)]
pub(crate) struct Examples<'a> {
    /// One row per example.
    pub(crate) rows: &'a [Vec<f64>],
    /// The class of each row, below `classes`.
    pub(crate) classes_of: &'a [usize],
    /// Number of classes.
    pub(crate) classes: usize,
}

/// Weights, class by class; the last of each class is its bias.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logistic {
    weights: Vec<f64>,
    classes: usize,
}

impl Logistic {
    /// Fits to the examples. `variance` is the prior's variance (scikit-learn's `C`); the bias has no prior.
    pub(crate) fn fit(examples: Examples<'_>, variance: f64) -> Self {
        let width = examples.rows.first().map_or(0, Vec::len) + 1;
        let mut weights = vec![0.0; width * examples.classes];
        minimise(&mut weights, |w| objective(w, width, examples, variance));
        Self { weights, classes: examples.classes }
    }

    /// The probability of each class.
    pub(crate) fn probabilities(&self, row: &[f64]) -> Vec<f64> {
        let mut p = vec![0.0; self.classes];
        softmax(&self.weights, row, &mut p);
        p
    }
}

/// Mean negative log-likelihood plus the prior, and its gradient.
fn objective(weights: &[f64], width: usize, examples: Examples<'_>, variance: f64) -> (f64, Vec<f64>) {
    let parts: Vec<(f64, Vec<f64>)> = examples
        .rows
        .par_chunks(CHUNK)
        .zip(examples.classes_of.par_chunks(CHUNK))
        .map(|(rows, classes_of)| {
            let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len()]);
            let mut p = vec![0.0; examples.classes];
            for (row, &class) in rows.iter().zip(classes_of) {
                softmax(weights, row, &mut p);
                loss -= p[class].max(f64::MIN_POSITIVE).ln();
                p[class] -= 1.0;
                for (block, &error) in gradient.chunks_exact_mut(width).zip(&p) {
                    block.iter_mut().zip(row).for_each(|(g, &x)| *g += error * x);
                    block[width - 1] += error;
                }
            }
            (loss, gradient)
        })
        .collect();
    let n = examples.rows.len().max(1) as f64;
    let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len()]);
    for (part_loss, part) in parts {
        loss += part_loss;
        gradient.iter_mut().zip(part).for_each(|(g, p)| *g += p);
    }
    for (i, (g, &w)) in gradient.iter_mut().zip(weights).enumerate() {
        if i % width != width - 1 {
            loss += w * w / (2.0 * variance);
            *g += w / variance;
        }
        *g /= n;
    }
    (loss / n, gradient)
}

fn softmax(weights: &[f64], row: &[f64], out: &mut [f64]) {
    for (block, p) in weights.chunks_exact(row.len() + 1).zip(out.iter_mut()) {
        *p = inner(&block[..row.len()], row) + block[row.len()];
    }
    let top = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for p in out.iter_mut() {
        *p = (*p - top).exp();
    }
    let sum: f64 = out.iter().sum();
    for p in out {
        *p /= sum;
    }
}

/// Inner product in eight running sums, which the compiler can keep in vector registers.
fn inner(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// L-BFGS with backtracking (Nocedal and Wright, "Numerical Optimization", algorithms 7.4 and 3.1).
fn minimise(x: &mut Vec<f64>, f: impl Fn(&[f64]) -> (f64, Vec<f64>)) {
    let (mut value, mut gradient) = f(x);
    let mut past: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    for _ in 0..ITERATIONS {
        if gradient.iter().all(|g| g.abs() <= TOLERANCE) {
            return;
        }
        let direction = direction(&gradient, &past);
        let slope = inner(&direction, &gradient);
        let mut step = 1.0;
        let accepted = (0..30).find_map(|_| {
            let next: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let (next_value, next_gradient) = f(&next);
            let enough = next_value <= value + 1e-4 * step * slope;
            step *= 0.5;
            enough.then_some((next, next_value, next_gradient))
        });
        let Some((next, next_value, next_gradient)) = accepted else { return };
        let moved: Vec<f64> = next.iter().zip(x.iter()).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = inner(&moved, &turned);
        if curvature > 0.0 {
            if past.len() == MEMORY {
                past.pop_front();
            }
            past.push_back((moved, turned, 1.0 / curvature));
        }
        (*x, value, gradient) = (next, next_value, next_gradient);
    }
}

/// The two-loop recursion: minus the approximate inverse Hessian times the gradient.
fn direction(gradient: &[f64], past: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(past.len());
    for (s, y, rho) in past.iter().rev() {
        let alpha = rho * inner(s, &q);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    if let Some((_, y, rho)) = past.back() {
        let scale = 1.0 / (rho * inner(y, y));
        for q in &mut q {
            *q *= scale;
        }
    }
    for ((s, y, rho), alpha) in past.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * inner(y, &q);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let rows = vec![vec![0.3, -1.0], vec![1.2, 0.4], vec![-0.7, 0.9]];
        let examples = Examples { rows: &rows, classes_of: &[0, 2, 1], classes: 3 };
        let w: Vec<f64> = (0..9).map(|i| f64::from(i) * 0.1 - 0.35).collect();
        let (_, gradient) = objective(&w, 3, examples, 2.0);
        for i in 0..w.len() {
            let at = |h: f64| {
                let mut moved = w.clone();
                moved[i] += h;
                objective(&moved, 3, examples, 2.0).0
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((gradient[i] - numeric).abs() < 1e-7, "component {i}: {} against {numeric}", gradient[i]);
        }
    }

    #[test]
    fn without_features_the_probabilities_are_the_shares_of_the_classes() {
        let rows = vec![vec![]; 10];
        let examples = Examples { rows: &rows, classes_of: &[0, 0, 0, 0, 0, 0, 0, 1, 1, 2], classes: 3 };
        let p = Logistic::fit(examples, 1.0).probabilities(&[]);
        for (p, share) in p.iter().zip([0.7, 0.2, 0.1]) {
            assert!((p - share).abs() < 1e-4, "{p} against {share}");
        }
    }

    #[test]
    fn one_class_alone_is_certain() {
        let rows = vec![vec![0.5], vec![-0.5]];
        let model = Logistic::fit(Examples { rows: &rows, classes_of: &[0, 0], classes: 1 }, 1.0);
        assert_eq!(model.probabilities(&[3.0]), vec![1.0]);
    }
}
