//! Confidence of an answer, from the log-probabilities of its own tokens.

use serde::{Deserialize, Serialize};

/// Confidence, by several readings of the same token probabilities. All are probabilities in 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Product of the probabilities of the label's tokens; `None` when the label does not stand in the text.
    pub label: Option<f64>,
    /// Geometric mean of all token probabilities.
    pub mean: f64,
    /// The smallest token probability.
    pub min: f64,
}
