//! One at a time works on this machine, while others wait for remote answers.
//!
//! Several trials in flight would slow one another's local work down and their latency would not be that of one request at a
//! time. So a trial works only while it holds the baton, hands it on while it waits for a remote answer, and what it waits to get
//! it back is no time of its own.

use crate::clock::Clock;
use std::sync::{Condvar, Mutex, PoisonError};

/// The baton; without trials in flight beside one another there is none.
#[derive(Debug, Default)]
pub struct Baton {
    /// Whether somebody holds it; `None` where there is no baton.
    held: Option<Mutex<bool>>,
    free: Condvar,
}

impl Baton {
    /// For trials that run one after the other, or whose work is not measured: nobody waits.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// For several trials in flight.
    #[must_use]
    pub fn one() -> Self {
        Self { held: Some(Mutex::default()), free: Condvar::new() }
    }

    fn take(&self) {
        let Some(held) = &self.held else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held {
            held = self.free.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held = true;
    }

    fn give(&self) {
        let Some(held) = &self.held else { return };
        *held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.free.notify_one();
    }

    /// Works with the baton in hand.
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        self.take();
        let _back = Back(self);
        work()
    }

    /// Lets others work meanwhile; what is waited for the baton afterwards is left out of the clock.
    pub fn aside<T>(&self, clock: &Clock, wait: impl FnOnce() -> T) -> T {
        if self.held.is_none() {
            return wait();
        }
        self.give();
        let value = wait();
        let waiting = clock.now();
        self.take();
        clock.leave_out(waiting);
        value
    }
}

/// Hands the baton on also where the work panics.
struct Back<'a>(&'a Baton);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.0.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seconds;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn one_at_a_time_works_while_the_others_wait_aside() {
        let (baton, at_work, aside) = (Baton::one(), AtomicUsize::new(0), AtomicUsize::new(0));
        let most_aside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let clock = Clock::skipping();
                    baton.with(|| {
                        assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::sleep(Duration::from_millis(2));
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        let start = clock.now();
                        baton.aside(&clock, || {
                            most_aside.fetch_max(aside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(60));
                            aside.fetch_sub(1, Ordering::SeqCst);
                        });
                        let took = clock.since(start);
                        assert!(took >= Seconds(0.06), "{took:?}");
                        assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::sleep(Duration::from_millis(20));
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        // The work of others is not in the time of the wait.
                        assert!(took < Seconds(0.5), "{took:?}");
                    });
                });
            }
        });
        assert!(most_aside.load(Ordering::SeqCst) > 1);
    }
}
