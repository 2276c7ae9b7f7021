//! Control: the SLM answers everything, whatever its confidence.

use super::repair::settle;
use super::{Decision, Evidence, Router, RouterKind, RouterSettings, Tier};
use crate::error::Result;
use crate::task::Query;

/// The SLM answers, repairs included; nothing escalates.
#[derive(Debug, Clone)]
pub struct SlmOnly {
    settings: RouterSettings,
}

impl SlmOnly {
    /// From the settings; only the contract's are used.
    #[must_use]
    pub fn new(settings: RouterSettings) -> Self {
        Self { settings }
    }
}

impl Router for SlmOnly {
    fn kind(&self) -> RouterKind {
        RouterKind::SlmOnly
    }

    fn decide(&self, _query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        Ok(settle(&self.settings, evidence.attempts, Tier::Slm))
    }
}
