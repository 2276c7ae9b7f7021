//! The price table: the one of this program, dated row by row, and what a user puts above it.

use crate::clock::utc_string;
use crate::error::{Context, Error, Result, usage};
use crate::files;
use crate::record::{HardwarePrice, Price};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The row that prices this program's own stand-in for a remote LLM.
pub const STAND_IN: &str = "gpt-4.1";

/// The row that prices the local machine where the user gives no rate.
pub const DEFAULT_HARDWARE: &str = "pc-1000usd-3y";

const TABLE: &str = include_str!("../../models/prices.toml");

/// Longer files are no price table.
const LONGEST_FILE: u64 = 64 << 20;

/// What tokens and machines cost.
#[derive(Debug, Clone)]
pub struct Prices {
    models: Vec<Price>,
    hardware: Vec<HardwarePrice>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    model: Vec<ModelRow>,
    #[serde(default)]
    hardware: Vec<super::hardware::HardwareRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRow {
    name: String,
    as_of: String,
    input_usd_per_million: f64,
    output_usd_per_million: f64,
    cached_input_usd_per_million: Option<f64>,
    cache_write_usd_per_million: Option<f64>,
    reasoning_usd_per_million: Option<f64>,
    source: Option<String>,
}

impl Prices {
    /// The table of this program.
    pub fn built_in() -> Result<Self> {
        let mut prices = parse(TABLE).context("reading the price table models/prices.toml")?;
        prices.hardware.extend(super::hardware::built_in()?);
        Ok(prices)
    }

    /// This program's table with the rows of a file above it: a TOML file of the same form, or the JSON file of prices that
    /// LiteLLM publishes, whose rows have the date of the file.
    pub fn with_file(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = files::read(path, LONGEST_FILE).map_err(|error| usage(format!("--prices: {error:#}")))?;
        let text = String::from_utf8(bytes).map_err(|_| usage(format!("--prices {shown} is not UTF-8 text")))?;
        let read = if text.trim_start().starts_with('{') { litellm(&text, &date_of(path)?) } else { parse(&text) };
        let mut prices = read.map_err(|error| usage(format!("--prices {shown}: {error:#}")))?;
        for price in prices.models.iter_mut().filter(|price| price.source.is_empty()) {
            price.source = shown.to_string();
        }
        let built_in = Self::built_in()?;
        prices.models.extend(built_in.models);
        prices.hardware.extend(built_in.hardware);
        Ok(prices)
    }

    /// The price of a model's tokens, or `None` where no row has exactly this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Price> {
        self.models.iter().find(|price| price.name == name).cloned()
    }

    /// The price of a model's tokens; an unknown name is the user's error and lists names that are known.
    pub fn lookup(&self, name: &str) -> Result<Price> {
        self.find(name).ok_or_else(|| unknown("model", name, self.models.iter().map(|price| price.name.as_str())))
    }

    /// What the machine of a run costs: a row by name or the one of a file, an hourly rate, or the default.
    pub fn hardware(&self, named: Option<&str>, usd_per_hour: Option<f64>) -> Result<HardwarePrice> {
        match (named, usd_per_hour) {
            (Some(file), _) if Path::new(file).extension().is_some_and(|extension| extension == "toml") => {
                super::hardware::of_file(Path::new(file))
            }
            (Some(name), _) => self.lookup_hardware(name),
            (None, Some(usd)) if !usd.is_finite() || usd < 0.0 => {
                Err(usage("--hardware-usd-per-hour is a number of dollars, 0 or more"))
            }
            (None, Some(usd)) => Ok(HardwarePrice::hourly("user", usd, "given with --hardware-usd-per-hour")),
            (None, None) => self.lookup_hardware(DEFAULT_HARDWARE),
        }
    }

    /// What an hour of a machine costs; an unknown name is the user's error and lists the names that are known.
    pub fn lookup_hardware(&self, name: &str) -> Result<HardwarePrice> {
        let found = self.hardware.iter().find(|price| price.name == name).cloned();
        found.ok_or_else(|| unknown("hardware", name, self.hardware.iter().map(|price| price.name.as_str())))
    }
}

fn parse(text: &str) -> Result<Prices> {
    let table: Table = toml::from_str(text).map_err(|error| usage(error.to_string()))?;
    let models = table.model.into_iter().map(|row| {
        sound(Price {
            name: row.name,
            as_of: row.as_of,
            input_usd_per_million: row.input_usd_per_million,
            output_usd_per_million: row.output_usd_per_million,
            cached_input_usd_per_million: row.cached_input_usd_per_million,
            cache_write_usd_per_million: row.cache_write_usd_per_million,
            reasoning_usd_per_million: row.reasoning_usd_per_million,
            source: row.source.unwrap_or_default(),
        })
    });
    let models = models.collect::<Result<_>>()?;
    let hardware = table.hardware.into_iter().map(super::hardware::HardwareRow::price);
    Ok(Prices { models, hardware: hardware.collect::<Result<_>>()? })
}

/// Reads LiteLLM's `model_prices_and_context_window.json`: dollars for one token, by model. What has no price for tokens of
/// prompts and of answers (images, speech, embeddings) is left out.
fn litellm(text: &str, as_of: &str) -> Result<Prices> {
    let rows: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|error| usage(format!("it is no JSON object of prices: {error}")))?;
    let mut models = Vec::new();
    for (name, row) in rows.iter().filter(|(name, _)| *name != "sample_spec") {
        // Rounded to where the factor of a million is exact in writing.
        let per_million = |key: &str| row.get(key).and_then(Value::as_f64).map(|usd| (usd * 1e12).round() / 1e6);
        let (Some(input), Some(output)) = (per_million("input_cost_per_token"), per_million("output_cost_per_token"))
        else {
            continue;
        };
        models.push(sound(Price {
            name: name.clone(),
            as_of: as_of.to_owned(),
            input_usd_per_million: input,
            output_usd_per_million: output,
            cached_input_usd_per_million: per_million("cache_read_input_token_cost"),
            cache_write_usd_per_million: per_million("cache_creation_input_token_cost"),
            reasoning_usd_per_million: per_million("output_cost_per_reasoning_token"),
            source: String::new(),
        })?);
    }
    if models.is_empty() {
        return Err(usage("it holds no model with `input_cost_per_token` and `output_cost_per_token`"));
    }
    Ok(Prices { models, hardware: Vec::new() })
}

fn sound(price: Price) -> Result<Price> {
    let parts = [
        Some(price.input_usd_per_million),
        Some(price.output_usd_per_million),
        price.cached_input_usd_per_million,
        price.cache_write_usd_per_million,
        price.reasoning_usd_per_million,
    ];
    if parts.into_iter().flatten().all(|usd| usd.is_finite() && usd >= 0.0) {
        Ok(price)
    } else {
        Err(usage(format!("the row `{}` has a price that is negative or not a number", price.name)))
    }
}

/// The day on which a file was last changed.
fn date_of(path: &Path) -> Result<String> {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let changed = changed.with_context(|| format!("looking at the date of {}", path.display()))?;
    let seconds = changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(utc_string(seconds).chars().take(10).collect())
}

fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    /// Names that a message lists.
    const LISTED: usize = 40;
    let mut known: Vec<&str> = known.collect();
    let more = known.len().saturating_sub(LISTED);
    known.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    usage(format!("the price table has no {kind} row named `{name}`; choose one of: {}{more}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;

    #[test]
    fn the_table_is_sound_and_its_rows_are_dated_sourced_and_unique() {
        let prices = Prices::built_in().unwrap();
        assert!(prices.models.len() >= 12);
        for row in &prices.models {
            let digits = row.as_of.bytes().filter(u8::is_ascii_digit).count();
            assert!(row.as_of.len() == 10 && digits == 8, "{}: {}", row.name, row.as_of);
            assert!(!row.source.is_empty(), "{}", row.name);
        }
        let mut names: Vec<_> = prices.models.iter().map(|row| &row.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), prices.models.len());
        assert!(prices.lookup(STAND_IN).is_ok() && prices.lookup_hardware(DEFAULT_HARDWARE).is_ok());
    }

    #[test]
    fn an_unknown_row_is_a_usage_error_that_lists_the_known_ones() {
        let prices = Prices::built_in().unwrap();
        let error = prices.lookup("gpt-nonsense").unwrap_err();
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("gpt-4.1-mini"), "{error}");
        assert!(prices.lookup_hardware("abacus").unwrap_err().to_string().contains(DEFAULT_HARDWARE));
        assert_eq!(prices.find("gpt-nonsense"), None);
    }

    #[test]
    fn a_negative_price_and_an_unknown_key_are_refused() {
        let row = "[[model]]\nname='x'\nas_of='2025-01-01'\noutput_usd_per_million=1.0\nsource='s'\n";
        let tail = "[[hardware]]\nname='h'\nusd_per_hour=1.0\nbasis='b'\n";
        assert!(parse(&format!("{row}input_usd_per_million=1.0\n{tail}")).is_ok());
        assert!(parse(&format!("{row}input_usd_per_million=-1.0\n{tail}")).is_err());
        assert!(parse(&format!("{row}input_usd_per_million=nan\n{tail}")).is_err());
        assert!(parse(&format!("{row}input_usd_per_million=1.0\ncolour='red'\n{tail}")).is_err());
        assert!(parse(&tail.replace("1.0", "-1.0")).is_err());
    }

    #[test]
    fn a_users_rows_stand_above_those_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        let row =
            "[[model]]\nname='gpt-4.1'\nas_of='2026-11-01'\ninput_usd_per_million=9.0\noutput_usd_per_million=1.0\n";
        std::fs::write(&path, row).unwrap();
        let prices = Prices::with_file(&path).unwrap();
        let price = prices.lookup("gpt-4.1").unwrap();
        assert_eq!((price.input_usd_per_million, price.as_of.as_str()), (9.0, "2026-11-01"));
        assert!(price.source.ends_with("prices.toml"), "{}", price.source);
        assert!(prices.lookup("gpt-4o").is_ok() && prices.lookup_hardware(DEFAULT_HARDWARE).is_ok());
    }

    #[test]
    fn the_prices_of_litellm_are_read_and_dated_by_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        let text = r#"{"sample_spec": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
            "azure/some-model": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "mode": "chat",
              "cache_read_input_token_cost": 1.25e-06, "output_cost_per_reasoning_token": 2e-05},
            "image": {"output_cost_per_image": 0.02}, "none": {"input_cost_per_token": null, "output_cost_per_token": 1e-6}}"#;
        std::fs::write(&path, text).unwrap();
        let prices = Prices::with_file(&path).unwrap();
        let price = prices.lookup("azure/some-model").unwrap();
        assert_eq!((price.input_usd_per_million, price.output_usd_per_million), (2.5, 10.0));
        assert_eq!((price.cached_input_usd_per_million, price.reasoning_usd_per_million), (Some(1.25), Some(20.0)));
        assert_eq!((price.cache_write_usd_per_million, price.as_of.len()), (None, 10));
        for absent in ["sample_spec", "image", "none"] {
            assert!(prices.find(absent).is_none(), "{absent}");
        }
        for (text, told) in [
            ("{}", "holds no model"),
            ("{", "no JSON object"),
            (r#"{"m": {"input_cost_per_token": -1.0, "output_cost_per_token": 1.0}}"#, "`m` has a price"),
            ("colour = 'red'", "colour"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Prices::with_file(&path).unwrap_err();
            assert!(format!("{error:#}").contains(told), "{error:#}");
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        }
    }
}
