//! Energy: the machine's own counters, and what of them a piece of work took.
//!
//! Counted are the processors' packages and their memory (RAPL), an NVIDIA GPU that computes (NVML), on battery the whole machine (the
//! battery's gauge). Counters wrap
//! around; a reading adds what came since the one before, so that it only has to be read more often than that.

use super::{Roots, entries, number, text};
use crate::clock::Clock;
use crate::units::{Joules, Seconds};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How long an idle machine is watched.
const IDLE: Seconds = Seconds(2.0);
/// Microjoules of a joule.
const MICRO: f64 = 1e6;
/// Joules of a watt-hour.
const HOUR: f64 = 3600.0;

/// Where a figure of energy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Counters of the machine.
    Measured,
    /// The power that the user gave, times the time that the machine worked.
    Estimated,
}

/// What a run's energy was counted with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EnergySource {
    /// `None` is "not measured".
    pub basis: Option<Basis>,
    /// The counters that were added up, such as `package-0` and `dram`.
    #[serde(default)]
    pub counters: Vec<String>,
    /// Power of the loaded, resting machine by the same counters, before the first trial; `None` is "not measured".
    pub idle_watts: Option<f64>,
    /// Power that the user gave for an estimate.
    pub given_watts: Option<f64>,
    /// Why nothing was measured, or what is not in the figure.
    pub reason: Option<String>,
}

/// The machine's energy counters, read as one. Threads may share it.
#[derive(Debug)]
pub struct Meter {
    names: Vec<String>,
    reason: Option<String>,
    /// What takes energy and is not counted.
    missing: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    counters: Vec<Counter>,
    total: f64,
    /// What of the total was spent on work that is not to be counted.
    apart: f64,
    /// Why the counters can no longer be trusted.
    broken: Option<String>,
}

#[derive(Debug)]
struct Counter {
    name: String,
    kind: Kind,
    last: u64,
}

#[derive(Debug)]
enum Kind {
    /// Microjoules that grow up to a largest value and go on at zero.
    Rapl { path: PathBuf, range: u64 },
    /// Microwatt-hours, or microampere-hours at a voltage, that are left.
    Battery { folder: PathBuf },
    /// Millijoules of a GPU.
    #[cfg(target_os = "linux")]
    Gpu(super::nvml::Gpu),
}

impl Meter {
    /// The counters of a machine that can be read, with that of a GPU where `gpu` names one that works. Never fails: without any,
    /// [`Meter::reason`] says why.
    #[must_use]
    pub fn open(roots: &Roots, gpu: Option<&str>) -> Self {
        let (mut counters, mut refused) = rapl(&roots.sys);
        if counters.is_empty() {
            match battery(&roots.sys) {
                Ok(found) => counters.extend(found),
                Err(why) => refused.push(why),
            }
        }
        let missing = gpu.and_then(|name| match self::gpu(name) {
            Ok(counter) => {
                let alone = counters.is_empty();
                counters.push(counter);
                alone.then(|| format!("the processors' energy is not in it: {}", refused.join("; ")))
            }
            Err(why) => Some(format!("the energy of {name} is not in it: {why}")),
        });
        let reason = counters.is_empty().then(|| refused.join("; "));
        let names = counters.iter().map(|counter| counter.name.clone()).collect();
        Self { names, reason, missing, state: Mutex::new(State { counters, total: 0.0, apart: 0.0, broken: None }) }
    }

    /// No counters, for this reason.
    #[must_use]
    pub fn none(reason: &str) -> Self {
        let state = State { counters: Vec::new(), total: 0.0, apart: 0.0, broken: None };
        Self { names: Vec::new(), reason: Some(reason.to_owned()), missing: None, state: Mutex::new(state) }
    }

    /// The counters that are added up.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Why nothing is, or can no longer be, measured.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.clone().or_else(|| self.state().broken.clone())
    }

    /// What was counted since the meter was opened, without what was spent [`Meter::apart`]; `None` is "not measured".
    #[must_use]
    pub fn read(&self) -> Option<Joules> {
        let mut state = self.state();
        state.advance();
        (self.reason.is_none() && state.broken.is_none()).then(|| Joules(state.total - state.apart))
    }

    /// Does work whose energy is not to be counted.
    pub fn apart<T>(&self, work: impl FnOnce() -> T) -> T {
        self.state().advance();
        let before = self.state().total;
        let result = work();
        let mut state = self.state();
        state.advance();
        state.apart += state.total - before;
        result
    }

    /// The power in watts while `wait` passes.
    pub fn power(&self, clock: &Clock, wait: impl FnOnce()) -> Option<f64> {
        let (start, before) = (clock.now(), self.read()?);
        wait();
        let (spent, time) = (self.read()? - before, clock.since(start));
        (time.0 > 0.0).then(|| spent.0 / time.0)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn advance(&mut self) {
        for counter in &mut self.counters {
            match counter.advance() {
                Ok(joules) => self.total += joules,
                Err(why) => self.broken = Some(why),
            }
        }
    }
}

impl Counter {
    /// Joules since the reading before.
    fn advance(&mut self) -> Result<f64, String> {
        let now = self.kind.read().ok_or_else(|| format!("the counter {} could no longer be read", self.name))?;
        let last = std::mem::replace(&mut self.last, now);
        match &self.kind {
            Kind::Rapl { range, .. } => {
                let since = if now >= last { now - last } else { range.saturating_sub(last).saturating_add(now) };
                Ok(since as f64 / MICRO)
            }
            #[cfg(target_os = "linux")]
            Kind::Gpu(_) => match now.checked_sub(last) {
                Some(since) => Ok(since as f64 / 1e3),
                None => Err("the GPU's driver was loaded anew meanwhile".to_owned()),
            },
            Kind::Battery { .. } if now > last => Err("the battery was charged meanwhile".to_owned()),
            Kind::Battery { .. } => Ok((last - now) as f64 / MICRO * HOUR),
        }
    }
}

impl Kind {
    fn read(&self) -> Option<u64> {
        match self {
            Self::Rapl { path, .. } => number(path),
            #[cfg(target_os = "linux")]
            Self::Gpu(gpu) => gpu.millijoules(),
            Self::Battery { folder } => number(&folder.join("energy_now")).or_else(|| {
                let (charge, voltage) = (number(&folder.join("charge_now"))?, number(&folder.join("voltage_now"))?);
                Some((charge as f64 * voltage as f64 / MICRO) as u64)
            }),
        }
    }
}

/// The packages and their memory. `psys` holds the packages too, cores and graphics are parts of them, and `intel-rapl-mmio` is
/// another way to the same counter: added to them they would be counted twice.
fn rapl(sys: &Path) -> (Vec<Counter>, Vec<String>) {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let zones = entries(&sys.join("class/powercap"));
    for (zone, folder) in zones.iter().filter(|(zone, _)| zone.starts_with("intel-rapl:")) {
        let Some(name) = text(&folder.join("name")).filter(|name| name.starts_with("package") || name == "dram") else {
            continue;
        };
        let path = folder.join("energy_uj");
        let range = number(&folder.join("max_energy_range_uj")).filter(|&range| range > 0);
        match (number(&path), range) {
            (Some(last), Some(range)) => {
                found.push(Counter { name, kind: Kind::Rapl { path, range }, last });
            }
            _ => refused.push(format!("the counter {zone} ({name}) is there, but only root may read it")),
        }
    }
    if found.is_empty() && refused.is_empty() {
        refused.push(
            "this machine shows no RAPL counters, as most virtual machines and processors other than Intel's and AMD's"
                .to_owned(),
        );
    }
    (found, refused)
}

/// The battery, as long as the machine runs on it.
fn battery(sys: &Path) -> Result<Option<Counter>, String> {
    let supplies = entries(&sys.join("class/power_supply"));
    let is_battery = |(_, folder): &&(String, PathBuf)| {
        let of_system = text(&folder.join("scope")).is_none_or(|scope| scope == "System");
        of_system && text(&folder.join("type")).as_deref() == Some("Battery")
    };
    let Some((name, folder)) = supplies.iter().find(is_battery) else {
        return Err("it has no battery whose gauge could be read".to_owned());
    };
    if text(&folder.join("status")).as_deref() != Some("Discharging") {
        return Err("its battery is not discharging, so its gauge tells nothing: unplug the machine".to_owned());
    }
    let kind = Kind::Battery { folder: folder.clone() };
    let last = kind.read().ok_or_else(|| format!("the gauge of {name} cannot be read"))?;
    Ok(Some(Counter { name: format!("battery {name}"), kind, last }))
}

/// The counter of a GPU.
fn gpu(name: &str) -> Result<Counter, String> {
    #[cfg(target_os = "linux")]
    if name.starts_with("cuda") {
        let kind = Kind::Gpu(super::nvml::Gpu::open()?);
        let last = kind.read().ok_or("its counter cannot be read")?;
        return Ok(Counter { name: name.to_owned(), kind, last });
    }
    Err(format!("there is no counter for {name} on this system"))
}

/// The energy of a run: its meter, and what of the machine's power stands beside it.
#[derive(Debug)]
pub struct Energy {
    meter: Arc<Meter>,
    source: EnergySource,
}

impl Energy {
    /// Watches the resting machine where there is something to watch. `given_watts` is the user's estimate, which counts where
    /// nothing can be measured.
    #[must_use]
    pub fn start(meter: Arc<Meter>, given_watts: Option<f64>, clock: &Clock) -> Self {
        let idle_watts = meter.power(clock, || std::thread::sleep(std::time::Duration::from_secs_f64(IDLE.0)));
        Self::with_idle(meter, idle_watts, given_watts)
    }

    fn with_idle(meter: Arc<Meter>, idle_watts: Option<f64>, given_watts: Option<f64>) -> Self {
        let measured = meter.reason().is_none();
        let basis = if measured { Some(Basis::Measured) } else { given_watts.map(|_| Basis::Estimated) };
        let source = EnergySource {
            basis,
            counters: meter.names().to_vec(),
            idle_watts,
            given_watts: given_watts.filter(|_| !measured),
            reason: meter.reason().or_else(|| meter.missing.clone()),
        };
        Self { meter, source }
    }

    /// Nothing is measured, for this reason.
    #[must_use]
    pub fn none(reason: &str) -> Self {
        let meter = Arc::new(Meter::none(reason));
        Self { source: EnergySource { reason: Some(reason.to_owned()), ..EnergySource::default() }, meter }
    }

    /// What it is counted with; a meter that broke meanwhile says so.
    #[must_use]
    pub fn source(&self) -> EnergySource {
        EnergySource { reason: self.meter.reason().or_else(|| self.source.reason.clone()), ..self.source.clone() }
    }

    /// The counters.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// What was spent since a reading of the meter, or, where the user gave the power, what the machine took for so much work.
    #[must_use]
    pub fn since(&self, before: Option<Joules>, worked: Seconds) -> Option<Joules> {
        match self.source.basis? {
            Basis::Measured => Some(self.meter.read()? - before?),
            Basis::Estimated => Some(Joules(self.source.given_watts? * worked.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: u64 = 262_143_328_850;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    /// A laptop's counters as they were recorded: the package with its cores, the memory, the platform, and the same package by
    /// another way.
    fn recorded() -> (tempfile::TempDir, Roots) {
        let place = tempfile::tempdir().unwrap();
        let zone = |zone: &str, name: &str, energy: &str| {
            let folder = place.path().join("class/powercap").join(zone);
            write(&folder, &[("name", name), ("energy_uj", energy), ("max_energy_range_uj", &RANGE.to_string())]);
        };
        zone("intel-rapl:0", "package-0", "262143000000");
        zone("intel-rapl:0:0", "core", "1000");
        zone("intel-rapl:0:1", "dram", "5000000");
        zone("intel-rapl:1", "psys", "7");
        zone("intel-rapl-mmio:0", "package-0", "262143000000");
        let roots = Roots { sys: place.path().to_owned(), proc: place.path().join("proc") };
        (place, roots)
    }

    fn set(roots: &Roots, zone: &str, energy: u64) {
        let path = roots.sys.join("class/powercap").join(zone).join("energy_uj");
        std::fs::write(path, format!("{energy}\n")).unwrap();
    }

    #[test]
    fn a_package_and_its_memory_are_added_over_a_wrap_around_and_nothing_is_counted_twice() {
        let (_place, roots) = recorded();
        let meter = Meter::open(&roots, None);
        assert_eq!(meter.names(), ["package-0", "dram"]);
        assert_eq!(meter.read(), Some(Joules(0.0)));
        set(&roots, "intel-rapl:0:0", 900_000_000);
        set(&roots, "intel-rapl:1", 900_000_000);
        set(&roots, "intel-rapl:0:1", 6_500_000);
        // Past its end: 328,850 microjoules to it, 4,671,150 from zero on.
        set(&roots, "intel-rapl:0", 4_671_150);
        let read = meter.read().unwrap().0;
        assert!((read - (1.5 + 5.0)).abs() < 1e-9, "{read}");
        assert_eq!(meter.read(), Some(Joules(read)), "what was counted is not counted again");
        set(&roots, "intel-rapl:0", 1_000);
        let wrapped_again = meter.read().unwrap().0 - read;
        assert!((wrapped_again - (RANGE - 4_671_150 + 1_000) as f64 / 1e6).abs() < 1e-6, "{wrapped_again}");
    }

    #[test]
    fn idle_power_is_the_resting_machines_and_what_is_spent_apart_does_not_count() {
        let (_place, roots) = recorded();
        let meter = Meter::open(&roots, None);
        let clock = Clock::fake();
        let watts = meter.power(&clock, || {
            clock.advance(Seconds(2.0));
            set(&roots, "intel-rapl:0:1", 15_000_000);
        });
        assert_eq!(watts, Some(5.0));
        let energy = Energy::with_idle(Arc::new(meter), watts, Some(99.0));
        let source = energy.source();
        assert_eq!((source.basis, source.idle_watts, source.given_watts), (Some(Basis::Measured), Some(5.0), None));
        let before = energy.meter().read();
        set(&roots, "intel-rapl:0:1", 18_000_000);
        energy.meter().apart(|| set(&roots, "intel-rapl:0:1", 118_000_000));
        set(&roots, "intel-rapl:0:1", 119_000_000);
        let spent = energy.since(before, Seconds(1.0)).unwrap().0;
        assert!((spent - 4.0).abs() < 1e-9, "{spent}");
    }

    #[test]
    fn a_machine_without_counters_is_not_measured_and_only_a_given_power_makes_an_estimate() {
        let place = tempfile::tempdir().unwrap();
        let roots = Roots { sys: place.path().to_owned(), proc: place.path().to_owned() };
        let clock = Clock::fake();
        let none = Energy::start(Arc::new(Meter::open(&roots, None)), None, &clock);
        assert_eq!(none.since(none.meter().read(), Seconds(10.0)), None);
        let reason = none.source().reason.unwrap();
        assert!(reason.contains("no RAPL counters") && reason.contains("no battery"), "{reason}");
        let given = Energy::start(Arc::new(Meter::open(&roots, None)), Some(12.0), &clock);
        assert_eq!(given.since(None, Seconds(10.0)), Some(Joules(120.0)));
        let source = given.source();
        assert_eq!((source.basis, source.idle_watts), (Some(Basis::Estimated), None));
        assert!(source.reason.is_some(), "why it is an estimate is said");
    }

    #[test]
    fn a_counter_that_cannot_be_read_is_told_and_one_that_vanishes_ends_the_measurement() {
        let (_place, roots) = recorded();
        for zone in ["intel-rapl:0", "intel-rapl:0:1"] {
            std::fs::write(roots.sys.join("class/powercap").join(zone).join("energy_uj"), "").unwrap();
        }
        let meter = Meter::open(&roots, None);
        assert_eq!(meter.read(), None);
        assert!(meter.reason().unwrap().contains("intel-rapl:0:1 (dram) is there, but only root may read it"));

        let (_place, roots) = recorded();
        let meter = Meter::open(&roots, None);
        std::fs::remove_dir_all(roots.sys.join("class")).unwrap();
        assert_eq!(meter.read(), None);
        assert!(meter.reason().unwrap().contains("could no longer be read"));
    }

    #[test]
    fn a_gpu_without_a_counter_is_told_to_be_missing_from_what_is_counted() {
        let (_place, roots) = recorded();
        let meter = Meter::open(&roots, Some("metal"));
        assert_eq!(meter.names(), ["package-0", "dram"]);
        let reason = Energy::with_idle(Arc::new(meter), None, None).source().reason.unwrap();
        assert!(reason.contains("the energy of metal is not in it"), "{reason}");
    }

    #[test]
    fn a_battery_counts_while_it_discharges() {
        let place = tempfile::tempdir().unwrap();
        let roots = Roots { sys: place.path().to_owned(), proc: place.path().to_owned() };
        let folder = roots.sys.join("class/power_supply/BAT0");
        write(&folder, &[("type", "Battery"), ("status", "Charging"), ("energy_now", "50000000")]);
        assert!(Meter::open(&roots, None).reason().unwrap().contains("not discharging"));
        write(&folder, &[("status", "Discharging")]);
        let meter = Meter::open(&roots, None);
        assert_eq!(meter.names(), ["battery BAT0"]);
        write(&folder, &[("energy_now", "49990000")]);
        assert_eq!(meter.read(), Some(Joules(36.0)));
        write(&folder, &[("energy_now", "60000000")]);
        assert_eq!(meter.read(), None);
        assert!(meter.reason().unwrap().contains("was charged"));

        std::fs::remove_file(folder.join("energy_now")).unwrap();
        write(&folder, &[("charge_now", "4000000"), ("voltage_now", "12000000")]);
        let meter = Meter::open(&roots, None);
        write(&folder, &[("charge_now", "3999000")]);
        assert_eq!(meter.read(), Some(Joules(43.2)));
    }
}
