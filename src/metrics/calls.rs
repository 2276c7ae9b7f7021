//! How the calls of the LLM went on the wire.

use super::statistics::quantile;
use crate::engine::Try;
use crate::record::TrialRecord;
use crate::router::Tier;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The calls of a run's LLM, failed trials included. Times are in seconds and of the tries that were answered, except where it
/// says otherwise; a null is of something that did not happen, or that nobody could tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteCalls {
    /// Calls.
    pub calls: usize,
    /// Calls that were answered.
    pub answered: usize,
    /// Requests that they took.
    pub tries: usize,
    /// Requests that failed, by the kind of their failure.
    pub failed_tries: BTreeMap<String, usize>,
    /// Requests that failed and were counted, and so billed, all the same.
    pub billed_failed_tries: usize,
    /// All waiting for our own limits of the rate.
    pub queue_s: f64,
    /// Connections that were made; the other requests used one again.
    pub connections: usize,
    /// Looking up names.
    pub dns_s: Spread,
    /// Making TCP connections.
    pub connect_s: Spread,
    /// TLS handshakes.
    pub tls_s: Spread,
    /// From a request's start to its first token.
    pub ttft_s: Spread,
    /// Time per output token after the first.
    pub tpot_s: Spread,
    /// From a request's start to its end.
    pub total_s: Spread,
    /// Answers whose reported counts are contradicted by the answers themselves.
    pub doubted_counts: usize,
}

/// Where times lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile, from 20 times up.
    pub p95: Option<f64>,
}

impl Spread {
    fn of(times: &[f64]) -> Self {
        let p95 = (times.len() >= 20).then(|| quantile(times, 0.95).ok()).flatten();
        Self { p50: quantile(times, 0.5).ok(), p95 }
    }
}

/// The calls of the LLM over all trials; `None` where none was recorded.
pub(super) fn remote_calls<'a>(trials: impl Iterator<Item = &'a TrialRecord>) -> Option<RemoteCalls> {
    let mut calls = RemoteCalls::default();
    let (mut answered, mut made): (Vec<&Try>, Vec<&Try>) = (Vec::new(), Vec::new());
    let attempts = trials.flat_map(|record| &record.trial.attempts);
    for attempt in attempts.filter(|attempt| attempt.tier == Tier::Llm && !attempt.tries.is_empty()) {
        calls.calls += 1;
        calls.tries += attempt.tries.len();
        if attempt.failure.is_none() {
            calls.answered += 1;
            answered.extend(attempt.tries.last());
        }
        for one in &attempt.tries {
            calls.queue_s += one.queue_s.0;
            calls.doubted_counts += usize::from(one.usage_note.is_some());
            if one.wire.connect_s.is_some() {
                made.push(one);
            }
            if let Some(kind) = one.failure {
                let name = serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned));
                *calls.failed_tries.entry(name.unwrap_or_default()).or_default() += 1;
                calls.billed_failed_tries += usize::from(one.usage.is_some());
            }
        }
    }
    let spread = |tries: &[&Try], pick: fn(&Try) -> Option<crate::units::Seconds>| {
        Spread::of(&tries.iter().filter_map(|one| pick(one)).map(|time| time.0).collect::<Vec<_>>())
    };
    calls.connections = made.len();
    calls.dns_s = spread(&made, |one| one.wire.dns_s);
    calls.connect_s = spread(&made, |one| one.wire.connect_s);
    calls.tls_s = spread(&made, |one| one.wire.tls_s);
    calls.ttft_s = spread(&answered, |one| one.wire.first_token_s());
    calls.tpot_s = spread(&answered, Try::tpot_s);
    calls.total_s = spread(&answered, |one| Some(one.wire.end_s));
    (calls.calls > 0).then_some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{FailureKind, Usage, WireTimes};
    use crate::metrics::example;
    use crate::router::RouterKind;
    use crate::units::Seconds;

    #[test]
    fn calls_tries_and_times_are_counted_over_the_llm_alone() {
        let mut trial = example::escalated("HR Support", "Access");
        let wire = WireTimes {
            connect_s: Some(Seconds(0.25)),
            chunks_s: vec![Seconds(1.0), Seconds(2.0)],
            end_s: Seconds(3.0),
            ..WireTimes::default()
        };
        let usage = Some(Usage { output_tokens: 5, ..Usage::default() });
        let failed = Try { failure: Some(FailureKind::Server), usage, ..Try::default() };
        let good = Try { wire, usage, usage_note: Some("odd".into()), queue_s: Seconds(2.0), ..Try::default() };
        trial.attempts[0].tries = vec![Try::default()];
        trial.attempts[1].tries = vec![failed, good];
        let record = example::record(RouterKind::SlmDominant, "s1", trial, &example::target(), &example::header());
        let calls = remote_calls([&record].into_iter()).expect("a call");
        assert_eq!((calls.calls, calls.answered, calls.tries), (1, 1, 2));
        assert_eq!((calls.failed_tries["server"], calls.billed_failed_tries, calls.doubted_counts), (1, 1, 1));
        assert_eq!((calls.connections, calls.connect_s.p50, calls.dns_s.p50), (1, Some(0.25), None));
        assert_eq!((calls.ttft_s.p50, calls.tpot_s.p50, calls.total_s.p50), (Some(1.0), Some(0.25), Some(3.0)));
        assert_eq!((calls.queue_s, calls.total_s.p95), (2.0, None));
    }

    #[test]
    fn records_without_tries_have_no_such_figures() {
        let record = example::record(
            RouterKind::SlmDominant,
            "s1",
            example::escalated("HR Support", "Access"),
            &example::target(),
            &example::header(),
        );
        assert_eq!(remote_calls([&record].into_iter()), None);
    }
}
