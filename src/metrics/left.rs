//! What left the device: calls of remote engines, their tokens, and the personal data in them.

use super::policy::counted;
use crate::engine::UsageSource;
use crate::record::TrialRecord;
use crate::router::Tier;
use crate::trial::Attempt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What left the device under one policy, failed trials and calls included. The stand-in for a remote LLM counts as what it
/// stands in for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LeftDevice {
    /// Trials with a call of a remote engine.
    pub queries: usize,
    /// Tokens of the prompts that were sent; null where a call's are not known.
    pub input_tokens: Option<u64>,
    /// Findings of personal data in the messages as they were sent; null where the record does not say.
    pub personal_data: Option<usize>,
    /// The same by type.
    pub personal_data_by_type: BTreeMap<String, usize>,
    /// Placeholders that were sent in the place of values.
    pub redacted: usize,
    /// Queries that were to stay here and were answered by a local model for that reason, by outcome and reason.
    pub held_back: BTreeMap<String, usize>,
    /// Why figures are null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

pub(super) fn left_device(trials: &[&TrialRecord]) -> LeftDevice {
    let remote = |attempt: &&Attempt| attempt.sent.is_some() || attempt.tier == Tier::Llm;
    let attempts = || trials.iter().flat_map(|record| &record.trial.attempts).filter(remote);
    let mut by_type: BTreeMap<String, usize> = BTreeMap::new();
    for (entity, count) in attempts().flat_map(|attempt| attempt.sent.iter()).flat_map(|sent| &sent.personal_data) {
        *by_type.entry(entity.clone()).or_default() += count;
    }
    // A failed call reports no tokens, though it may have sent some.
    let unknown = attempts().filter(|a| a.usage_source == UsageSource::Missing).count();
    let unrecorded = attempts().filter(|attempt| attempt.sent.is_none()).count();
    let tokens = attempts().map(|attempt| attempt.usage.input_tokens).fold(0, u64::saturating_add);
    let reasons = [
        (unknown, "the tokens of {} calls are not known"),
        (unrecorded, "the record of {} calls is of an older form that does not say what was in them"),
    ];
    let told = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| why.replace("{}", &count.to_string()));
    let told: Vec<String> = told.collect();
    LeftDevice {
        queries: trials.iter().filter(|record| record.trial.attempts.iter().any(|a| remote(&a))).count(),
        input_tokens: (unknown == 0).then_some(tokens),
        personal_data: (unrecorded == 0).then(|| by_type.values().sum()),
        personal_data_by_type: by_type,
        redacted: attempts().filter_map(|attempt| attempt.sent.as_ref()).map(|sent| sent.redacted).sum(),
        held_back: counted(trials.iter().filter_map(|record| held_back(record))),
        reason: (!told.is_empty()).then(|| told.join("; ")),
    }
}

/// How the safety policy kept a query here.
fn held_back(record: &TrialRecord) -> Option<&'static str> {
    use crate::router::{Decision, Reason};
    use crate::trial::Outcome;
    let kept = |decision: &Decision| {
        matches!(
            decision,
            Decision::Call { reason: Reason::KeptLocal { .. }, .. }
                | Decision::Accept { reason: Reason::KeptLocal { .. }, .. }
        )
    };
    match record.trial.outcome {
        Outcome::Refused => Some("refused"),
        Outcome::HandedOver => Some("handed_over"),
        _ if record.trial.decisions.iter().any(kept) => Some("kept_local"),
        _ => None,
    }
}
