//! Who answers. A router sees the query and the evidence of past attempts and returns a [`Decision`]; it never calls a
//! model. Routing before any call, cascading after one, repair and escalation are all this one loop.

mod build;
mod cascade;
mod cascade_routing;
mod classifier;
mod domain;
mod estimator;
mod fitted;
mod hybrid;
mod kind;
mod landmarks;
mod llm_first;
mod logistic;
mod predicted;
mod predictor;
mod random;
mod repair;
mod rising;
mod spec;
mod terms;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;

pub use build::{RouterParts, RouterSettings, build};
pub use classifier::{Choice, Classifier, ClassifierKind, Labelled};
pub use domain::DomainClassifier;
pub use estimator::Estimator;
pub use fitted::{Fitted, FittedModel, mark};
pub use hybrid::HybridSpecialist;
pub use kind::RouterKind;
pub use llm_first::LlmFirst;
pub(crate) use predictor::fit_rightness;
pub use predictor::{Learner, Lessons, Predictor};
pub use rising::Rising;
pub use spec::{MOST_REPAIRS, RouterSpec, read_routers, routers_text};

use crate::error::Result;
use crate::safety::Finding;
use crate::task::Query;
use serde::{Deserialize, Serialize};

/// The strength of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Small, local, cheap.
    Slm,
    /// Large, remote, dear.
    Llm,
}

/// How the prompt of a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptVariant {
    /// The task's prompt.
    Plain,
    /// The prompt of the specialist for this domain.
    Specialist(String),
    /// The prompt of attempt `of`, its answer and its violations, with the request to mend it.
    Repair {
        /// Index of the attempt to be repaired.
        of: usize,
    },
}

/// Why a decision was taken; kept in the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// The strategy starts with this model.
    FirstChoice,
    /// Chance chose.
    Random {
        /// The LLM's share.
        share: f64,
    },
    /// The expected gain of the LLM over the SLM chose.
    Predicted {
        /// What was expected.
        gain: f64,
        /// The gain above which the LLM is asked.
        asked: f64,
    },
    /// What the call was expected to add was worth its price, or there was no answer yet.
    WorthItsPrice {
        /// Right answers that it was expected to add to those so far.
        adds: f64,
        /// Its price in dollars.
        usd: f64,
    },
    /// The user's downshift rule kept an easy query local.
    Downshift {
        /// The rule's own measure.
        score: f64,
    },
    /// The classifier put the query in a domain that has a specialist.
    Domain {
        /// The domain.
        domain: String,
        /// The classifier's probability.
        probability: f64,
    },
    /// The classifier found no domain with a specialist, or was not sure.
    NoSpecialist {
        /// The most probable domain.
        domain: String,
        /// The classifier's probability.
        probability: f64,
    },
    /// The answer broke its contract and is repaired.
    ContractRepair,
    /// The answer broke its contract and repairs are used up.
    ContractFailure,
    /// The confidence was below the threshold.
    LowConfidence {
        /// What was measured.
        confidence: f64,
        /// What was asked for.
        threshold: f64,
    },
    /// The engine gives no token probabilities, so that confidence cannot be judged.
    ConfidenceUnknown,
    /// A safety finding in the query.
    Safety {
        /// The rules that fired.
        rules: Vec<String>,
    },
    /// The safety policy keeps the query on this machine.
    KeptLocal {
        /// The rules that fired.
        rules: Vec<String>,
    },
    /// The attempt failed for a reason that is not the model's answer.
    AttemptFailed,
    /// The answer is good enough.
    Accepted,
    /// Nothing stronger is left; the last answer stands though it broke its contract.
    Exhausted,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Decision {
    /// Call a model.
    Call {
        /// Which.
        tier: Tier,
        /// A model of its own (a manifest's name or a path); `None` is the tier's model.
        model: Option<String>,
        /// With which prompt.
        variant: PromptVariant,
        /// Why.
        reason: Reason,
    },
    /// The answer of this attempt is the trial's answer.
    Accept {
        /// Index of the attempt.
        attempt: usize,
        /// Why.
        reason: Reason,
    },
    /// No attempt can be accepted: every one failed for reasons outside the models.
    GiveUp,
}

/// What a router may know of one past attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEvidence {
    /// Who answered.
    pub tier: Tier,
    /// The model that was asked for by name; `None` is the tier's.
    pub model: Option<String>,
    /// With which prompt.
    pub variant: PromptVariant,
    /// Probability of the answer by the model's own token probabilities, 0..1; `None` where the engine gives none.
    pub confidence: Option<f64>,
    /// Whether the answer keeps its contract; `None` where contracts are off or the attempt failed.
    pub contract_valid: Option<bool>,
    /// Whether the attempt failed for a reason outside the model (network, overflow, …).
    pub failed: bool,
}

/// All that a router may know besides the query.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The attempts so far, in order.
    pub attempts: &'a [AttemptEvidence],
    /// Findings in the query.
    pub findings: &'a [Finding],
}

/// A strategy.
pub trait Router: Send + Sync {
    /// Which strategy it is.
    fn kind(&self) -> RouterKind;
    /// What to do next. Called again after every attempt; must reach `Accept` or `GiveUp` in a bounded number of calls.
    /// Fails only where the strategy needs to compute something (the hybrid's classifier) and cannot.
    fn decide(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision>;
}
