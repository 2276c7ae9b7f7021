//! From a specification to a memory.

use super::{Memory, MemoryKind};
use crate::error::Result;
use crate::nn::SentenceEncoder;
use crate::task::Task;
use std::sync::Arc;

/// How the memory is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct MemorySpec {
    /// Which.
    pub kind: MemoryKind,
    /// Passages at most.
    pub top_k: usize,
    /// Tokens of passages at most (salience).
    pub token_budget: usize,
    /// The relevance gate (salience); `None` fits it on the train split.
    pub gate: Option<f64>,
}

/// Builds a memory over a task's knowledge. `count_tokens` counts with the model's own tokenizer.
pub fn build(
    _spec: &MemorySpec,
    _task: &Task,
    _encoder: Option<Arc<SentenceEncoder>>,
    _count_tokens: Arc<dyn Fn(&str) -> usize + Send + Sync>,
) -> Result<Box<dyn Memory>> {
    todo!()
}
