//! The processor: what it can, how fast it runs now, whether it was held back, and who else uses it.

use super::{Roots, entries, number, text};
use serde::Serialize;

/// Instruction sets and the like that matter here, with whether the processor has them.
#[must_use]
pub fn features() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    let found = vec![
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = vec![
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = Vec::new();
    found
}

/// The version of NVIDIA's driver, where one is loaded.
#[must_use]
pub fn nvidia_driver(roots: &Roots) -> Option<String> {
    text(&roots.proc.join("driver/nvidia/version"))?.lines().next().map(str::to_owned)
}

/// How fast the processors run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frequency {
    /// The slowest processor's, in MHz.
    pub lowest_mhz: f64,
    /// The fastest processor's.
    pub highest_mhz: f64,
    /// What they may reach; `None` where the system does not tell.
    pub limit_mhz: Option<f64>,
    /// What decides on it, such as `performance` or `powersave`; `None` where the system does not tell.
    pub governor: Option<String>,
}

/// The processors' frequency now; `None` where the system does not tell.
#[must_use]
pub fn frequency(roots: &Roots) -> Option<Frequency> {
    let processors = entries(&roots.sys.join("devices/system/cpu"));
    let policies: Vec<_> = processors
        .iter()
        .filter(|(name, _)| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok()))
        .map(|(_, folder)| folder.join("cpufreq"))
        .collect();
    let of = |file: &str| -> Vec<f64> {
        policies.iter().filter_map(|policy| number(&policy.join(file))).map(|khz| khz as f64 / 1e3).collect()
    };
    let mut now = of("scaling_cur_freq");
    if now.is_empty() {
        // Virtual machines have no such files, but some of them a figure here.
        let info = text(&roots.proc.join("cpuinfo"))?;
        let lines = info.lines().filter_map(|line| line.strip_prefix("cpu MHz")?.split_once(':'));
        now = lines.filter_map(|(_, mhz)| mhz.trim().parse().ok()).collect();
    }
    Some(Frequency {
        lowest_mhz: now.iter().copied().min_by(f64::total_cmp)?,
        highest_mhz: now.iter().copied().max_by(f64::total_cmp)?,
        limit_mhz: of("scaling_max_freq").into_iter().max_by(f64::total_cmp),
        governor: policies.first().and_then(|policy| text(&policy.join("scaling_governor"))),
    })
}

/// How often the processors were held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// Events of heat since the machine was started, over all cores.
    pub events: u64,
}

/// How often heat held the processors back; `None` where the system does not tell.
#[must_use]
pub fn throttling(roots: &Roots) -> Option<Throttling> {
    let processors = entries(&roots.sys.join("devices/system/cpu"));
    let counts: Vec<u64> = processors
        .iter()
        .filter_map(|(_, folder)| number(&folder.join("thermal_throttle/core_throttle_count")))
        .collect();
    (!counts.is_empty()).then(|| Throttling { events: counts.iter().fold(0, |sum, count| sum.saturating_add(*count)) })
}

/// Who else wants the processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Load {
    /// Processes that ran or wanted to run, on average over the last minute, this one included.
    pub average_1m: f64,
    /// Share of the last ten seconds in which somebody waited for a processor; `None` where the system does not tell.
    pub waiting_share: Option<f64>,
    /// Ticks of all processors since the start, all and idle, and those that the host of a virtual machine took away.
    #[serde(skip)]
    pub ticks: Option<[u64; 3]>,
}

/// The load now; `None` where the system does not tell.
#[must_use]
pub fn load(roots: &Roots) -> Option<Load> {
    let average = text(&roots.proc.join("loadavg"))?.split_whitespace().next()?.parse().ok()?;
    let waiting = text(&roots.proc.join("pressure/cpu")).and_then(|text| {
        let value = text.lines().next()?.split_whitespace().find_map(|part| part.strip_prefix("avg10="))?;
        Some(value.parse::<f64>().ok()? / 100.0)
    });
    Some(Load { average_1m: average, waiting_share: waiting, ticks: ticks(roots) })
}

fn ticks(roots: &Roots) -> Option<[u64; 3]> {
    let stat = text(&roots.proc.join("stat"))?;
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; the guests' are in user already.
    let parts: Vec<u64> = line.split_whitespace().take(8).map_while(|part| part.parse().ok()).collect();
    let sum = parts.iter().fold(0u64, |sum, part| sum.saturating_add(*part));
    Some([sum, parts.get(3)?.saturating_add(*parts.get(4)?), parts.get(7).copied().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let roots = Roots { sys: place.path().join("sys"), proc: place.path().join("proc") };
        (place, roots)
    }

    #[test]
    fn frequency_limit_and_heat_are_those_of_all_processors() {
        let cpu = "sys/devices/system/cpu";
        let files: Vec<(String, &str)> = [
            ("cpu0/cpufreq/scaling_cur_freq", "1800000\n"),
            ("cpu1/cpufreq/scaling_cur_freq", "3600000\n"),
            ("cpu0/cpufreq/scaling_max_freq", "4200000\n"),
            ("cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("cpu0/thermal_throttle/core_throttle_count", "3\n"),
            ("cpu1/thermal_throttle/core_throttle_count", "4\n"),
            ("cpufreq/scaling_cur_freq", "1\n"),
        ]
        .map(|(name, text)| (format!("{cpu}/{name}"), text))
        .into();
        let files: Vec<_> = files.iter().map(|(name, text)| (&**name, *text)).collect();
        let (_place, roots) = roots(&files);
        let found = frequency(&roots).unwrap();
        assert_eq!((found.lowest_mhz, found.highest_mhz, found.limit_mhz), (1800.0, 3600.0, Some(4200.0)));
        assert_eq!(found.governor.as_deref(), Some("powersave"));
        assert_eq!(throttling(&roots), Some(Throttling { events: 7 }));
    }

    #[test]
    fn what_a_machine_does_not_tell_is_absent() {
        let (_place, roots) = roots(&[("proc/cpuinfo", "processor : 0\ncpu MHz\t\t: 2299.998\n")]);
        assert_eq!(frequency(&roots).unwrap().lowest_mhz, 2299.998);
        assert_eq!((throttling(&roots), load(&roots)), (None, None));
    }

    #[test]
    fn load_and_ticks_are_read() {
        let (_place, roots) = roots(&[
            ("proc/loadavg", "1.90 0.87 0.34 3/110 9103\n"),
            ("proc/pressure/cpu", "some avg10=9.90 avg60=7.57 avg300=3.37 total=1\nfull avg10=0.00\n"),
            ("proc/stat", "cpu  10 20 30 40 5 6 7 8 9 9\ncpu0 1 1 1 1\n"),
        ]);
        let load = load(&roots).unwrap();
        assert_eq!((load.average_1m, load.ticks), (1.9, Some([126, 45, 8])));
        assert!((load.waiting_share.unwrap() - 0.099).abs() < 1e-12);
    }
}
