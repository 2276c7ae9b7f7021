//! The classifier that tells a query's domain from its sentence embedding.

use super::logistic::{Examples, Logistic};
use crate::error::{Context, Result, bail, usage};
use crate::memory::Embed;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variances of the prior to choose from.
const VARIANCES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// The prior where there are too few examples to choose by.
const DEFAULT_VARIANCE: f64 = 10.0;
/// Parts of the cross-validation that chooses the prior.
const FOLDS: usize = 4;
/// Examples that the choice of the prior looks at, at most: the best prior hardly depends on their number.
const CHOICE_LIMIT: usize = 400;

/// Multinomial logistic regression on sentence embeddings. Trained on the train split only; deterministic.
///
/// The strength of the prior is chosen by cross-validated log-likelihood among a few values, because the same strength
/// that suits 400 examples of a label leaves 8 of them with almost uniform probabilities.
pub struct DomainClassifier {
    embed: Arc<dyn Embed>,
    labels: Vec<String>,
    model: Logistic,
}

impl DomainClassifier {
    /// Trains on (text, label) pairs.
    pub fn train(pairs: &[(String, String)], embed: Arc<dyn Embed>) -> Result<Self> {
        if pairs.is_empty() {
            return Err(usage(
                "training the domain classifier: the train split has no labelled sample; add some, or leave the \
                 hybrid-specialist router out",
            ));
        }
        let texts: Vec<&str> = pairs.iter().map(|(text, _)| text.as_str()).collect();
        let vectors = embed.embed(&texts).context("embedding the train split for the domain classifier")?;
        if vectors.len() != texts.len() {
            bail!("embedding the train split: {} vectors came back for {} texts", vectors.len(), texts.len());
        }
        let rows: Vec<Vec<f64>> = vectors.iter().map(|vector| widen(vector)).collect();
        let index: BTreeMap<&str, usize> = pairs.iter().map(|(_, label)| (label.as_str(), 0)).collect();
        let labels: Vec<String> = index.into_keys().map(str::to_owned).collect();
        let classes_of: Vec<usize> = pairs.iter().filter_map(|(_, label)| labels.binary_search(label).ok()).collect();
        let examples = Examples { rows: &rows, classes_of: &classes_of, classes: labels.len() };
        let model = Logistic::fit(examples, choose_variance(examples));
        Ok(Self { embed, labels, model })
    }

    /// The labels that it can give, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The most probable label and its probability; of equals the first in alphabetical order.
    pub fn classify(&self, text: &str) -> Result<(String, f64)> {
        let vectors = self.embed.embed(&[text]).context("embedding the query for the domain classifier")?;
        let Some(vector) = vectors.first() else { bail!("embedding the query for the domain classifier gave nothing") };
        let probabilities = self.model.probabilities(&widen(vector));
        self.labels
            .iter()
            .zip(probabilities)
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
            .map(|(label, probability)| (label.clone(), probability))
            .context("the domain classifier has no label")
    }
}

fn widen(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|&x| f64::from(x)).collect()
}

/// The prior's variance with the best log-likelihood of held-out examples.
fn choose_variance(examples: Examples<'_>) -> f64 {
    // The n-th example of each label goes to part n mod FOLDS: balanced, and the same every time.
    let per_label = (CHOICE_LIMIT / examples.classes.max(1)).max(FOLDS);
    let mut seen = vec![0; examples.classes];
    let mut parts: [Vec<usize>; FOLDS] = Default::default();
    for (i, &class) in examples.classes_of.iter().enumerate() {
        if seen[class] < per_label {
            parts[seen[class] % FOLDS].push(i);
        }
        seen[class] += 1;
    }
    if examples.classes < 2 || seen.iter().any(|&count| count < 2) {
        return DEFAULT_VARIANCE;
    }
    let pick = |indices: &[usize]| -> (Vec<Vec<f64>>, Vec<usize>) {
        indices.iter().map(|&i| (examples.rows[i].clone(), examples.classes_of[i])).unzip()
    };
    let mut scores = [0.0; VARIANCES.len()];
    for held_out in 0..FOLDS {
        let kept: Vec<usize> =
            parts.iter().enumerate().filter(|&(i, _)| i != held_out).flat_map(|(_, part)| part.clone()).collect();
        let (rows, classes_of) = pick(&kept);
        let (held_rows, held_classes) = pick(&parts[held_out]);
        for (score, &variance) in scores.iter_mut().zip(&VARIANCES) {
            let fit = Logistic::fit(Examples { rows: &rows, classes_of: &classes_of, ..examples }, variance);
            for (row, &class) in held_rows.iter().zip(&held_classes) {
                *score += fit.probabilities(row)[class].max(1e-12).ln();
            }
        }
    }
    let best = VARIANCES.iter().zip(scores).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(DEFAULT_VARIANCE, |(&variance, _)| variance)
}
