//! How much an endpoint is asked, and when it is no longer asked at all.

use super::FailureKind;
use super::endpoint::Limits;
use super::failure::Fault;
use crate::clock::{Clock, Moment};
use crate::units::Seconds;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

/// A rate: what is spent pushes the moment from which more may be spent. So spending is spread evenly, and no minute sees more
/// than the rate and one request's share.
#[derive(Debug)]
struct Rate {
    seconds_each: f64,
    /// Seconds since the pace began.
    free_at: f64,
}

impl Rate {
    fn new(per_minute: u32) -> Self {
        Self { seconds_each: 60.0 / f64::from(per_minute.max(1)), free_at: 0.0 }
    }

    /// When `amount` may be spent, which is then spent.
    fn spend(&mut self, now: f64, amount: f64) -> f64 {
        let at = self.free_at.max(now);
        self.free_at = at + amount * self.seconds_each;
        at
    }
}

/// Keeps an endpoint's [`Limits`].
pub(super) struct Pace {
    clock: Clock,
    begun: Moment,
    slots: Semaphore,
    rates: Mutex<Rates>,
    breaker: Mutex<Breaker>,
    failures_in_a_row: u32,
}

struct Rates {
    requests: Option<Rate>,
    tokens: Option<Rate>,
}

#[derive(Default)]
struct Breaker {
    in_a_row: u32,
    /// What the last of them said, once there were too many.
    open: Option<String>,
}

impl Pace {
    pub(super) fn new(limits: &Limits, clock: &Clock) -> Self {
        let rates = Rates {
            requests: limits.requests_per_minute.map(Rate::new),
            tokens: limits.tokens_per_minute.map(Rate::new),
        };
        Self {
            clock: clock.clone(),
            begun: clock.now(),
            slots: Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            rates: Mutex::new(rates),
            breaker: Mutex::default(),
            failures_in_a_row: limits.failures_in_a_row.max(1),
        }
    }

    /// Waits for a place among the calls under way. Returns how long that took.
    pub(super) async fn enter(&self) -> (Option<SemaphorePermit<'_>>, Seconds) {
        if let Ok(place) = self.slots.try_acquire() {
            return (Some(place), Seconds::ZERO);
        }
        let start = self.clock.now();
        // It is never closed; were it, nothing would be held back.
        let place = self.slots.acquire().await.ok();
        (place, self.clock.since(start))
    }

    /// Waits until a request of so many tokens, as far as they are known, may be sent. Returns how long that took.
    pub(super) async fn wait(&self, tokens: u64) -> Seconds {
        let start = self.clock.now();
        let now = start.since(self.begun).0;
        let at = {
            let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            let requests = rates.requests.as_mut().map_or(now, |rate| rate.spend(now, 1.0));
            let tokens = rates.tokens.as_mut().map_or(now, |rate| rate.spend(now, tokens as f64));
            requests.max(tokens)
        };
        if at <= now {
            return Seconds::ZERO;
        }
        sleep(Duration::try_from_secs_f64(at - now).unwrap_or(Duration::MAX)).await;
        self.clock.since(start)
    }

    /// Puts the tokens that a request took in the place of those that were expected.
    pub(super) fn settle(&self, expected: u64, taken: u64) {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = &mut rates.tokens {
            rate.free_at += (taken as f64 - expected as f64) * rate.seconds_each;
        }
    }

    /// Refuses a call of an endpoint that was given up.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match &breaker.open {
            None => Ok(()),
            Some(last) => Err(Fault::new(
                FailureKind::GivenUp,
                format!(
                    "was not made, because {} calls in a row failed and the endpoint is taken to be gone; the last one {last}",
                    self.failures_in_a_row
                ),
            )),
        }
    }

    /// Hears how a call ended.
    pub(super) fn heard(&self, fault: Option<&Fault>) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) if says_gone(fault.kind) => {
                breaker.in_a_row += 1;
                if breaker.in_a_row >= self.failures_in_a_row {
                    breaker.open.get_or_insert_with(|| fault.message.clone());
                }
            }
            // The user's doing, which says nothing of the endpoint.
            Some(fault)
                if matches!(fault.kind, FailureKind::Interrupted | FailureKind::GivenUp | FailureKind::Offline) => {}
            _ => breaker.in_a_row = 0,
        }
    }
}

/// Whether a failure is one of the endpoint as a whole, not of one request.
fn says_gone(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Connect
            | FailureKind::Timeout
            | FailureKind::Auth
            | FailureKind::RateLimited
            | FailureKind::Server
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(kind: FailureKind) -> Fault {
        Fault::new(kind, "was lost")
    }

    #[test]
    fn an_endpoint_is_given_up_after_failures_in_a_row_and_not_for_what_one_request_did() {
        let pace = Pace::new(&Limits { failures_in_a_row: 3, ..Limits::default() }, &Clock::fake());
        let fail = |kind| pace.heard(Some(&fault(kind)));
        for _ in 0..2 {
            fail(FailureKind::Connect);
            fail(FailureKind::Server);
            pace.heard(None);
        }
        for _ in 0..9 {
            fail(FailureKind::Rejected);
        }
        assert!(pace.check().is_ok());
        fail(FailureKind::Timeout);
        fail(FailureKind::Interrupted);
        fail(FailureKind::Auth);
        assert!(pace.check().is_ok());
        fail(FailureKind::Connect);
        let refused = pace.check().unwrap_err();
        assert_eq!(refused.kind, FailureKind::GivenUp);
        assert!(
            refused.message.contains("3 calls in a row") && refused.message.contains("was lost"),
            "{}",
            refused.message
        );
        pace.heard(None);
        assert!(pace.check().is_err(), "a late answer does not bring it back");
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_than_the_rate_and_one_request(
            per_minute in 1_u32..600,
            asks in prop::collection::vec((0.0..3.0_f64, 1_u32..50), 1..200),
        ) {
            let mut rate = Rate::new(per_minute);
            let mut now = 0.0;
            let mut spent: Vec<(f64, f64)> = Vec::new();
            for (pause, amount) in asks {
                now += pause;
                let at = rate.spend(now, f64::from(amount));
                prop_assert!(at >= now);
                spent.push((at, f64::from(amount)));
            }
            for (index, (start, _)) in spent.iter().enumerate() {
                let within: Vec<f64> = spent[index..].iter().filter(|(at, _)| at - start < 60.0).map(|(_, n)| *n).collect();
                let largest = within.iter().copied().fold(0.0, f64::max);
                prop_assert!(within.iter().sum::<f64>() <= f64::from(per_minute) + largest + 1e-6);
            }
        }
    }
}
