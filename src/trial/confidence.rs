//! Confidence of an answer: from the log-probabilities of its own tokens, and from asking the model again.

use super::probe::Probed;
use crate::engine::TokenLogprob;
use crate::router::Estimator;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The share of tokens that [`Estimator::QuantileLogprob`] leaves below itself.
const QUANTILE: f64 = 0.1;

/// Confidence, by several readings. All are in 0..1; docs/confidence.md defines each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Product of the probabilities of the label's tokens; `None` when the label does not stand in the answer.
    pub label: Option<f64>,
    /// Geometric mean of all token probabilities.
    pub mean: f64,
    /// The smallest token probability.
    pub min: f64,
    /// The tenth of the way from the smallest token probability to the largest.
    #[serde(default)]
    pub quantile: f64,
    /// The smallest lead of a token over the second most probable, among the label's tokens, or all of them where no label
    /// stands in the answer; `None` where the engine gives no alternatives.
    #[serde(default)]
    pub margin: Option<f64>,
    /// e to the minus mean entropy of the same tokens, what is not among the given alternatives taken as one more.
    #[serde(default)]
    pub entropy: Option<f64>,
    /// What the model said when it was asked again.
    #[serde(default, skip_serializing_if = "Probed::is_empty")]
    pub probed: Probed,
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
        let mut logprobs: Vec<f64> = tokens.iter().map(|token| token.logprob).collect();
        let sum: f64 = logprobs.iter().sum();
        logprobs.sort_unstable_by(f64::total_cmp);
        let label = value_range(&text, label_field).map(|range| overlapping(tokens, &range));
        let decisive = label.clone().unwrap_or(0..tokens.len());
        let each = |of: fn(&TokenLogprob) -> Option<f64>| tokens[decisive.clone()].iter().map(of).collect();
        let margins: Option<Vec<f64>> = each(margin);
        let entropies: Option<Vec<f64>> = each(entropy);
        Some(Self {
            label: label.map(|label| tokens[label].iter().map(|token| token.logprob).sum::<f64>().exp()),
            mean: (sum / tokens.len() as f64).exp(),
            min: logprobs[0].exp(),
            quantile: quantile(&logprobs).exp(),
            margin: margins.map(|margins| margins.into_iter().fold(1.0, f64::min)),
            entropy: entropies.map(|all| (-all.iter().sum::<f64>() / all.len() as f64).exp()),
            probed: Probed::default(),
        })
    }

    /// One reading; `None` where it is not available. Where no label stands in the answer, its probability is read as the
    /// mean of all tokens.
    #[must_use]
    pub fn value(&self, estimator: Estimator) -> Option<f64> {
        match estimator {
            Estimator::MeanLogprob => Some(self.mean),
            Estimator::MinLogprob => Some(self.min),
            Estimator::QuantileLogprob => Some(self.quantile),
            Estimator::Margin => self.margin,
            Estimator::Entropy => self.entropy,
            Estimator::LabelSpan => Some(self.label.unwrap_or(self.mean)),
            asked => self.probed.value(asked),
        }
    }
}

/// The quantile of values in ascending order, of which there is at least one, by linear interpolation between them.
fn quantile(ascending: &[f64]) -> f64 {
    let position = QUANTILE * (ascending.len() - 1) as f64;
    let (below, part) = (position.floor() as usize, position.fract());
    match ascending.get(below + 1) {
        Some(above) if part > 0.0 => ascending[below] + (above - ascending[below]) * part,
        _ => ascending[below],
    }
}

/// The lead of the most probable token over the second. A token under a grammar may have no second.
fn margin(token: &TokenLogprob) -> Option<f64> {
    let [first, rest @ ..] = token.top.as_slice() else { return None };
    let first = first.logprob.exp();
    match rest {
        [second, ..] => Some(first - second.logprob.exp()),
        [] => (first > 1.0 - 1e-9).then_some(first),
    }
}

/// Entropy in nats over the given alternatives and one more, which takes what is left.
fn entropy(token: &TokenLogprob) -> Option<f64> {
    if token.top.is_empty() {
        return None;
    }
    let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    let probabilities = token.top.iter().map(|alternative| alternative.logprob.exp());
    let rest = 1.0 - probabilities.clone().sum::<f64>();
    Some(probabilities.map(term).sum::<f64>() + term(rest))
}

/// Where the string value of `"field"` stands in a JSON text, quotes excluded. Works on broken JSON too.
pub(super) fn value_range(text: &str, field: &str) -> Option<Range<usize>> {
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

/// The tokens that overlap `range` of their joined text.
fn overlapping(tokens: &[TokenLogprob], range: &Range<usize>) -> Range<usize> {
    let (mut position, mut first, mut end) = (0, tokens.len(), 0);
    for (i, token) in tokens.iter().enumerate() {
        let next = position + token.text.len();
        if position < range.end && next > range.start {
            first = first.min(i);
            end = i + 1;
        }
        position = next;
    }
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Alternative;

    fn tokens(parts: &[(&str, f64)]) -> Vec<TokenLogprob> {
        parts.iter().map(|&(text, p)| TokenLogprob::new(text.into(), text.as_bytes(), p.ln())).collect()
    }

    fn with_top(text: &str, top: &[f64]) -> TokenLogprob {
        let alternative = |p: &f64| Alternative::from((format!("{p}"), p.ln()));
        TokenLogprob {
            top: top.iter().map(alternative).collect(),
            ..TokenLogprob::new(text.into(), text.as_bytes(), top[0].ln())
        }
    }

    fn span(confidence: &Confidence) -> f64 {
        confidence.value(Estimator::LabelSpan).unwrap()
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
        assert!((span(&confidence) - 0.3).abs() < 1e-12);
        // A tenth of six steps between seven values: 0.6 of the way from the smallest logarithm to the next.
        assert!((confidence.quantile - (0.1_f64.ln() * 0.4 + 0.5_f64.ln() * 0.6).exp()).abs() < 1e-12);
        assert_eq!((confidence.margin, confidence.entropy), (None, None), "there are no alternatives");
    }

    #[test]
    fn a_token_that_holds_the_quote_and_the_label_counts() {
        let answer = tokens(&[("{\"category\":", 1.0), (" \"Access", 0.25), ("\"}", 1.0)]);
        assert!((Confidence::of(&answer, "category").unwrap().label.unwrap() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn margin_and_entropy_look_at_the_tokens_of_the_label_alone() {
        let answer = [
            with_top("{\"category\": \"", &[0.5, 0.5]),
            with_top("HR", &[0.6, 0.3]),
            with_top(" Support", &[1.0]),
            with_top("\"}", &[0.4, 0.35]),
        ];
        let confidence = Confidence::of(&answer, "category").unwrap();
        assert!((confidence.margin.unwrap() - 0.3).abs() < 1e-12);
        let of_hr = -(0.6 * 0.6_f64.ln() + 0.3 * 0.3_f64.ln() + 0.1 * 0.1_f64.ln());
        assert!((confidence.entropy.unwrap() - (-of_hr / 2.0).exp()).abs() < 1e-12);
    }

    #[test]
    fn an_answer_without_the_field_falls_back_to_the_mean() {
        let answer = tokens(&[("Sure", 0.25), ("!", 1.0)]);
        let confidence = Confidence::of(&answer, "category").unwrap();
        assert_eq!(confidence.label, None);
        assert!((span(&confidence) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn no_log_probabilities_mean_no_confidence() {
        assert_eq!(Confidence::of(&[], "category"), None);
        assert_eq!(Confidence::of(&tokens(&[("x", f64::NAN)]), "category"), None);
    }

    #[test]
    fn what_was_not_asked_is_not_available() {
        let confidence = Confidence::of(&tokens(&[("x", 0.5)]), "category").unwrap();
        for estimator in Estimator::ALL.into_iter().filter(|estimator| estimator.asks_again()) {
            assert_eq!(confidence.value(estimator), None);
        }
    }
}
