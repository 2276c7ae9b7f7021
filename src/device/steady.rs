//! Whether timings can be trusted: what else the machine did meanwhile, and what of the figures stands out.

use super::processor::{frequency, load, throttling};
use super::{Load, Roots};
use serde::{Deserialize, Serialize};

/// Times beyond the quartiles by more than so many times their distance are outliers (Tukey's fences).
const FENCE: f64 = 3.0;
/// Fewer figures have no outliers.
const FEWEST: usize = 8;
/// Load of others, in processors, that is told.
const TOLD_LOAD: f64 = 0.3;
/// Share of the time that a host took away that is told.
const TOLD_STEAL: f64 = 0.02;
/// Loss of frequency that is told.
const TOLD_SLOWER: f64 = 0.1;

/// What disturbed a measurement, as far as the machine tells.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Steadiness {
    /// Load average before it began; `None` where the system does not tell.
    pub load_before: Option<f64>,
    /// Share of processor time that the host of a virtual machine gave to others meanwhile.
    pub stolen_share: Option<f64>,
    /// Frequency of the slowest processor before and after, in MHz.
    pub mhz: Option<(f64, f64)>,
    /// Times that heat held a core back meanwhile.
    pub throttled: Option<u64>,
    /// How much longer the first measurement took when it was taken again at the end, as a share; `None` where it was not.
    #[serde(default)]
    pub drift: Option<f64>,
    /// What of it a reader must know.
    pub notes: Vec<String>,
}

/// Watches the machine during a measurement.
#[derive(Debug)]
pub struct Watch {
    roots: Roots,
    load: Option<Load>,
    mhz: Option<f64>,
    throttled: Option<u64>,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn start(roots: &Roots) -> Self {
        Self {
            load: load(roots),
            mhz: frequency(roots).map(|frequency| frequency.lowest_mhz),
            throttled: throttling(roots).map(|throttling| throttling.events),
            roots: roots.clone(),
        }
    }

    /// What was seen since.
    #[must_use]
    pub fn end(&self) -> Steadiness {
        let ticks = |load: Option<Load>| load.and_then(|load| load.ticks);
        let stolen_share = ticks(self.load).zip(ticks(load(&self.roots))).and_then(|(before, after)| {
            let [all, stolen] = [0, 2].map(|part| after[part].saturating_sub(before[part]));
            (all > 0).then(|| stolen as f64 / all as f64)
        });
        let mhz = self.mhz.zip(frequency(&self.roots).map(|frequency| frequency.lowest_mhz));
        let events = self.throttled.zip(throttling(&self.roots));
        let throttled = events.map(|(before, after)| after.events.saturating_sub(before));
        let load_before = self.load.map(|load| load.average_1m);
        let mut notes = Vec::new();
        if let Some(load) = load_before.filter(|&load| load > TOLD_LOAD) {
            notes.push(format!(
                "the machine was at work before this began (load average {load:.2}): timings may be too long"
            ));
        }
        if let Some(share) = stolen_share.filter(|&share| share > TOLD_STEAL) {
            notes.push(format!(
                "the host of this virtual machine took {:.0} % of its processor time away",
                share * 100.0
            ));
        }
        if let Some((before, after)) = mhz.filter(|(before, after)| *after < *before * (1.0 - TOLD_SLOWER)) {
            notes.push(format!("the processors slowed down from {before:.0} to {after:.0} MHz meanwhile"));
        }
        if let Some(times) = throttled.filter(|&times| times > 0) {
            notes.push(format!("heat held the processors back {times} times meanwhile"));
        }
        Steadiness { load_before, stolen_share, mhz, throttled, drift: None, notes }
    }
}

impl Steadiness {
    /// Adds how much longer the first measurement took at the end.
    #[must_use]
    pub fn with_drift(mut self, drift: Option<f64>) -> Self {
        if let Some(share) = drift.filter(|share| share.abs() > TOLD_SLOWER) {
            self.notes.push(format!(
                "the same call took {:+.0} % at the end of what it took at the beginning: later trials were timed on another machine, \
                 as it were",
                share * 100.0
            ));
        }
        self.drift = drift;
        self
    }
}

/// The places of values that lie far outside of the others.
#[must_use]
pub fn outliers(values: &[f64]) -> Vec<usize> {
    if values.len() < FEWEST {
        return Vec::new();
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let (low, high) = (at(0.25), at(0.75));
    let reach = FENCE * (high - low);
    let outside = |&(_, value): &(usize, &f64)| *value < low - reach || *value > high + reach;
    values.iter().enumerate().filter(outside).map(|(place, _)| place).collect()
}

/// How many of the first times belong to a warm-up: each of them longer than the slowest but one of the later half.
#[must_use]
pub fn warm_up(times: &[f64]) -> usize {
    let mut later = times.get(times.len() / 2..).unwrap_or_default().to_vec();
    if later.len() < 3 {
        return 0;
    }
    later.sort_unstable_by(f64::total_cmp);
    let usual = later[later.len() - 2];
    times.iter().take(times.len() / 2).take_while(|time| **time > usual * (1.0 + TOLD_SLOWER)).count()
}

/// How much more the last of the same measurement took than the first, as a share of it.
#[must_use]
pub fn drift(first: f64, last: f64) -> Option<f64> {
    (first > 0.0 && last.is_finite()).then(|| last / first - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(roots: &Roots, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = roots.sys.parent().unwrap().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn what_disturbs_is_told_with_its_measure() {
        let place = tempfile::tempdir().unwrap();
        let roots = Roots { sys: place.path().join("sys"), proc: place.path().join("proc") };
        let (freq, heat) = (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
        );
        write(
            &roots,
            &[
                ("proc/loadavg", "1.50 1 1 1/1 1\n"),
                ("proc/stat", "cpu 100 0 0 100 0 0 0 0\n"),
                (freq, "3000000\n"),
                (heat, "1\n"),
            ],
        );
        let watch = Watch::start(&roots);
        write(&roots, &[("proc/stat", "cpu 150 0 0 140 0 0 0 10\n"), (freq, "2000000\n"), (heat, "6\n")]);
        let seen = watch.end();
        assert_eq!((seen.load_before, seen.stolen_share, seen.throttled), (Some(1.5), Some(0.1), Some(5)));
        assert_eq!(seen.notes.len(), 4, "{:?}", seen.notes);
        assert!(seen.notes[2].contains("from 3000 to 2000 MHz"), "{:?}", seen.notes);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_not_called_steady_or_unsteady() {
        let place = tempfile::tempdir().unwrap();
        let roots = Roots { sys: place.path().join("sys"), proc: place.path().join("proc") };
        assert_eq!(Watch::start(&roots).end(), Steadiness::default());
    }

    #[test]
    fn outliers_lie_far_from_the_quartiles() {
        let mut values = vec![1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.1, 0.9];
        assert!(outliers(&values).is_empty());
        values.insert(4, 9.0);
        assert_eq!(outliers(&values), [4]);
        assert!(outliers(&[1.0, 100.0]).is_empty(), "two figures tell nothing");
    }

    #[test]
    fn slow_rounds_at_the_beginning_are_a_warm_up_and_slow_ones_later_are_not() {
        assert_eq!(warm_up(&[3.0, 2.0, 1.0, 1.0, 1.1, 1.0, 0.9]), 2);
        assert_eq!(warm_up(&[1.0, 1.0, 1.0, 3.0, 1.1, 1.0, 0.9]), 0);
        assert_eq!(warm_up(&[9.0, 1.0, 1.0]), 0, "too few to tell");
    }

    #[test]
    fn drift_is_a_share_of_the_first() {
        assert!((drift(2.0, 2.5).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(drift(0.0, 1.0), None);
    }
}
