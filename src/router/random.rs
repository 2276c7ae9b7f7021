//! Control: chance decides who answers.

use super::repair::{Step, follow};
use super::{Decision, Evidence, Reason, Router, RouterKind, RouterSettings};
use crate::error::Result;
use crate::task::Query;
use sha2::{Digest, Sha256};

/// The LLM answers a share of the queries, the SLM the others; which ones follows from the seed and the query's id alone.
#[derive(Debug, Clone)]
pub(super) struct Random {
    settings: RouterSettings,
    share: f64,
    seed: u64,
}

impl Random {
    /// From the settings, the share of the LLM and the seed.
    #[must_use]
    pub(super) fn new(settings: RouterSettings, share: f64, seed: u64) -> Self {
        Self { settings, share, seed }
    }
}

impl Router for Random {
    fn kind(&self) -> RouterKind {
        RouterKind::Random
    }

    fn decide(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        let sum = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(&query.id).finalize();
        let drawn = sum.iter().take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        let drawn = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
        let step = if drawn < self.share { Step::llm() } else { Step::slm(&self.settings) };
        Ok(follow(&self.settings, &[step], evidence.attempts, Reason::Random { share: self.share }))
    }
}
