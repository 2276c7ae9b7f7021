//! What every strategy shares once a model has answered: judging the latest attempt, repairing a broken contract,
//! escalating from the SLM, settling at the last model.

use super::{AttemptEvidence, Decision, Evidence, PromptVariant, Reason, RouterSettings, Tier};
use crate::safety::{Action, Finding, SafetyPolicy};

/// How the latest attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The call failed for a reason outside the model. It has no answer, so there is nothing to repair.
    Failed,
    /// The contract is broken and a repair is left.
    Repairable,
    /// The contract is broken and repairs are used up.
    Broken,
    /// An answer that keeps its contract, or one whose contract is not enforced.
    Sound,
}

/// The decision after an SLM answered: repair it, accept it, or hand over to the LLM with the reason.
pub(super) fn cascade(settings: &RouterSettings, attempts: &[AttemptEvidence], model: Option<String>) -> Decision {
    let Some((of, latest)) = last(attempts) else { return call(Tier::Slm, model, Reason::FirstChoice) };
    match standing(settings, attempts) {
        Standing::Failed => escalate(Reason::AttemptFailed),
        Standing::Repairable => repair(latest.tier, model, of),
        Standing::Broken => escalate(Reason::ContractFailure),
        Standing::Sound => match latest.confidence.filter(|confidence| !confidence.is_nan()) {
            Some(confidence) if confidence < settings.threshold => {
                escalate(Reason::LowConfidence { confidence, threshold: settings.threshold })
            }
            None if settings.confidence_required => escalate(Reason::ConfidenceUnknown),
            _ => Decision::Accept { attempt: of, reason: Reason::Accepted },
        },
    }
}

/// The decision at the last model that a strategy has: repair, then stand by the answer whatever it is.
///
/// A failure there ends the trial even where an earlier SLM answer exists: that answer was rejected on evidence, and
/// falling back to it would score an outage of the LLM as if the strategy had chosen the SLM.
pub(super) fn settle(settings: &RouterSettings, attempts: &[AttemptEvidence], tier: Tier) -> Decision {
    let Some((of, _)) = last(attempts) else { return call(tier, None, Reason::FirstChoice) };
    match standing(settings, attempts) {
        Standing::Failed => Decision::GiveUp,
        Standing::Repairable => repair(tier, None, of),
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

/// A first call of a tier with the task's own prompt.
pub(super) fn call(tier: Tier, model: Option<String>, reason: Reason) -> Decision {
    Decision::Call { tier, model, variant: PromptVariant::Plain, reason }
}

/// A first call of the LLM.
pub(super) fn escalate(reason: Reason) -> Decision {
    call(Tier::Llm, None, reason)
}

/// The tier of the latest attempt; `None` before the first.
pub(super) fn latest_tier(evidence: Evidence<'_>) -> Option<Tier> {
    evidence.attempts.last().map(|attempt| attempt.tier)
}

fn repair(tier: Tier, model: Option<String>, of: usize) -> Decision {
    Decision::Call { tier, model, variant: PromptVariant::Repair { of }, reason: Reason::ContractRepair }
}

fn last(attempts: &[AttemptEvidence]) -> Option<(usize, &AttemptEvidence)> {
    attempts.iter().enumerate().next_back()
}

fn standing(settings: &RouterSettings, attempts: &[AttemptEvidence]) -> Standing {
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

/// Repairs made by the tier that answered last, since it was first called.
fn repairs(attempts: &[AttemptEvidence]) -> usize {
    let tier = attempts.last().map(|attempt| attempt.tier);
    attempts
        .iter()
        .rev()
        .take_while(|a| Some(a.tier) == tier && matches!(a.variant, PromptVariant::Repair { .. }))
        .count()
}
