//! The classifier of hybrid-specialist, with the encoder that it looks through.

use super::classifier::{Classifier, ClassifierKind, Labelled};
use crate::error::{Context, Result};
use crate::memory::Embed;
use std::sync::Arc;

/// Tells a query's domain.
pub struct DomainClassifier {
    embed: Arc<dyn Embed>,
    classifier: Classifier,
}

impl DomainClassifier {
    /// Trains on (text, label) pairs of the train split.
    pub fn train(kind: ClassifierKind, pairs: &[(String, String)], embed: Arc<dyn Embed>) -> Result<Self> {
        let examples = Labelled::new(pairs, kind.embeds().then_some(&*embed))?;
        Ok(Self { classifier: Classifier::train(kind, &examples)?, embed })
    }

    /// The labels that it can give, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        self.classifier.labels()
    }

    /// The most probable label and its probability; of equals the first in alphabetical order.
    pub fn classify(&self, text: &str) -> Result<(String, f64)> {
        let vector = if self.classifier.kind().embeds() {
            let vectors = self.embed.embed(&[text]).context("embedding the query for the domain classifier")?;
            Some(vectors.into_iter().next().context("embedding the query for the domain classifier gave nothing")?)
        } else {
            None
        };
        let (label, probability) = self.classifier.classify(text, vector.as_deref());
        Ok((label.to_owned(), probability))
    }
}
