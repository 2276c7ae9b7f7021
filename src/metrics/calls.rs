//! How the calls of the LLM went on the wire.

use super::row::Row;
use super::statistics::quantile;
use crate::engine::{FailureKind, Try};
use crate::router::Tier;
use crate::trial::Attempt;
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

/// What the figures need of one call of the LLM.
#[derive(Debug, Clone)]
pub(super) struct CallRow {
    answered: bool,
    tries: Box<[TryRow]>,
}

/// What they need of one request. Times are in seconds.
#[derive(Debug, Clone)]
struct TryRow {
    queue_s: f64,
    doubted: bool,
    billed: bool,
    failure: Option<FailureKind>,
    dns_s: Option<f64>,
    connect_s: Option<f64>,
    tls_s: Option<f64>,
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
    total_s: f64,
}

/// The calls of the LLM whose requests were recorded.
pub(super) fn call_rows(attempts: &[Attempt]) -> Box<[CallRow]> {
    let remote = attempts.iter().filter(|attempt| attempt.tier == Tier::Llm && !attempt.tries.is_empty());
    let row = |attempt: &Attempt| CallRow {
        answered: attempt.failure.is_none(),
        tries: attempt.tries.iter().map(try_row).collect(),
    };
    remote.map(row).collect()
}

fn try_row(one: &Try) -> TryRow {
    TryRow {
        queue_s: one.queue_s.0,
        doubted: one.usage_note.is_some(),
        billed: one.usage.is_some(),
        failure: one.failure,
        dns_s: one.wire.dns_s.map(|time| time.0),
        connect_s: one.wire.connect_s.map(|time| time.0),
        tls_s: one.wire.tls_s.map(|time| time.0),
        ttft_s: one.wire.first_token_s().map(|time| time.0),
        tpot_s: one.tpot_s().map(|time| time.0),
        total_s: one.wire.end_s.0,
    }
}

/// The calls of the LLM over all trials; `None` where none was recorded.
pub(super) fn remote_calls<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<RemoteCalls> {
    let mut calls = RemoteCalls::default();
    let (mut answered, mut made): (Vec<&TryRow>, Vec<&TryRow>) = (Vec::new(), Vec::new());
    for call in rows.flat_map(|row| &row.llm_calls) {
        calls.calls += 1;
        calls.tries += call.tries.len();
        if call.answered {
            calls.answered += 1;
            answered.extend(call.tries.last());
        }
        for one in &call.tries {
            calls.queue_s += one.queue_s;
            calls.doubted_counts += usize::from(one.doubted);
            if one.connect_s.is_some() {
                made.push(one);
            }
            if let Some(kind) = one.failure {
                let name = serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned));
                *calls.failed_tries.entry(name.unwrap_or_default()).or_default() += 1;
                calls.billed_failed_tries += usize::from(one.billed);
            }
        }
    }
    let spread = |tries: &[&TryRow], pick: fn(&TryRow) -> Option<f64>| {
        Spread::of(&tries.iter().filter_map(|one| pick(one)).collect::<Vec<_>>())
    };
    calls.connections = made.len();
    calls.dns_s = spread(&made, |one| one.dns_s);
    calls.connect_s = spread(&made, |one| one.connect_s);
    calls.tls_s = spread(&made, |one| one.tls_s);
    calls.ttft_s = spread(&answered, |one| one.ttft_s);
    calls.tpot_s = spread(&answered, |one| one.tpot_s);
    calls.total_s = spread(&answered, |one| Some(one.total_s));
    (calls.calls > 0).then_some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Usage, WireTimes};
    use crate::metrics::{Rows, example};
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
        let header = example::header();
        let record = example::record(RouterKind::SlmDominant, "s1", trial, &example::target(), &header);
        let calls = remote_calls(Rows::of(&header, &[record]).trials.iter()).expect("a call");
        assert_eq!((calls.calls, calls.answered, calls.tries), (1, 1, 2));
        assert_eq!((calls.failed_tries["server"], calls.billed_failed_tries, calls.doubted_counts), (1, 1, 1));
        assert_eq!((calls.connections, calls.connect_s.p50, calls.dns_s.p50), (1, Some(0.25), None));
        assert_eq!((calls.ttft_s.p50, calls.tpot_s.p50, calls.total_s.p50), (Some(1.0), Some(0.25), Some(3.0)));
        assert_eq!((calls.queue_s, calls.total_s.p95), (2.0, None));
    }

    #[test]
    fn records_without_tries_have_no_such_figures() {
        let (header, trial) = (example::header(), example::escalated("HR Support", "Access"));
        let record = example::record(RouterKind::SlmDominant, "s1", trial, &example::target(), &header);
        assert_eq!(remote_calls(Rows::of(&header, &[record]).trials.iter()), None);
    }
}
