//! What is recorded of a remote call: each try, when its bytes moved, and what it was billed.

use super::{FailureKind, Usage};
use crate::clock::{Clock, Moment};
use crate::units::{Seconds, Usd};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many pieces of an answer are timed one by one; those after them are not.
const MOST_CHUNKS: usize = 4096;

/// When the bytes of one try moved. Parts that did not happen, or that could not be told apart, are `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WireTimes {
    /// Looking up the name; `None` for an address in digits, and where an open connection was used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_s: Option<Seconds>,
    /// Making the TCP connection, through a proxy where there is one; `None` where an open connection was used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_s: Option<Seconds>,
    /// The TLS handshake; `None` without TLS, and where an open connection was used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_s: Option<Seconds>,
    /// From the try's start until the whole request was handed to the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_s: Option<Seconds>,
    /// From the try's start to the first byte of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_s: Option<Seconds>,
    /// From the try's start to each piece of text, for the first thousands of them. The first is the first token. Empty for
    /// an answer that came whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks_s: Vec<Seconds>,
    /// From the try's start to its end.
    pub end_s: Seconds,
}

impl WireTimes {
    /// From the try's start to the first token; `None` for an answer that came whole, which does not tell.
    #[must_use]
    pub fn first_token_s(&self) -> Option<Seconds> {
        self.chunks_s.first().copied()
    }
}

/// One request of a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Try {
    /// The wait for our own limits of the rate before it.
    pub queue_s: Seconds,
    /// The wait before it that the failure of the try before asked for.
    pub backoff_s: Seconds,
    /// The status of the answer; `None` where none came.
    pub status: Option<u16>,
    /// When its bytes moved.
    pub wire: WireTimes,
    /// What it failed with; `None` for the try that was answered, and for one that found out an option that is unknown to
    /// the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureKind>,
    /// What the endpoint counted for it; `None` where it reported nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What contradicts the reported counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_note: Option<String>,
    /// What it cost, filled when the finished trial is billed; `None` where there is no price or no count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_usd: Option<Usd>,
}

impl Try {
    /// Time per output token: from the first token to the last piece of text, over the tokens after the first. `None` where
    /// the answer did not come in pieces, or the endpoint did not count.
    #[must_use]
    pub fn tpot_s(&self) -> Option<Seconds> {
        let (first, last) = (self.wire.chunks_s.first()?, self.wire.chunks_s.last()?);
        let tokens = self.usage?.output_tokens;
        (tokens > 1 && self.wire.chunks_s.len() > 1).then(|| Seconds((*last - *first).0 / (tokens - 1) as f64))
    }
}

/// Takes the time of a try while it is under way.
pub(super) struct Trace {
    clock: Clock,
    start: Moment,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    wire: WireTimes,
    status: Option<u16>,
    /// When TLS began.
    tls: Option<Moment>,
    usage: Option<Usage>,
    usage_note: Option<String>,
    sealed: bool,
}

impl Trace {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), start: clock.now(), seen: Mutex::default() }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) -> Seconds {
        micros(self.clock.since(self.start))
    }

    /// A name was looked up since `start`.
    pub(super) fn resolved(&self, start: Moment) {
        self.seen().wire.dns_s = Some(micros(self.clock.since(start)));
    }

    /// The TLS handshake begins.
    pub(super) fn tls_begins(&self) {
        self.seen().tls = Some(self.clock.now());
    }

    /// A connection was made since `start`, name look-up and TLS included.
    pub(super) fn connected(&self, start: Moment) {
        let now = self.clock.now();
        let mut seen = self.seen();
        // A connection that is finished after the try went another way is none of it.
        if seen.sealed || seen.wire.sent_s.is_some() {
            (seen.wire.dns_s, seen.tls) = (None, None);
            return;
        }
        let tls = seen.tls;
        let reached = tls.unwrap_or(now).since(start) - seen.wire.dns_s.unwrap_or_default();
        seen.wire.connect_s = Some(micros(Seconds(reached.0.max(0.0))));
        seen.wire.tls_s = tls.map(|begun| micros(now.since(begun)));
    }

    /// The request is with the connection.
    pub(super) fn sent(&self) {
        let passed = self.passed();
        self.seen().wire.sent_s = Some(passed);
    }

    pub(super) fn answered(&self, status: u16) {
        self.seen().status = Some(status);
    }

    /// Bytes of the body came.
    pub(super) fn bytes(&self) {
        let passed = self.passed();
        self.seen().wire.first_byte_s.get_or_insert(passed);
    }

    /// Text came.
    pub(super) fn text(&self) {
        let passed = self.passed();
        let mut seen = self.seen();
        if seen.wire.chunks_s.len() < MOST_CHUNKS {
            seen.wire.chunks_s.push(passed);
        }
    }

    /// The endpoint has counted so many tokens so far.
    pub(super) fn counted(&self, usage: Option<Usage>) {
        self.seen().usage = usage;
    }

    /// Its counts are contradicted.
    pub(super) fn doubt(&self, why: String) {
        self.seen().usage_note = Some(why);
    }

    /// The answer turned out to have come whole: its one moment is not that of a first token.
    pub(super) fn came_whole(&self) {
        self.seen().wire.chunks_s.clear();
    }

    /// The try is over.
    pub(super) fn end(&self, queue_s: Seconds, backoff_s: Seconds) -> Try {
        let end_s = self.passed();
        let mut seen = self.seen();
        seen.sealed = true;
        if seen.wire.sent_s.is_some() && seen.wire.connect_s.is_none() {
            seen.wire.dns_s = None;
        }
        let wire = WireTimes { end_s, ..std::mem::take(&mut seen.wire) };
        let (status, usage, usage_note) = (seen.status, seen.usage, seen.usage_note.take());
        Try { queue_s, backoff_s, status, wire, usage, usage_note, ..Try::default() }
    }
}

/// To the microsecond: what is beyond is noise, and thousands of moments are written.
fn micros(time: Seconds) -> Seconds {
    Seconds((time.0 * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_connection_are_told_apart_and_add_up() {
        let clock = Clock::fake();
        let trace = Trace::new(&clock);
        let start = clock.now();
        clock.advance(Seconds(0.5));
        trace.resolved(start);
        clock.advance(Seconds(0.25));
        trace.tls_begins();
        clock.advance(Seconds(0.125));
        trace.connected(start);
        trace.sent();
        trace.answered(200);
        clock.advance(Seconds(1.0));
        trace.bytes();
        for _ in 0..3 {
            trace.text();
            clock.advance(Seconds(0.5));
        }
        let mut done = trace.end(Seconds(3.0), Seconds::ZERO);
        let wire = &done.wire;
        assert_eq!(
            (wire.dns_s, wire.connect_s, wire.tls_s),
            (Some(Seconds(0.5)), Some(Seconds(0.25)), Some(Seconds(0.125)))
        );
        assert_eq!((wire.sent_s, wire.first_byte_s), (Some(Seconds(0.875)), Some(Seconds(1.875))));
        assert_eq!((wire.first_token_s(), wire.end_s), (Some(Seconds(1.875)), Seconds(3.375)));
        assert_eq!((done.status, done.queue_s), (Some(200), Seconds(3.0)));
        assert_eq!(done.tpot_s(), None, "nobody counted");
        done.usage = Some(Usage { output_tokens: 5, ..Usage::default() });
        assert_eq!(done.tpot_s(), Some(Seconds(0.25)));
    }

    #[test]
    fn a_connection_that_is_finished_late_is_none_of_the_try() {
        let clock = Clock::fake();
        let trace = Trace::new(&clock);
        let start = clock.now();
        trace.resolved(start);
        trace.sent();
        clock.advance(Seconds(1.0));
        trace.connected(start);
        let wire = trace.end(Seconds::ZERO, Seconds::ZERO).wire;
        assert_eq!((wire.dns_s, wire.connect_s, wire.tls_s), (None, None, None));
    }
}
