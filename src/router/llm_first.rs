//! The LLM answers, except for what the user lets it downshift.

use super::repair::{call, cascade, latest_tier, settle};
use super::{Decision, Evidence, Reason, Router, RouterKind, RouterSettings, Tier};
use crate::error::Result;
use crate::safety::Certainty;
use crate::task::Query;

/// The LLM answers. Where the user sets `downshift_max_chars`, a query of at most that many characters without any
/// finding but weak ones goes to the SLM first, and from there escalates on the same evidence as in slm-dominant.
#[derive(Debug, Clone)]
pub struct LlmFirst {
    settings: RouterSettings,
}

impl LlmFirst {
    /// From the settings.
    #[must_use]
    pub fn new(settings: RouterSettings) -> Self {
        Self { settings }
    }

    /// The query's length in characters, where the rule lets it stay local.
    fn downshift(&self, query: &Query, evidence: Evidence<'_>) -> Option<f64> {
        let limit = self.settings.downshift_max_chars?;
        let chars = query.input.chars().count();
        let clear = evidence.findings.iter().all(|finding| finding.certainty == Certainty::Weak);
        (chars <= limit && clear).then_some(chars as f64)
    }
}

impl Router for LlmFirst {
    fn kind(&self) -> RouterKind {
        RouterKind::LlmFirst
    }

    fn decide(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        Ok(match latest_tier(evidence) {
            None => match self.downshift(query, evidence) {
                Some(score) => call(Tier::Slm, None, Reason::Downshift { score }),
                None => settle(&self.settings, evidence.attempts, Tier::Llm),
            },
            Some(Tier::Slm) => cascade(&self.settings, evidence.attempts, None),
            Some(Tier::Llm) => settle(&self.settings, evidence.attempts, Tier::Llm),
        })
    }
}
