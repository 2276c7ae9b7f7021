//! The choice of a model before any call, by what its answers to like queries were worth.

use super::predictor::Predictor;
use super::repair::{Step, call, follow, safety};
use super::{Decision, Evidence, Reason, Router, RouterKind, RouterSettings};
use crate::error::{Context, Result};
use crate::memory::Embed;
use crate::task::Query;
use std::sync::Arc;

/// The LLM answers where a predictor expects it to be better than the SLM by more than a gain; the SLM answers the others. An
/// SLM whose call fails, or whose answer breaks its contract in spite of repair, is relieved by the LLM; its confidence is not
/// looked at.
pub(super) struct Predicted {
    kind: RouterKind,
    settings: RouterSettings,
    predictor: Predictor,
    gain: f64,
    embed: Arc<dyn Embed>,
}

impl Predicted {
    /// From the settings, a predictor of the kind's own, and the gain from which the LLM is asked.
    pub(super) fn new(
        kind: RouterKind,
        settings: RouterSettings,
        predictor: Predictor,
        gain: f64,
        embed: Arc<dyn Embed>,
    ) -> Self {
        // Every confidence is enough.
        let settings = RouterSettings { threshold: 0.0, confidence_required: false, ..settings };
        Self { kind, settings, predictor, gain, embed }
    }
}

impl Router for Predicted {
    fn kind(&self) -> RouterKind {
        self.kind
    }

    fn decide(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        let steps = [Step::slm(&self.settings), Step::llm()];
        if !evidence.attempts.is_empty() {
            return Ok(follow(&self.settings, &steps, evidence.attempts, Reason::FirstChoice));
        }
        if let Some(reason) = safety(&self.settings.safety, evidence) {
            return Ok(call(&steps[1], reason));
        }
        let gain = self.predictor.score(&embedded(&*self.embed, &query.input)?);
        let reason = Reason::Predicted { gain, asked: self.gain };
        Ok(call(&steps[usize::from(gain > self.gain)], reason))
    }
}

/// The embedding of a query.
pub(super) fn embedded(embed: &dyn Embed, text: &str) -> Result<Vec<f32>> {
    let vectors = embed.embed(&[text]).context("embedding the query for the router")?;
    vectors.into_iter().next().context("embedding the query for the router gave nothing")
}
