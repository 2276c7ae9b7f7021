//! What left the device: calls of remote engines, their tokens, and the personal data in them.

use super::policy::counted;
use super::row::Row;
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
    /// Queries that the safety policy kept from remote engines: `kept_local`, `handed_over`, `refused`.
    pub held_back: BTreeMap<String, usize>,
    /// Why figures are null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What left the device in one trial.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftRow {
    /// Whether a remote engine was called.
    remote: bool,
    input_tokens: u64,
    /// Remote calls whose tokens are not known; a failed call reports none, though it may have sent some.
    unknown: u32,
    /// Remote calls of which the record does not say what was in them.
    unrecorded: u32,
    redacted: usize,
    /// Personal data by type.
    personal: Box<[(String, usize)]>,
    held_back: Option<&'static str>,
}

pub(super) fn left_row(record: &TrialRecord) -> LeftRow {
    let remote = |attempt: &&Attempt| attempt.sent.is_some() || attempt.tier == Tier::Llm;
    let attempts = || record.trial.attempts.iter().filter(remote);
    let count = |of: &dyn Fn(&Attempt) -> bool| u32::try_from(attempts().filter(|a| of(a)).count()).unwrap_or(u32::MAX);
    let mut personal: BTreeMap<String, usize> = BTreeMap::new();
    for (entity, count) in attempts().flat_map(|attempt| attempt.sent.iter()).flat_map(|sent| &sent.personal_data) {
        *personal.entry(entity.clone()).or_default() += count;
    }
    LeftRow {
        remote: attempts().next().is_some(),
        input_tokens: attempts().map(|attempt| attempt.usage.input_tokens).fold(0, u64::saturating_add),
        unknown: count(&|attempt| attempt.usage_source == UsageSource::Missing),
        unrecorded: count(&|attempt| attempt.sent.is_none()),
        redacted: attempts().filter_map(|attempt| attempt.sent.as_ref()).map(|sent| sent.redacted).sum(),
        personal: personal.into_iter().collect(),
        held_back: held_back(record),
    }
}

pub(super) fn left_device(trials: &[&Row]) -> LeftDevice {
    let rows = || trials.iter().map(|row| &row.left);
    let mut by_type: BTreeMap<String, usize> = BTreeMap::new();
    for (entity, count) in rows().flat_map(|left| left.personal.iter()) {
        *by_type.entry(entity.clone()).or_default() += count;
    }
    let unknown: usize = rows().map(|left| left.unknown as usize).sum();
    let unrecorded: usize = rows().map(|left| left.unrecorded as usize).sum();
    let tokens = rows().map(|left| left.input_tokens).fold(0, u64::saturating_add);
    let reasons = [
        (unknown, "the tokens of {} calls are not known"),
        (unrecorded, "the record of {} calls is of an older form that does not say what was in them"),
    ];
    let told = reasons.iter().filter(|(count, _)| *count > 0).map(|(count, why)| why.replace("{}", &count.to_string()));
    let told: Vec<String> = told.collect();
    LeftDevice {
        queries: rows().filter(|left| left.remote).count(),
        input_tokens: (unknown == 0).then_some(tokens),
        personal_data: (unrecorded == 0).then(|| by_type.values().sum()),
        personal_data_by_type: by_type,
        redacted: rows().map(|left| left.redacted).sum(),
        held_back: counted(rows().filter_map(|left| left.held_back)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::trial::Outcome;

    #[test]
    fn what_left_is_summed_over_remote_calls_alone_and_an_older_record_is_said_to_be_one() {
        let (header, mut records) = example::run();
        records.truncate(4);
        records[0].trial = example::escalated("Access", "Access");
        records[1].trial = example::answered("Access");
        records[2].trial = example::escalated("Access", "Access");
        records[3].trial = example::answered("Access");
        records[3].trial.outcome = Outcome::Refused;
        let sent = records[0].trial.attempts[1].sent.as_mut().unwrap();
        sent.personal_data.insert("EMAIL_ADDRESS".into(), 2);
        sent.redacted = 1;
        let rows = crate::metrics::Rows::of(&header, &records);
        let left = left_device(&rows.trials.iter().collect::<Vec<_>>());
        assert_eq!((left.queries, left.input_tokens, left.personal_data, left.redacted), (2, Some(2000), Some(2), 1));
        assert_eq!((left.held_back["refused"], left.reason), (1, None));
        records[2].trial.attempts[1].sent = None;
        records[2].trial.attempts[1].usage_source = UsageSource::Missing;
        let rows = crate::metrics::Rows::of(&header, &records);
        let left = left_device(&rows.trials.iter().collect::<Vec<_>>());
        assert_eq!((left.queries, left.input_tokens, left.personal_data), (2, None, None));
        assert!(left.reason.is_some_and(|why| why.contains("not known") && why.contains("older form")));
    }
}
