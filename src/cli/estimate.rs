//! How often a run calls the LLM, and what that costs: what `--dry-run` says before anything is called.

use super::setup::Resolved;
use crate::memory::{MemoryKind, Retrieval};
use crate::record::{Cell, Price};
use crate::router::{RouterKind, RouterSpec};
use crate::trial::PromptBuilder;
use std::fmt;

/// Bytes of text for each token: few tokens, and many.
const BYTES_PER_TOKEN: (f64, f64) = (6.0, 2.0);
/// Tokens that a repair's instruction adds at most, as far as that can be said before.
const REPAIR_TOKENS: f64 = 300.0;
/// Tokens of one passage at most, where no budget bounds them.
const PASSAGE_TOKENS: f64 = 400.0;

/// Ranges, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    /// Calls of the LLM.
    pub(super) calls: (usize, usize),
    /// Their cost in dollars; `None` is not priced.
    pub(super) usd: Option<(f64, f64)>,
}

/// Model calls of one trial at most.
pub(super) fn most_calls(resolved: &Resolved, router: &RouterSpec) -> usize {
    let models = match router.kind {
        RouterKind::SlmOnly | RouterKind::LlmOnly | RouterKind::Random => 1,
        RouterKind::Cascade => router.models.as_ref().map_or(2, Vec::len),
        RouterKind::CascadeRouting => router.fitted.as_ref().map_or(2, |fitted| fitted.models.len()),
        _ => 2,
    };
    models * (1 + repairs(resolved, router))
}

fn repairs(resolved: &Resolved, router: &RouterSpec) -> usize {
    router.max_repairs.unwrap_or(resolved.args.max_repairs)
}

/// Calls of the LLM in one trial: at least, and at most.
fn llm_calls(resolved: &Resolved, router: &RouterSpec) -> (usize, usize) {
    let most = 1 + repairs(resolved, router);
    let llm = |model: &String| model == "llm";
    match (router.kind, &router.models) {
        (RouterKind::SlmOnly, _) => (0, 0),
        (RouterKind::LlmOnly, _) => (1, most),
        (RouterKind::LlmFirst, _) => {
            let downshift = router.downshift_max_chars.or(resolved.args.downshift);
            (usize::from(downshift.is_none()), most)
        }
        (RouterKind::Cascade, Some(models)) => {
            (usize::from(models.first().is_some_and(llm)), if models.iter().any(llm) { most } else { 0 })
        }
        _ => (0, most),
    }
}

/// Calls of small models in one trial: at least, where no safety finding sends the query elsewhere, and at most.
fn slm_calls(resolved: &Resolved, router: &RouterSpec) -> (usize, usize) {
    let each = 1 + repairs(resolved, router);
    let most = most_calls(resolved, router);
    match (router.kind, &router.models) {
        (RouterKind::LlmOnly, _) => (0, 0),
        (RouterKind::SlmOnly | RouterKind::SlmDominant, _) => (1, each),
        (RouterKind::Cascade, Some(models)) => {
            let small = models.iter().filter(|model| *model != "llm").count();
            (usize::from(models.first().is_some_and(|model| model != "llm")), small * each)
        }
        _ => (0, most.saturating_sub(each).max(each)),
    }
}

/// What the whole run asks of the LLM, where the safety policy keeps no query from it.
pub(super) fn estimate(resolved: &Resolved) -> Estimate {
    let bytes = lengths(resolved);
    let mut total = Estimate { calls: (0, 0), usd: resolved.price.as_ref().map(|_| (0.0, 0.0)) };
    for cell in &resolved.cells {
        total.add(&of_cell(resolved, cell, &bytes));
    }
    total
}

/// Bytes of the plain prompt of each sample.
pub(super) fn lengths(resolved: &Resolved) -> Vec<f64> {
    let prompts = PromptBuilder::new(&resolved.task, None);
    let length = |sample: &crate::task::Sample| {
        let messages = prompts.messages(&sample.query, &Retrieval::default(), None);
        messages.iter().map(|message| message.content.len() as f64).sum()
    };
    resolved.samples().into_iter().map(length).collect()
}

/// What one cell asks of the LLM over prompts of these lengths.
pub(super) fn of_cell(resolved: &Resolved, cell: &Cell, bytes: &[f64]) -> Estimate {
    let mut total = Estimate { calls: (0, 0), usd: resolved.price.as_ref().map(|_| (0.0, 0.0)) };
    let Some(router) = resolved.routers.iter().find(|router| router.name() == cell.router_name()) else { return total };
    let fixed = resolved.task.static_memory.as_ref().map_or(0.0, |text| text.len() as f64);
    let (least, most) = llm_calls(resolved, router);
    total.calls = (least * bytes.len(), most * bytes.len());
    if let (Some(price), Some((low, high))) = (&resolved.price, &mut total.usd) {
        let passages = match cell.memory {
            MemoryKind::None => 0.0,
            MemoryKind::Static => fixed / BYTES_PER_TOKEN.1,
            _ => (resolved.args.token_budget as f64).max(resolved.args.top_k as f64 * PASSAGE_TOKENS),
        };
        for &length in bytes {
            *low += least as f64 * usd(price, length / BYTES_PER_TOKEN.0, 1.0);
            *high += (0..most)
                .map(|earlier| {
                    let answer = resolved.args.max_tokens as f64;
                    let repaired = earlier as f64 * (answer + REPAIR_TOKENS);
                    usd(price, length / BYTES_PER_TOKEN.1 + passages + repaired, answer)
                })
                .sum::<f64>();
        }
    }
    total
}

/// Calls of small models of one cell over so many samples.
pub(super) fn slm_calls_of_cell(resolved: &Resolved, cell: &Cell, samples: usize) -> (usize, usize) {
    let router = resolved.routers.iter().find(|router| router.name() == cell.router_name());
    let (least, most) = router.map_or((0, 0), |router| slm_calls(resolved, router));
    (least * samples, most * samples)
}

impl Estimate {
    /// Both together.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls = (self.calls.0 + other.calls.0, self.calls.1 + other.calls.1);
        self.usd = self.usd.zip(other.usd).map(|(one, two)| (one.0 + two.0, one.1 + two.1));
    }

    /// What does for both, where they ask the same.
    pub(super) fn cover(&mut self, other: &Self) {
        self.calls = (self.calls.0.max(other.calls.0), self.calls.1.max(other.calls.1));
        self.usd = self.usd.zip(other.usd).map(|(one, two)| (one.0.max(two.0), one.1.max(two.1)));
    }
}

fn usd(price: &Price, input: f64, output: f64) -> f64 {
    (input * price.input_usd_per_million + output * price.output_usd_per_million) / 1e6
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.calls;
        write!(f, "LLM      {least} to {most} calls, ")?;
        match self.usd {
            Some((low, high)) => write!(f, "{low:.4} to {high:.4} USD as estimated from the texts' lengths"),
            None => f.write_str("not priced"),
        }
    }
}
