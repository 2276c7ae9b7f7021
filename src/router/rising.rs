//! A rising curve from a confidence to the share of answers that are right at it.

use serde::{Deserialize, Serialize};

/// Linear between its points, level beyond them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rising {
    /// Confidences, rising.
    pub at: Vec<f64>,
    /// Shares right, not falling.
    pub value: Vec<f64>,
}

impl Rising {
    /// The share at a confidence; the confidence itself where there is no point.
    #[must_use]
    pub fn apply(&self, x: f64) -> f64 {
        let (at, value) = (&self.at, &self.value);
        match at.partition_point(|&a| a <= x) {
            0 => value.first().copied().unwrap_or(x),
            above if above == at.len() => value.last().copied().unwrap_or(x),
            above => {
                let (x0, x1, y0, y1) = (at[above - 1], at[above], value[above - 1], value[above]);
                y0 + (y1 - y0) * (x - x0) / (x1 - x0)
            }
        }
    }

    /// Whether it is what it says: as many shares as confidences, both in 0..1, the ones rising and the others not falling.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let shares = |numbers: &[f64]| numbers.iter().all(|x| (0.0..=1.0).contains(x));
        !self.at.is_empty()
            && self.at.len() == self.value.len()
            && shares(&self.at)
            && shares(&self.value)
            && self.at.is_sorted_by(|a, b| a < b)
            && self.value.is_sorted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_its_points_it_is_a_line_and_beyond_them_level() {
        let curve = Rising { at: vec![0.2, 0.6], value: vec![0.1, 0.5] };
        for (x, y) in [(0.0, 0.1), (0.2, 0.1), (0.4, 0.3), (0.6, 0.5), (1.0, 0.5)] {
            assert!((curve.apply(x) - y).abs() < 1e-12, "{x}");
        }
    }

    #[test]
    fn what_is_no_rising_curve_is_told() {
        let sound = |at: &[f64], value: &[f64]| Rising { at: at.to_vec(), value: value.to_vec() }.is_sound();
        assert!(sound(&[0.1, 0.2], &[0.5, 0.5]));
        for (at, value) in [
            (&[][..], &[][..]),
            (&[0.1, 0.1], &[0.2, 0.3]),
            (&[0.1, 0.2], &[0.3, 0.2]),
            (&[0.1], &[0.1, 0.2]),
            (&[0.1], &[1.5]),
            (&[f64::NAN], &[0.5]),
        ] {
            assert!(!sound(at, value), "{at:?} {value:?}");
        }
    }
}
