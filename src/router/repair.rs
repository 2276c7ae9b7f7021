//! What every strategy shares once a model has answered: judging the latest attempt, repairing a broken contract, handing
//! over to the next model, settling at the last one.

use super::{AttemptEvidence, Decision, Evidence, PromptVariant, Reason, Rising, RouterSettings, Tier};
use crate::safety::{Action, Finding, SafetyPolicy};

/// A model of a strategy, and from which confidence its answer is good enough.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    tier: Tier,
    /// A model of its own; `None` is the tier's.
    model: Option<String>,
    threshold: f64,
    /// What its confidences mean, where that was learned.
    calibration: Option<Rising>,
}

impl Step {
    /// The run's SLM.
    pub(super) fn slm(settings: &RouterSettings) -> Self {
        Self::specialist(settings, None)
    }

    /// The run's LLM, the last of its strategy.
    pub(super) fn llm() -> Self {
        Self { tier: Tier::Llm, model: None, threshold: 0.0, calibration: None }
    }

    /// A specialist's model; `None` is the run's SLM.
    pub(super) fn specialist(settings: &RouterSettings, model: Option<String>) -> Self {
        Self { tier: Tier::Slm, model, threshold: settings.threshold, calibration: None }
    }

    /// By the name in a file: `slm`, `llm`, or a local model's.
    pub(super) fn named(name: &str, threshold: f64) -> Self {
        let (tier, model) = match name {
            "llm" => (Tier::Llm, None),
            "slm" => (Tier::Slm, None),
            other => (Tier::Slm, Some(other.to_owned())),
        };
        Self { tier, model, threshold, calibration: None }
    }

    /// The same with what its confidences mean.
    pub(super) fn calibrated(self, calibration: Option<Rising>) -> Self {
        Self { calibration, ..self }
    }

    /// Whether it is the LLM.
    pub(super) fn is_llm(&self) -> bool {
        self.tier == Tier::Llm
    }

    /// Whether the attempt was made by it.
    pub(super) fn made(&self, attempt: &AttemptEvidence) -> bool {
        attempt.tier == self.tier && attempt.model == self.model
    }

    /// What the confidence of its answer means; `None` where there is none.
    pub(super) fn confidence(&self, attempt: &AttemptEvidence) -> Option<f64> {
        let raw = attempt.confidence.filter(|confidence| !confidence.is_nan())?;
        Some(self.calibration.as_ref().map_or(raw, |curve| curve.apply(raw)))
    }
}

/// How the latest attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The call failed for a reason outside the model. It has no answer, so there is nothing to repair.
    Failed,
    /// The contract is broken and a repair is left.
    Repairable,
    /// The contract is broken and repairs are used up.
    Broken,
    /// An answer that keeps its contract, or one whose contract is not enforced.
    Sound,
}

/// The decision of a strategy that asks its models one after the other: the first one before any attempt, for the reason given;
/// then repair, accept, or hand over to the next.
pub(super) fn follow(
    settings: &RouterSettings,
    steps: &[Step],
    attempts: &[AttemptEvidence],
    first: Reason,
) -> Decision {
    let Some((of, latest)) = last(attempts) else {
        return steps.first().map_or(Decision::GiveUp, |step| call(step, first));
    };
    // Who is none of the steps was called for safety, and nothing stands behind it.
    let at = steps.iter().position(|step| step.made(latest)).unwrap_or(steps.len());
    let (Some(step), Some(next)) = (steps.get(at), steps.get(at + 1)) else { return settle(settings, attempts) };
    match standing(settings, attempts) {
        Standing::Failed => call(next, Reason::AttemptFailed),
        Standing::Repairable => repair(attempts),
        Standing::Broken => call(next, Reason::ContractFailure),
        Standing::Sound => match step.confidence(latest) {
            Some(confidence) if confidence < step.threshold => {
                call(next, Reason::LowConfidence { confidence, threshold: step.threshold })
            }
            None if settings.confidence_required => call(next, Reason::ConfidenceUnknown),
            _ => Decision::Accept { attempt: of, reason: Reason::Accepted },
        },
    }
}

/// The decision at the last model that a strategy has: repair, then stand by the answer whatever it is.
///
/// A failure there ends the trial even where an earlier answer exists: that answer was rejected on evidence, and
/// falling back to it would score an outage of the LLM as if the strategy had chosen the SLM.
fn settle(settings: &RouterSettings, attempts: &[AttemptEvidence]) -> Decision {
    let Some((of, _)) = last(attempts) else { return Decision::GiveUp };
    match standing(settings, attempts) {
        Standing::Failed => Decision::GiveUp,
        Standing::Repairable => repair(attempts),
        Standing::Broken => Decision::Accept { attempt: of, reason: Reason::Exhausted },
        Standing::Sound => Decision::Accept { attempt: of, reason: Reason::Accepted },
    }
}

/// The rules of the findings that send a query straight to the LLM, each once; `None` when there are none.
pub(super) fn safety(policy: &SafetyPolicy, evidence: Evidence<'_>) -> Option<Reason> {
    let escalates = |finding: &&Finding| policy.action(finding) == Action::Escalate;
    let mut rules: Vec<String> = evidence.findings.iter().filter(escalates).map(|f| f.rule.clone()).collect();
    rules.sort();
    rules.dedup();
    (!rules.is_empty()).then_some(Reason::Safety { rules })
}

/// A first call of a model with the task's own prompt.
pub(super) fn call(step: &Step, reason: Reason) -> Decision {
    Decision::Call { tier: step.tier, model: step.model.clone(), variant: PromptVariant::Plain, reason }
}

/// The repair of the latest answer, by the model that gave it.
pub(super) fn repair(attempts: &[AttemptEvidence]) -> Decision {
    let Some((of, latest)) = last(attempts) else { return Decision::GiveUp };
    let (tier, model) = (latest.tier, latest.model.clone());
    Decision::Call { tier, model, variant: PromptVariant::Repair { of }, reason: Reason::ContractRepair }
}

fn last(attempts: &[AttemptEvidence]) -> Option<(usize, &AttemptEvidence)> {
    attempts.iter().enumerate().next_back()
}

pub(super) fn standing(settings: &RouterSettings, attempts: &[AttemptEvidence]) -> Standing {
    match attempts.last() {
        Some(latest) if latest.failed => Standing::Failed,
        Some(latest) if latest.contract_valid == Some(false) => {
            if repairs(attempts) < settings.max_repairs {
                Standing::Repairable
            } else {
                Standing::Broken
            }
        }
        _ => Standing::Sound,
    }
}

/// Repairs made by the model that answered last, since it was first called.
fn repairs(attempts: &[AttemptEvidence]) -> usize {
    let model = attempts.last().map(|attempt| (attempt.tier, &attempt.model));
    attempts
        .iter()
        .rev()
        .take_while(|a| Some((a.tier, &a.model)) == model && matches!(a.variant, PromptVariant::Repair { .. }))
        .count()
}
