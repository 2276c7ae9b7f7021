//! The only reader of time, and the spans that it measures.
//!
//! A [`Clock`] is real or fake; everything that is timed takes one, so that timing code is tested without waiting.

use crate::units::Seconds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of monotonic time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Real(Instant),
    /// Real time, and what was skipped, in nanoseconds.
    Skipping(Instant, Arc<AtomicU64>),
    Fake(Arc<AtomicU64>),
}

/// A point in the time of one [`Clock`], in nanoseconds since that clock was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Clock {
    /// The machine's monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    pub fn real() -> Self {
        Self(Source::Real(Instant::now()))
    }

    /// The machine's monotonic clock, which [`Clock::advance`] moves forward too: for the times of a recording, which nobody
    /// waits for.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
    pub fn skipping() -> Self {
        Self(Source::Skipping(Instant::now(), Arc::new(AtomicU64::new(0))))
    }

    /// A clock that moves only by [`Clock::advance`].
    #[must_use]
    pub fn fake() -> Self {
        Self(Source::Fake(Arc::new(AtomicU64::new(0))))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::Real(origin) => Moment(nanos_since(origin)),
            Source::Skipping(origin, skipped) => {
                Moment(nanos_since(origin).wrapping_add(skipped.load(Ordering::SeqCst)))
            }
            Source::Fake(nanos) => Moment(nanos.load(Ordering::SeqCst)),
        }
    }

    /// The time since `start`.
    #[must_use]
    pub fn since(&self, start: Moment) -> Seconds {
        self.now().since(start)
    }

    /// Moves a fake or a skipping clock forward; a real clock is not moved.
    pub fn advance(&self, by: Seconds) {
        if let Source::Fake(nanos) | Source::Skipping(_, nanos) = &self.0 {
            nanos.fetch_add((by.0 * 1e9) as u64, Ordering::SeqCst);
        }
    }

    /// Takes time that has passed since `start` out of a fake or a skipping clock, as if it had not passed: what a trial waited
    /// for the work of others is none of its own. A real clock is not moved.
    pub fn leave_out(&self, start: Moment) {
        if let Source::Fake(nanos) | Source::Skipping(_, nanos) = &self.0 {
            // Wraps where less was skipped so far than is taken out; the sum with the real time does not.
            nanos.fetch_sub(self.now().0.saturating_sub(start.0), Ordering::SeqCst);
        }
    }
}

fn nanos_since(origin: &Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Moment {
    /// The time from `earlier` to this moment, never negative.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0) as f64 / 1e9)
    }
}

/// Seconds since the Unix epoch, for names and provenance, never for durations.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
pub fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// `seconds` since the Unix epoch as `YYYY-MM-DDTHH:MM:SSZ` (proleptic Gregorian calendar, UTC).
#[must_use]
pub fn utc_string(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The components that a trial's time is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Memory: the query's embedding.
    Embed,
    /// Memory: scoring and ordering what there is. Records of before memory was divided have all of it here.
    #[serde(alias = "memory")]
    Search,
    /// Memory: choosing from what was found.
    Gate,
    /// Memory: fetching the texts and counting their tokens.
    Assemble,
    /// The router's decisions, safety inspection and confidence included.
    Routing,
    /// Assembling messages and rendering the chat template.
    Prompt,
    /// Text to token ids.
    Tokenise,
    /// The forward pass over the prompt.
    Prefill,
    /// Token by token generation.
    Decode,
    /// Compiling a grammar, and asking it which tokens may come next.
    Constrain,
    /// Waiting for our own limits of the rate of remote calls.
    Queue,
    /// A remote call from connecting to the last byte, the endpoint's own compute included.
    Network,
    /// Extracting and validating the answer.
    Contract,
    /// Scoring against the gold target, after the answer is fixed.
    Scoring,
}

impl Component {
    /// Every component, in the order of the flow.
    pub const ALL: [Self; 14] = [
        Self::Embed,
        Self::Search,
        Self::Gate,
        Self::Assemble,
        Self::Routing,
        Self::Prompt,
        Self::Tokenise,
        Self::Prefill,
        Self::Decode,
        Self::Constrain,
        Self::Queue,
        Self::Network,
        Self::Contract,
        Self::Scoring,
    ];

    /// The name used in tables and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Search => "search",
            Self::Gate => "gate",
            Self::Assemble => "assemble",
            Self::Routing => "routing",
            Self::Prompt => "prompt",
            Self::Tokenise => "tokenise",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Constrain => "constrain",
            Self::Queue => "queue",
            Self::Network => "network",
            Self::Contract => "contract",
            Self::Scoring => "scoring",
        }
    }
}

/// Time spent by component. Serialised as an object of seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spans(BTreeMap<Component, Seconds>);

impl Spans {
    /// Adds `time` to a component.
    pub fn add(&mut self, component: Component, time: Seconds) {
        *self.0.entry(component).or_default() += time;
    }

    /// Adds every span of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (&component, &time) in &other.0 {
            self.add(component, time);
        }
    }

    /// Runs `work` and books its time on a component.
    pub fn time<T>(&mut self, clock: &Clock, component: Component, work: impl FnOnce() -> T) -> T {
        let start = clock.now();
        let value = work();
        self.add(component, clock.since(start));
        value
    }

    /// The time of one component; zero when nothing was booked on it.
    #[must_use]
    pub fn get(&self, component: Component) -> Seconds {
        self.0.get(&component).copied().unwrap_or_default()
    }

    /// The sum over all components.
    #[must_use]
    pub fn total(&self) -> Seconds {
        self.0.values().copied().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_measured_on_a_fake_clock_add_up() {
        let clock = Clock::fake();
        let start = clock.now();
        let mut spans = Spans::default();
        spans.time(&clock, Component::Prefill, || clock.advance(Seconds(2.0)));
        spans.time(&clock, Component::Decode, || clock.advance(Seconds(1.0)));
        spans.time(&clock, Component::Decode, || clock.advance(Seconds(0.5)));
        assert_eq!(spans.get(Component::Decode), Seconds(1.5));
        assert_eq!(spans.total(), clock.since(start));
    }

    #[test]
    fn a_skipping_clock_goes_on_by_itself_and_by_what_is_skipped() {
        let clock = Clock::skipping();
        let start = clock.now();
        clock.advance(Seconds(1000.0));
        let passed = clock.since(start).0;
        assert!((1000.0..1010.0).contains(&passed), "{passed}");
        assert!(clock.now() >= start);
        Clock::real().advance(Seconds(1000.0));
    }

    #[test]
    fn what_is_left_out_has_not_passed() {
        let clock = Clock::skipping();
        let start = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(30));
        clock.leave_out(start);
        let left = clock.since(start).0;
        assert!((0.0..0.02).contains(&left), "{left}");
        clock.advance(Seconds(5.0));
        assert!((5.0..5.1).contains(&clock.since(start).0));
    }

    #[test]
    fn dates_are_written_in_utc() {
        assert_eq!(utc_string(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_string(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc_string(1_763_942_400), "2025-11-24T00:00:00Z");
    }
}
