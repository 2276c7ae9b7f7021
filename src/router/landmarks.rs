//! Embeddings seen from landmarks, so that a linear classifier of them bends: the Nyström approximation of the kernel
//! exp(−‖x − y‖²) (Williams and Seeger, "Using the Nyström Method to Speed Up Kernel Machines", 2001).

use super::logistic::inner;

/// Training examples that serve as landmarks, at most.
const MOST: usize = 512;
/// Added to the kernel's diagonal: equal texts would make its matrix singular.
const RIDGE: f64 = 1e-6;

/// Landmarks, and the lower Cholesky factor of the kernel's matrix among them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Landmarks {
    points: Vec<Vec<f64>>,
    /// Row i holds the entries 0..=i.
    factor: Vec<Vec<f64>>,
}

impl Landmarks {
    /// Takes the first training examples of each label in turn; the vectors have length 1.
    pub(super) fn learn(vectors: &[Vec<f64>], classes_of: &[usize]) -> Self {
        let mut seen = vec![0_usize; classes_of.iter().max().map_or(0, |most| most + 1)];
        let mut turns: Vec<(usize, usize)> = classes_of
            .iter()
            .enumerate()
            .map(|(i, &class)| {
                seen[class] += 1;
                (seen[class], i)
            })
            .collect();
        turns.sort_unstable();
        let points: Vec<Vec<f64>> = turns.iter().take(MOST).map(|&(_, i)| vectors[i].clone()).collect();
        let mut factor: Vec<Vec<f64>> = Vec::with_capacity(points.len());
        for (i, point) in points.iter().enumerate() {
            let mut row: Vec<f64> = Vec::with_capacity(i + 1);
            for (j, other) in factor.iter().enumerate() {
                let rest = kernel(point, &points[j]) - inner(&row, &other[..j]);
                row.push(rest / other[j]);
            }
            row.push((1.0 + RIDGE - inner(&row, &row)).max(RIDGE).sqrt());
            factor.push(row);
        }
        Self { points, factor }
    }

    /// The features of a vector of length 1: their inner products are the kernel, as far as the landmarks span it.
    pub(super) fn features(&self, vector: &[f64]) -> Vec<f64> {
        let mut features: Vec<f64> = Vec::with_capacity(self.points.len());
        for (i, (point, row)) in self.points.iter().zip(&self.factor).enumerate() {
            features.push((kernel(point, vector) - inner(&features, &row[..i])) / row[i]);
        }
        features
    }
}

/// exp(−‖a − b‖²) of vectors of length 1.
fn kernel(a: &[f64], b: &[f64]) -> f64 {
    (2.0 * inner(a, b) - 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_landmarks_multiply_to_the_kernel() {
        let at = |angle: f64| vec![angle.cos(), angle.sin()];
        let vectors: Vec<Vec<f64>> = [0.0, 0.7, 0.7, 2.0, 4.0].map(at).to_vec();
        let landmarks = Landmarks::learn(&vectors, &[0, 1, 1, 0, 2]);
        assert_eq!(landmarks.points, [at(0.0), at(0.7), at(4.0), at(0.7), at(2.0)], "labels in turn");
        for a in &vectors {
            for b in &vectors {
                let product = inner(&landmarks.features(a), &landmarks.features(b));
                assert!((product - kernel(a, b)).abs() < 1e-4, "{product} against {}", kernel(a, b));
            }
        }
    }
}
