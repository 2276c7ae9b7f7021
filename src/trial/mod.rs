//! One query through one cell: recall, prompt, decide, call, check, decide again, until an answer is accepted or none can
//! be had.
//!
//! The loop sees a [`Query`](crate::task::Query), never a target: scoring happens afterwards, in `metrics`, on the finished [`Trial`].

mod conceal;
mod confidence;
mod guard;
mod probe;
mod prompt;
mod run;
#[cfg(test)]
mod tests;

pub use confidence::Confidence;
pub use probe::{Answer, DEFAULT_SAMPLES, LabelProbabilities, Probed, label_probabilities};
pub use prompt::PromptBuilder;
pub use run::{ALTERNATIVES, AnswerFields, CellContext, Engines, predict, run};

use crate::clock::Spans;
use crate::contract::Verdict;
use crate::engine::{FailureKind, Held, StopReason, TokenLogprob, Try, Usage, UsageSource};
use crate::memory::Retrieval;
use crate::router::{Decision, PromptVariant, Reason, Tier};
use crate::safety::{Finding, Redaction};
use crate::task::Origin;
use crate::units::{Seconds, Usd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was predicted. Written once, here; nothing downstream changes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The label, when the answer names exactly one of the task's labels.
    pub label: Option<String>,
    /// The free-text answer.
    pub answer: Option<String>,
    /// Cited article ids.
    pub citations: Vec<String>,
    /// Whether the model asks for a person.
    pub needs_human: Option<bool>,
}

/// One call of a model and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The strength that the router asked for.
    pub tier: Tier,
    /// The model's name.
    pub model: String,
    /// How the prompt was made.
    pub variant: PromptVariant,
    /// Why the router asked for it.
    pub reason: Reason,
    /// The prompt as the model saw it.
    pub prompt: String,
    /// What left this program with the call; `None` for a local engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// The completion, unchanged, so with the placeholders that a remote engine was given; `None` when the call failed.
    pub completion: Option<String>,
    /// Why generation stopped.
    pub stop: Option<StopReason>,
    /// Token counts of this attempt.
    pub usage: Usage,
    /// Where the counts come from.
    pub usage_source: UsageSource,
    /// Log-probabilities of the generated tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenLogprob>,
    /// Probability of the answer by the model's own token probabilities.
    pub confidence: Option<Confidence>,
    /// The contract's judgement, observed even where contracts are off; `None` when the call failed.
    pub verdict: Option<Verdict>,
    /// What this attempt alone predicts.
    pub prediction: Prediction,
    /// Time to the first token.
    pub ttft_s: Option<Seconds>,
    /// Wall time of the call.
    pub total_s: Seconds,
    /// Where the call's time went.
    pub spans: Spans,
    /// Tries beyond the first that the transport took.
    pub retries: u32,
    /// Every request that the call took, the last one last; empty for a local engine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
    /// How the answer was held to the contract while it was generated.
    #[serde(default, skip_serializing_if = "Held::is_not")]
    pub held: Held,
    /// Tokens of it that the grammar forced.
    #[serde(default)]
    pub forced_tokens: u64,
    /// The failure, when the call failed.
    pub failure: Option<Failure>,
    /// Which attempt this is, where attempts are shared between cells: equal identities have equal answers. Absent where the
    /// record does not hold the answer as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where it was computed, with the times that stand here, where that was another trial than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_from: Option<Origin>,
    /// What the call's tokens cost, those of tries that failed after they were counted included; filled when the finished
    /// trial is billed. `None` for local calls, and where there is no price or no count.
    pub api_usd: Option<Usd>,
}

/// Personal data in the messages of a remote call, the system's own excepted: that one is the operator's text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// What was found in the messages as they were sent, by type; weak findings are not counted.
    pub personal_data: BTreeMap<String, usize>,
    /// Placeholders that were sent in the place of values.
    pub redacted: usize,
}

/// A failure as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The message shown to the user.
    pub message: String,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer was accepted and, where contracts are enforced, it keeps its contract.
    Answered,
    /// Every model and repair was tried and the contract is still broken. This is the models' failure: it is scored, as
    /// wrong.
    ContractFailed,
    /// The safety policy refuses the query: no model was asked. Scored as wrong, since nothing was answered.
    Refused,
    /// The safety policy gives the query to a person: no model was asked. The label counts as wrong, asking for a person as
    /// what was predicted.
    HandedOver,
    /// No answer for a reason outside the models. Never scored.
    Failed,
}

/// One query's way through one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// How it ended.
    pub outcome: Outcome,
    /// The answer; default when there is none.
    pub prediction: Prediction,
    /// The attempt that was accepted.
    pub accepted: Option<usize>,
    /// Why there is no answer, when the trial failed.
    pub failure: Option<Failure>,
    /// Every call, in order.
    pub attempts: Vec<Attempt>,
    /// Every decision, in order.
    pub decisions: Vec<Decision>,
    /// Safety findings in the query.
    pub findings: Vec<Finding>,
    /// Values of the query that the safety policy redacts; never recorded.
    #[serde(skip)]
    pub redaction: Redaction,
    /// What the memory gave.
    pub retrieval: Retrieval,
    /// Where the time went.
    pub spans: Spans,
    /// Wall time of the whole trial.
    pub wall_s: Seconds,
}
