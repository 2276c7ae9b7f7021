//! The LLM answers, except for what the user lets it downshift.

use super::repair::{Step, call, follow};
use super::{Decision, Evidence, Reason, Router, RouterKind, RouterSettings};
use crate::error::Result;
use crate::safety::Certainty;
use crate::task::Query;

/// The LLM answers. Where the user sets `downshift_max_chars`, a query of at most that many characters without any
/// finding but weak ones goes to the SLM first, and from there escalates on the same evidence as in slm-dominant.
#[derive(Debug, Clone)]
pub struct LlmFirst {
    settings: RouterSettings,
    steps: [Step; 2],
}

impl LlmFirst {
    /// From the settings, and the SLM of the downshift.
    #[must_use]
    pub(super) fn new(settings: RouterSettings, slm: Step) -> Self {
        Self { settings, steps: [slm, Step::llm()] }
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
        let [slm, llm] = &self.steps;
        if !evidence.attempts.is_empty() {
            return Ok(follow(&self.settings, &self.steps, evidence.attempts, Reason::FirstChoice));
        }
        Ok(match self.downshift(query, evidence) {
            Some(score) => call(slm, Reason::Downshift { score }),
            None => call(llm, Reason::FirstChoice),
        })
    }
}
