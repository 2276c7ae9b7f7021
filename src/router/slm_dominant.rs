//! The SLM answers first; evidence escalates.

use super::repair::{cascade, escalate, latest_tier, safety, settle};
use super::{Decision, Evidence, Router, RouterKind, RouterSettings, Tier};
use crate::error::Result;
use crate::task::Query;

/// The SLM answers first. The LLM takes over on a safety finding in the query (before any call), on a failed call, on a
/// contract that repair did not mend, and on a confidence that is below the threshold or unknown.
#[derive(Debug, Clone)]
pub struct SlmDominant {
    settings: RouterSettings,
}

impl SlmDominant {
    /// From the settings.
    #[must_use]
    pub fn new(settings: RouterSettings) -> Self {
        Self { settings }
    }
}

impl Router for SlmDominant {
    fn kind(&self) -> RouterKind {
        RouterKind::SlmDominant
    }

    fn decide(&self, _query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        Ok(match latest_tier(evidence) {
            None => match safety(&self.settings.safety, evidence) {
                Some(reason) => escalate(reason),
                None => cascade(&self.settings, evidence.attempts, None),
            },
            Some(Tier::Slm) => cascade(&self.settings, evidence.attempts, None),
            Some(Tier::Llm) => settle(&self.settings, evidence.attempts, Tier::Llm),
        })
    }
}
