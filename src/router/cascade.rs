//! Models in order of price: each answers until the evidence of an answer is good enough.
//!
//! slm-only and llm-only are cascades of one model, slm-dominant is one of two.

use super::repair::{Step, call, follow, safety};
use super::{Decision, Evidence, Reason, Router, RouterKind, RouterSettings};
use crate::error::Result;
use crate::task::Query;

/// The first model answers. The next takes over on a failed call, on a contract that repair did not mend, and on a confidence
/// that is below the model's threshold or unknown. A safety finding in the query gives it to the last model before any call,
/// where the policy escalates.
#[derive(Debug, Clone)]
pub(super) struct Cascade {
    kind: RouterKind,
    settings: RouterSettings,
    steps: Vec<Step>,
}

impl Cascade {
    /// From the settings and the models, of which there is at least one.
    #[must_use]
    pub(super) fn new(kind: RouterKind, settings: RouterSettings, steps: Vec<Step>) -> Self {
        Self { kind, settings, steps }
    }
}

impl Router for Cascade {
    fn kind(&self) -> RouterKind {
        self.kind
    }

    fn decide(&self, _query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        if evidence.attempts.is_empty()
            && let [_, .., last] = self.steps.as_slice()
            && let Some(reason) = safety(&self.settings.safety, evidence)
        {
            return Ok(call(last, reason));
        }
        Ok(follow(&self.settings, &self.steps, evidence.attempts, Reason::FirstChoice))
    }
}
