//! Multinomial logistic regression: maximum a posteriori under a Gaussian prior on the weights, by L-BFGS, in f64,
//! with a fixed order of summation, so that the same data give the same weights.
//!
//! A row of features has a dense part (an embedding) and a sparse one (the words of a text); both go into one model with
//! one prior.

use rayon::prelude::*;
use std::collections::VecDeque;

/// Partial sums of a pass over the rows, at most, and rows of one at least. Part of the summation order: neither may depend
/// on the number of threads.
const PARTS: usize = 8;
const LEAST_ROWS: usize = 128;
/// When a search for the best weights ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// No component of the mean gradient is larger.
    pub(crate) gradient: f64,
    /// So many steps were made.
    pub(crate) steps: usize,
}

/// For classifiers, which give labels: scikit-learn's tolerance.
const COARSE: End = End { gradient: 1e-4, steps: 200 };
/// Past steps that L-BFGS remembers.
const MEMORY: usize = 8;
/// Classes side by side: a number that the compiler knows makes vector instructions of the innermost loop.
const LANES: usize = 8;

/// The features of one example.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Values of the first features.
    pub(crate) dense: Vec<f64>,
    /// Numbers, counted after the dense ones, and values of the others that are not 0.
    pub(crate) sparse: Vec<(u32, f64)>,
}

/// Examples: the features and the class of each.
#[derive(Clone, Copy)]
pub(crate) struct Examples<'a> {
    /// One row per example, all with equally many dense features.
    pub(crate) rows: &'a [Row],
    /// The class of each row, below `classes`.
    pub(crate) classes_of: &'a [usize],
    /// Number of classes.
    pub(crate) classes: usize,
    /// Number of sparse features.
    pub(crate) sparse: usize,
}

impl Examples<'_> {
    fn features(&self) -> usize {
        self.rows.first().map_or(0, |row| row.dense.len()) + self.sparse
    }
}

/// The values of a feature, or of a row, for [`LANES`] classes; those beyond the last class stay 0.
type Lanes = [f64; LANES];

/// Weights, feature by feature with one for each class; the last feature is the bias.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logistic {
    weights: Vec<Lanes>,
    classes: usize,
}

impl Logistic {
    /// Fits to the examples. `variance` is the prior's variance (scikit-learn's `C`); the bias has no prior.
    pub(crate) fn fit(examples: Examples<'_>, variance: f64) -> Self {
        Self::search(None, examples, variance, COARSE)
    }

    /// The same with another end.
    pub(crate) fn fit_to(examples: Examples<'_>, variance: f64, end: End) -> Self {
        Self::search(None, examples, variance, end)
    }

    /// The same, starting from an earlier fit to the same features: near it the search is short.
    pub(crate) fn fit_from(start: Self, examples: Examples<'_>, variance: f64) -> Self {
        Self::search(Some(start), examples, variance, COARSE)
    }

    fn search(start: Option<Self>, examples: Examples<'_>, variance: f64, end: End) -> Self {
        let classes = examples.classes;
        let none = || vec![[0.0; LANES]; (examples.features() + 1) * classes.div_ceil(LANES)];
        let start = start.map_or_else(none, |start| start.weights);
        let weights = minimise(start.into_flattened(), end, |w| objective(w, examples, variance));
        Self { weights: weights.as_chunks().0.to_vec(), classes }
    }

    /// The weights of each class, the bias last.
    pub(crate) fn weights(&self) -> Vec<Vec<f64>> {
        let blocks = self.classes.div_ceil(LANES);
        let of =
            |class: usize| self.weights.iter().skip(class / LANES).step_by(blocks).map(|w| w[class % LANES]).collect();
        (0..self.classes).map(of).collect()
    }

    /// The model of these weights, equally many for each class.
    pub(crate) fn from_weights(of_classes: &[Vec<f64>]) -> Self {
        let (classes, blocks) = (of_classes.len(), of_classes.len().div_ceil(LANES));
        let features = of_classes.first().map_or(0, Vec::len);
        let mut weights = vec![[0.0; LANES]; features * blocks];
        for (class, of_class) in of_classes.iter().enumerate() {
            for (feature, &weight) in of_class.iter().enumerate() {
                weights[feature * blocks + class / LANES][class % LANES] = weight;
            }
        }
        Self { weights, classes }
    }

    /// The probability of each class.
    pub(crate) fn probabilities(&self, row: &Row) -> Vec<f64> {
        let mut p = vec![[0.0; LANES]; self.classes.div_ceil(LANES)];
        softmax(&self.weights, row, self.classes, &mut p);
        p.as_flattened()[..self.classes].to_vec()
    }
}

/// Mean negative log-likelihood plus the prior, and its gradient.
fn objective(weights: &[f64], examples: Examples<'_>, variance: f64) -> (f64, Vec<f64>) {
    let weights: &[Lanes] = weights.as_chunks().0;
    let (classes, blocks) = (examples.classes, examples.classes.div_ceil(LANES));
    let chunk = examples.rows.len().div_ceil(PARTS).max(LEAST_ROWS);
    let parts: Vec<(f64, Vec<Lanes>)> = examples
        .rows
        .par_chunks(chunk)
        .zip(examples.classes_of.par_chunks(chunk))
        .map(|(rows, classes_of)| {
            let (mut loss, mut gradient) = (0.0, vec![[0.0; LANES]; weights.len()]);
            let mut p = vec![[0.0; LANES]; blocks];
            for (row, &class) in rows.iter().zip(classes_of) {
                softmax(weights, row, classes, &mut p);
                let of_class = &mut p[class / LANES][class % LANES];
                loss -= of_class.max(f64::MIN_POSITIVE).ln();
                *of_class -= 1.0;
                each_feature(row, weights.len(), blocks, |value, place| {
                    for (g, p) in gradient[place].iter_mut().zip(&p) {
                        add_lanes(g, value, p);
                    }
                });
            }
            (loss, gradient)
        })
        .collect();
    let n = examples.rows.len().max(1) as f64;
    let (mut loss, mut gradient) = (0.0, vec![0.0; weights.len() * LANES]);
    for (part_loss, part) in parts {
        loss += part_loss;
        add(&mut gradient, 1.0, part.as_flattened());
    }
    let regular = (weights.len() - blocks) * LANES;
    let weights = &weights.as_flattened()[..regular];
    loss += inner(weights, weights) / (2.0 * variance);
    add(&mut gradient[..regular], 1.0 / variance, weights);
    for g in &mut gradient {
        *g /= n;
    }
    (loss / n, gradient)
}

/// Visits the features of a row that are not 0, the bias last: their values, and where their weights stand.
#[inline(always)]
fn each_feature(row: &Row, weights: usize, blocks: usize, mut visit: impl FnMut(f64, std::ops::Range<usize>)) {
    let mut at = |feature: usize, value: f64| visit(value, feature * blocks..(feature + 1) * blocks);
    for (feature, &value) in row.dense.iter().enumerate() {
        at(feature, value);
    }
    for &(feature, value) in &row.sparse {
        at(row.dense.len() + feature as usize, value);
    }
    visit(1.0, weights - blocks..weights);
}

fn softmax(weights: &[Lanes], row: &Row, classes: usize, out: &mut [Lanes]) {
    out.fill([0.0; LANES]);
    each_feature(row, weights.len(), out.len(), |value, place| {
        for (out, w) in out.iter_mut().zip(&weights[place]) {
            add_lanes(out, value, w);
        }
    });
    let out = &mut out.as_flattened_mut()[..classes];
    let top = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for p in out.iter_mut() {
        *p = (*p - top).exp();
    }
    let sum: f64 = out.iter().sum();
    for p in out {
        *p /= sum;
    }
}

/// a += scale · b.
#[inline(always)]
fn add_lanes(a: &mut Lanes, scale: f64, b: &Lanes) {
    for i in 0..LANES {
        a[i] += scale * b[i];
    }
}

/// a += scale · b.
fn add(a: &mut [f64], scale: f64, b: &[f64]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += scale * b;
    }
}

/// Inner product in eight running sums, which the compiler can keep in vector registers.
pub(crate) fn inner(a: &[f64], b: &[f64]) -> f64 {
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
pub(super) fn minimise(mut x: Vec<f64>, end: End, f: impl Fn(&[f64]) -> (f64, Vec<f64>)) -> Vec<f64> {
    let (mut value, mut gradient) = f(&x);
    let mut past: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    for _ in 0..end.steps {
        if gradient.iter().all(|g| g.abs() <= end.gradient) {
            break;
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
        let Some((next, next_value, next_gradient)) = accepted else { break };
        let moved: Vec<f64> = next.iter().zip(x.iter()).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = inner(&moved, &turned);
        if curvature > 0.0 {
            if past.len() == MEMORY {
                past.pop_front();
            }
            past.push_back((moved, turned, 1.0 / curvature));
        }
        (x, value, gradient) = (next, next_value, next_gradient);
    }
    x
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

    fn row(dense: &[f64], sparse: &[(u32, f64)]) -> Row {
        Row { dense: dense.to_vec(), sparse: sparse.to_vec() }
    }

    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let rows = [row(&[0.3], &[(0, -1.0)]), row(&[1.2], &[(1, 0.4)]), row(&[-0.7], &[(0, 0.9), (1, 0.2)])];
        let examples = Examples { rows: &rows, classes_of: &[0, 2, 1], classes: 3, sparse: 2 };
        // Three classes of eight lanes; four features, the bias among them.
        let given = |i: usize| if i % LANES < 3 { (i % LANES + i / LANES * 3) as f64 * 0.1 - 0.35 } else { 0.0 };
        let w: Vec<f64> = (0..4 * LANES).map(given).collect();
        let (_, gradient) = objective(&w, examples, 2.0);
        for i in (0..w.len()).filter(|i| i % LANES < 3) {
            let at = |h: f64| {
                let mut moved = w.clone();
                moved[i] += h;
                objective(&moved, examples, 2.0).0
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((gradient[i] - numeric).abs() < 1e-7, "component {i}: {} against {numeric}", gradient[i]);
        }
        assert!((0..w.len()).all(|i| i % LANES < 3 || gradient[i] == 0.0), "beyond the last class nothing moves");
    }

    #[test]
    fn a_feature_is_worth_the_same_dense_or_sparse() {
        let points: [(f64, usize); 5] = [(0.9, 0), (0.7, 0), (0.4, 1), (-0.2, 1), (0.5, 0)];
        let classes_of = points.map(|(_, class)| class);
        let dense = points.map(|(x, _)| row(&[x], &[]));
        let sparse = points.map(|(x, _)| row(&[], &[(0, x)]));
        let fit = |rows: &[Row], sparse| {
            Logistic::fit(Examples { rows, classes_of: &classes_of, classes: 2, sparse }, 10.0).weights
        };
        assert_eq!(fit(&dense, 0), fit(&sparse, 1));
    }

    #[test]
    fn without_features_the_probabilities_are_the_shares_of_the_classes() {
        let rows = vec![Row::default(); 10];
        let classes_of = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2];
        let examples = Examples { rows: &rows, classes_of: &classes_of, classes: 3, sparse: 0 };
        let p = Logistic::fit(examples, 1.0).probabilities(&Row::default());
        for (p, share) in p.iter().zip([0.7, 0.2, 0.1]) {
            assert!((p - share).abs() < 1e-3, "{p} against {share}");
        }
    }

    #[test]
    fn a_model_is_its_weights() {
        let rows: Vec<Row> = (0..30).map(|i| row(&[f64::from(i % 10) - 4.5, f64::from(i % 7)], &[])).collect();
        let classes_of: Vec<usize> = (0..30).map(|i| i % 10).collect();
        let model = Logistic::fit(Examples { rows: &rows, classes_of: &classes_of, classes: 10, sparse: 0 }, 1.0);
        assert_eq!(model.weights().len(), 10);
        assert!(model.weights().iter().all(|of_class| of_class.len() == 3));
        assert_eq!(Logistic::from_weights(&model.weights()), model);
    }

    #[test]
    fn one_class_alone_is_certain() {
        let rows = [row(&[0.5], &[]), row(&[-0.5], &[])];
        let model = Logistic::fit(Examples { rows: &rows, classes_of: &[0, 0], classes: 1, sparse: 0 }, 1.0);
        assert_eq!(model.probabilities(&row(&[3.0], &[])), vec![1.0]);
    }
}
