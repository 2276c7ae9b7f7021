//! The same short call of the SLM before the first trial and after the last: whether the machine became slower or faster meanwhile.

use crate::clock::Clock;
use crate::device;
use crate::engine::{Engine, Request};
use std::sync::Arc;

/// Tokens of an answer: generated from a prompt that is kept, so that every call does the same.
const TOKENS: usize = 8;
/// How often it is made; the median counts.
const TIMES: usize = 3;

/// A call, and how long it took at first.
pub(super) struct Pulse {
    engine: Arc<dyn Engine>,
    request: Request,
    first: Option<f64>,
}

impl Pulse {
    /// Makes the call for the first time.
    pub(super) fn start(engine: Arc<dyn Engine>, request: Request, clock: &Clock) -> Self {
        let mut pulse = Self { engine, request: Request { max_tokens: TOKENS, ..request }, first: None };
        pulse.first = pulse.measure(clock);
        pulse
    }

    /// How much longer it takes now, as a share; `None` where a call failed.
    pub(super) fn drift(&self, clock: &Clock) -> Option<f64> {
        device::drift(self.first?, self.measure(clock)?)
    }

    fn measure(&self, clock: &Clock) -> Option<f64> {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let start = clock.now();
            self.engine.complete(&self.request).ok()?;
            times.push(clock.since(start).0);
        }
        times.sort_unstable_by(f64::total_cmp);
        times.get(TIMES / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Reply, ScriptedEngine};
    use crate::nn::chat::Message;
    use crate::units::Seconds;

    fn pulse(times: &[f64]) -> (Pulse, Clock) {
        let clock = Clock::fake();
        let reply = |&time: &f64| Reply::new("yes", -0.5).local_time(Seconds::ZERO, Seconds(time));
        let engine = ScriptedEngine::queue("small", clock.clone(), times.iter().map(reply).map(Ok));
        let request = Request {
            messages: vec![Message::new("user", "Hello")],
            max_tokens: 1,
            temperature: 0.0,
            seed: 0,
            top_logprobs: 0,
            cache_scope: None,
            grammar: None,
        };
        (Pulse::start(Arc::new(engine), request, &clock), clock)
    }

    #[test]
    fn drift_is_that_of_the_medians() {
        let (pulse, clock) = pulse(&[1.0, 9.0, 1.0, 1.5, 1.5, 0.1]);
        assert!((pulse.drift(&clock).unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_call_that_fails_leaves_it_unknown() {
        let (pulse, clock) = pulse(&[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(pulse.drift(&clock), None);
    }
}
