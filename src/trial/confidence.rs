//! Confidence of an answer, from the log-probabilities of its own tokens.

use crate::engine::TokenLogprob;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Confidence, by several readings of the same token probabilities. All are probabilities in 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Product of the probabilities of the label's tokens; `None` when the label does not stand in the answer.
    pub label: Option<f64>,
    /// Geometric mean of all token probabilities.
    pub mean: f64,
    /// The smallest token probability.
    pub min: f64,
}

impl Confidence {
    /// Reads the confidence of an answer; `None` when the engine gave no log-probabilities. `label_field` is the property
    /// whose value is the label.
    #[must_use]
    pub fn of(tokens: &[TokenLogprob], label_field: &str) -> Option<Self> {
        if tokens.is_empty() || tokens.iter().any(|token| token.logprob.is_nan()) {
            return None;
        }
        let text: String = tokens.iter().map(|token| token.text.as_str()).collect();
        let sum: f64 = tokens.iter().map(|token| token.logprob).sum();
        let min = tokens.iter().map(|token| token.logprob).fold(f64::INFINITY, f64::min);
        Some(Self {
            label: value_range(&text, label_field).map(|range| probability_of(tokens, &range)),
            mean: (sum / tokens.len() as f64).exp(),
            min: min.exp(),
        })
    }

    /// The reading that routers use: the label's probability where there is one, else the mean token probability.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.label.unwrap_or(self.mean)
    }
}

/// Where the string value of `"field"` stands in a JSON text, quotes excluded. Works on broken JSON too.
fn value_range(text: &str, field: &str) -> Option<Range<usize>> {
    let key = format!("\"{field}\"");
    let after_key = text.find(&key)? + key.len();
    let colon = text[after_key..].find(|c: char| !c.is_whitespace())? + after_key;
    let rest = text[colon..].strip_prefix(':')?;
    let open = colon + 1 + rest.find(|c: char| !c.is_whitespace())?;
    let value = text[open..].strip_prefix('"')?;
    let start = open + 1;
    // Labels are plain texts; a value with an escape in it is not one, and ends the range early at worst.
    let length = value.find(['"', '\n']).unwrap_or(value.len());
    (length > 0).then_some(start..start + length)
}

/// Product of the probabilities of all tokens that overlap `range` of their joined text.
fn probability_of(tokens: &[TokenLogprob], range: &Range<usize>) -> f64 {
    let mut position = 0;
    let mut sum = 0.0;
    for token in tokens {
        let end = position + token.text.len();
        if position < range.end && end > range.start {
            sum += token.logprob;
        }
        position = end;
    }
    sum.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(parts: &[(&str, f64)]) -> Vec<TokenLogprob> {
        parts.iter().map(|&(text, p)| TokenLogprob::new(text.into(), text.as_bytes(), p.ln())).collect()
    }

    #[test]
    fn the_label_is_as_probable_as_the_product_of_its_tokens() {
        let answer = tokens(&[
            ("{\"", 0.9),
            ("category", 0.9),
            ("\": \"", 0.8),
            ("HR", 0.5),
            (" Support", 0.6),
            ("\",", 0.7),
            (" …", 0.1),
        ]);
        let confidence = Confidence::of(&answer, "category").unwrap();
        assert!((confidence.label.unwrap() - 0.3).abs() < 1e-12);
        assert!((confidence.min - 0.1).abs() < 1e-12);
        assert!((confidence.value() - 0.3).abs() < 1e-12);
    }

    #[test]
    fn a_token_that_holds_the_quote_and_the_label_counts() {
        let answer = tokens(&[("{\"category\":", 1.0), (" \"Access", 0.25), ("\"}", 1.0)]);
        assert!((Confidence::of(&answer, "category").unwrap().label.unwrap() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn an_answer_without_the_field_falls_back_to_the_mean() {
        let answer = tokens(&[("Sure", 0.25), ("!", 1.0)]);
        let confidence = Confidence::of(&answer, "category").unwrap();
        assert_eq!(confidence.label, None);
        assert!((confidence.value() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn no_log_probabilities_mean_no_confidence() {
        assert_eq!(Confidence::of(&[], "category"), None);
        assert_eq!(Confidence::of(&tokens(&[("x", f64::NAN)]), "category"), None);
    }
}
