//! Groundedness: the share of an answer's claims that the injected passages support.

use super::Passage;
use crate::error::Result;
use crate::nn::SentenceEncoder;

/// The judgement of one claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Grounding {
    /// Share of supported claims.
    pub share: f64,
    /// Number of claims.
    pub claims: usize,
}

/// Groundedness of an answer; `None` (not applicable) without passages or claims.
pub fn groundedness(_answer: &str, _passages: &[Passage], _encoder: &SentenceEncoder) -> Result<Option<Grounding>> {
    todo!()
}
