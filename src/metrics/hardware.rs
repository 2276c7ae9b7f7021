//! What a machine costs: profiles of devices, the program's examples and the user's own.

use crate::error::{Context, Result, usage};
use crate::files;
use crate::record::HardwarePrice;
use serde::Deserialize;
use std::path::Path;

const DEVICES: &str = include_str!("../../models/devices.toml");

/// Longer files are no profile.
const LONGEST_FILE: u64 = 1 << 20;
const HOURS_OF_YEAR: f64 = 8766.0;
const HOURS_OF_DAY: f64 = 24.0;

/// A row `[[hardware]]`: a rate and how it comes about, a device that is hired, or one that is owned.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HardwareRow {
    pub(super) name: String,
    as_of: Option<String>,
    usd_per_hour: Option<f64>,
    basis: Option<String>,
    price: Option<f64>,
    lifetime_years: Option<f64>,
    utilisation: Option<f64>,
    watts: Option<f64>,
    tariff_per_kwh: Option<f64>,
    currency: Option<String>,
    usd_per_unit: Option<f64>,
    assumption: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    hardware: Vec<HardwareRow>,
}

/// The example devices of this program.
pub(super) fn built_in() -> Result<Vec<HardwarePrice>> {
    rows(DEVICES).context("reading the devices of models/devices.toml")
}

/// The one device of a user's file.
pub(super) fn of_file(path: &Path) -> Result<HardwarePrice> {
    let shown = path.display();
    let bytes = files::read(path, LONGEST_FILE).map_err(|error| usage(format!("--hardware: {error:#}")))?;
    let text = String::from_utf8(bytes).map_err(|_| usage(format!("--hardware {shown} is not UTF-8 text")))?;
    let mut rows = rows(&text).map_err(|error| usage(format!("--hardware {shown}: {error:#}")))?;
    match (rows.pop(), rows.len()) {
        (Some(row), 0) => Ok(row),
        (_, others) => Err(usage(format!(
            "--hardware {shown} holds {} devices: leave one [[hardware]] in it, such as those of models/devices.toml",
            if others == 0 { 0 } else { others + 1 }
        ))),
    }
}

fn rows(text: &str) -> Result<Vec<HardwarePrice>> {
    let profiles: Profiles = toml::from_str(text).map_err(|error| usage(crate::error::toml_reason(&error, text)))?;
    profiles.hardware.into_iter().map(HardwareRow::price).collect()
}

impl HardwareRow {
    /// What the row means in dollars.
    pub(super) fn price(self) -> Result<HardwarePrice> {
        let name = self.name.clone();
        self.worked_out().map_err(|why| usage(format!("the device `{name}` {why}")))
    }

    fn worked_out(self) -> Result<HardwarePrice, String> {
        let figures = [
            ("usd_per_hour", self.usd_per_hour, 0.0),
            ("price", self.price, 0.0),
            ("lifetime_years", self.lifetime_years, 0.01),
            ("utilisation", self.utilisation, 0.0001),
            ("watts", self.watts, 0.0),
            ("tariff_per_kwh", self.tariff_per_kwh, 0.0),
            ("usd_per_unit", self.usd_per_unit, 1e-9),
        ];
        for (key, value, least) in figures {
            if value.is_some_and(|value| !value.is_finite() || value < least) {
                return Err(format!("has a `{key}` that is not a number from {least} up"));
            }
        }
        if self.utilisation.is_some_and(|share| share > 1.0) {
            return Err("has a `utilisation` above 1: it is the share of all hours that are worked".to_owned());
        }
        let currency = self.currency.as_deref().unwrap_or("USD");
        let rate = match (currency, self.usd_per_unit) {
            ("USD", None) => 1.0,
            ("USD", Some(_)) => return Err("gives `usd_per_unit` for dollars: leave it out".to_owned()),
            (_, Some(rate)) => rate,
            (_, None) => return Err(format!("is in {currency}: say with `usd_per_unit` what one is in dollars")),
        };
        let as_of = self.as_of.as_ref().map_or_else(String::new, |date| format!("as of {date}; "));
        let assumption = self.basis.or(self.assumption).unwrap_or_default();
        let (usd_per_hour, usd_per_day, how) = match (self.usd_per_hour, self.price, self.lifetime_years) {
            (Some(hourly), None, None) if self.utilisation.is_none() => (hourly, hourly * HOURS_OF_DAY, String::new()),
            (None, Some(price), Some(years)) => {
                let share = self.utilisation.unwrap_or(1.0);
                let hours = years * HOURS_OF_YEAR;
                let how =
                    format!("{price} {currency} over {years} years, at work {:.0} % of the time; ", share * 100.0);
                (price * rate / (hours * share), price * rate / hours * HOURS_OF_DAY, how)
            }
            _ => {
                return Err(
                    "needs either `usd_per_hour`, or `price` and `lifetime_years` with `utilisation`".to_owned()
                );
            }
        };
        let power = match (self.watts, self.tariff_per_kwh) {
            (Some(watts), Some(tariff)) => format!("{watts} W at {tariff} {currency} for a kWh; "),
            (None, Some(tariff)) => format!("measured energy at {tariff} {currency} for a kWh; "),
            (Some(_), None) => return Err("has `watts` and no `tariff_per_kwh`".to_owned()),
            (None, None) => String::new(),
        };
        Ok(HardwarePrice {
            name: self.name,
            usd_per_hour,
            usd_per_day: Some(usd_per_day),
            watts: self.watts,
            usd_per_kwh: self.tariff_per_kwh.map(|tariff| tariff * rate),
            basis: format!("{as_of}{how}{power}{assumption}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;
    use proptest::prelude::*;

    fn one(keys: &str) -> Result<HardwarePrice> {
        let mut rows = rows(&format!("[[hardware]]\nname = \"mine\"\n{keys}\n"))?;
        Ok(rows.remove(0))
    }

    #[test]
    fn the_examples_are_a_dozen_or_more_dated_and_say_what_they_assume() {
        let devices = built_in().unwrap();
        assert!(devices.len() >= 12);
        for device in &devices {
            assert!(device.basis.starts_with("as of 20") && device.basis.len() > 40, "{device:?}");
            assert!(device.usd_per_hour > 0.0 && device.usd_per_day.is_some(), "{device:?}");
        }
        let mut names: Vec<_> = devices.iter().map(|device| &device.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), devices.len());
    }

    #[test]
    fn an_owned_device_is_written_off_over_the_hours_that_it_works() {
        let keys = "price = 876.6\nlifetime_years = 2\nutilisation = 0.1\nwatts = 50\ntariff_per_kwh = 0.3\n\
                    currency = \"EUR\"\nusd_per_unit = 1.1";
        let device = one(keys).unwrap();
        // 876.6 EUR over 1,753.2 hours of work.
        assert!((device.usd_per_hour - 0.55).abs() < 1e-12, "{device:?}");
        assert!((device.usd_per_day.unwrap() - 0.05 * 1.1 * 24.0).abs() < 1e-12);
        assert!((device.usd_per_kwh.unwrap() - 0.33).abs() < 1e-12 && device.watts == Some(50.0));
        assert!(device.basis.contains("876.6 EUR over 2 years, at work 10 % of the time; 50 W at 0.3 EUR"));
        let hired = one("usd_per_hour = 2.5").unwrap();
        assert_eq!((hired.usd_per_hour, hired.usd_per_day, hired.usd_per_kwh), (2.5, Some(60.0), None));
    }

    #[test]
    fn a_profile_that_means_nothing_is_refused_with_its_key() {
        for (keys, told) in [
            ("price = 100", "lifetime_years"),
            ("price = -1\nlifetime_years = 3", "`price`"),
            ("price = 1\nlifetime_years = 0", "`lifetime_years`"),
            ("price = 1\nlifetime_years = 1\nutilisation = 1.5", "above 1"),
            ("price = 1\nlifetime_years = 1\nutilisation = nan", "`utilisation`"),
            ("price = 1\nlifetime_years = 1\nusd_per_hour = 1", "needs either"),
            ("usd_per_hour = 1\ncurrency = \"EUR\"", "usd_per_unit"),
            ("usd_per_hour = 1\nwatts = 3", "tariff_per_kwh"),
            ("usd_per_hour = 1\ncolour = 3", "colour"),
        ] {
            let error = one(keys).unwrap_err();
            assert!(format!("{error:#}").contains(told), "{keys}: {error:#}");
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        }
    }

    #[test]
    fn a_file_holds_one_device() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("mine.toml");
        let row = |name: &str| format!("[[hardware]]\nname = \"{name}\"\nusd_per_hour = 1.0\n");
        std::fs::write(&path, row("a")).unwrap();
        assert_eq!(of_file(&path).unwrap().name, "a");
        for (text, told) in [(row("a") + &row("b"), "holds 2 devices"), ("hardware = []".to_owned(), "holds 0")] {
            std::fs::write(&path, text).unwrap();
            assert!(format!("{:#}", of_file(&path).unwrap_err()).contains(told));
        }
        assert!(of_file(&place.path().join("none.toml")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_profiles_or_refused(text in "\\PC{0,200}") {
            let _ = rows(&text);
        }

        #[test]
        fn whatever_is_accepted_costs_a_finite_sum(price in 0.0f64..1e6, years in 0.0f64..50.0, share in 0.0f64..2.0) {
            if let Ok(device) = one(&format!("price = {price:?}\nlifetime_years = {years:?}\nutilisation = {share:?}")) {
                prop_assert!(device.usd_per_hour.is_finite() && device.usd_per_hour >= 0.0);
            }
        }
    }
}
