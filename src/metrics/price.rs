//! The dated price table, and what a trial cost by it.

use crate::clock::Component;
use crate::engine::UsageSource;
use crate::error::{Context, Result, ensure, usage};
use crate::record::{Cost, HardwarePrice, Price};
use crate::router::Tier;
use crate::trial::Trial;
use crate::units::Usd;
use serde::Deserialize;

/// The row that prices this program's own stand-in for a remote LLM.
pub const STAND_IN: &str = "gpt-4.1";

/// The row that prices the local machine where the user gives no rate.
pub const DEFAULT_HARDWARE: &str = "pc-1000usd-3y";

const TABLE: &str = include_str!("../../models/prices.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    model: Vec<ModelRow>,
    hardware: Vec<HardwareRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRow {
    name: String,
    as_of: String,
    input_usd_per_million: f64,
    output_usd_per_million: f64,
    cached_input_usd_per_million: Option<f64>,
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HardwareRow {
    name: String,
    usd_per_hour: f64,
    basis: String,
}

/// The price of a model's tokens; an unknown name is the user's error and lists the names that are known.
pub fn lookup(name: &str) -> Result<Price> {
    find(name)?.ok_or_else(|| unknown("model", name, &names().unwrap_or_default()))
}

/// The price of a model's tokens, or `None` where the table has no row of exactly this name.
pub fn find(name: &str) -> Result<Option<Price>> {
    Ok(table()?.model.into_iter().find(|row| row.name == name).map(|row| Price {
        name: row.name,
        as_of: row.as_of,
        input_usd_per_million: row.input_usd_per_million,
        output_usd_per_million: row.output_usd_per_million,
        cached_input_usd_per_million: row.cached_input_usd_per_million,
    }))
}

/// What an hour of a machine costs; an unknown name is the user's error and lists the names that are known.
pub fn lookup_hardware(name: &str) -> Result<HardwarePrice> {
    let row = table()?.hardware.into_iter().find(|row| row.name == name);
    row.map(|row| HardwarePrice { name: row.name, usd_per_hour: row.usd_per_hour, basis: row.basis })
        .ok_or_else(|| unknown("hardware", name, &hardware_names().unwrap_or_default()))
}

/// The names of the model rows, in the table's order.
pub fn names() -> Result<Vec<String>> {
    Ok(table()?.model.into_iter().map(|row| row.name).collect())
}

/// The names of the hardware rows, in the table's order.
pub fn hardware_names() -> Result<Vec<String>> {
    Ok(table()?.hardware.into_iter().map(|row| row.name).collect())
}

/// Bills a finished trial: the tokens of every call of the LLM, failed ones and repairs included, and the time that this
/// machine worked on it. Each call's own cost is written on it. Waiting for the network and scoring are not the machine's
/// work on the answer. An answer whose endpoint reported no token counts cannot be priced, and so its trial is not.
#[must_use]
pub fn bill(trial: &mut Trial, price: Option<&Price>, hardware: Option<&HardwarePrice>) -> Cost {
    let mut api_usd = price.map(|_| Usd(0.0));
    for attempt in trial.attempts.iter_mut().filter(|attempt| attempt.tier == Tier::Llm) {
        let counted = attempt.usage_source != UsageSource::Missing;
        attempt.api_usd = price.filter(|_| counted).map(|price| Usd(tokens_usd(attempt.usage, price)));
        api_usd = match attempt.api_usd {
            Some(usd) => api_usd.map(|sum| sum + usd),
            // A call that failed before it was counted was not billed by its endpoint either, as far as can be known.
            None if attempt.failure.is_some() => api_usd,
            None => None,
        };
    }
    let local_s = Component::ALL
        .into_iter()
        .filter(|component| !matches!(component, Component::Network | Component::Scoring))
        .map(|component| trial.spans.get(component).0)
        .sum::<f64>();
    Cost { api_usd, hardware_usd: hardware.map(|hardware| Usd(local_s / 3600.0 * hardware.usd_per_hour)) }
}

fn tokens_usd(usage: crate::engine::Usage, price: &Price) -> f64 {
    let cached = usage.cached_tokens.min(usage.input_tokens);
    let fresh = usage.input_tokens - cached;
    let cached_price = price.cached_input_usd_per_million.unwrap_or(price.input_usd_per_million);
    let millionths = fresh as f64 * price.input_usd_per_million
        + cached as f64 * cached_price
        + usage.output_tokens as f64 * price.output_usd_per_million;
    millionths / 1e6
}

fn table() -> Result<Table> {
    parse(TABLE)
}

fn parse(text: &str) -> Result<Table> {
    let table: Table = toml::from_str(text).context("reading the price table models/prices.toml")?;
    for row in &table.model {
        let prices =
            [Some(row.input_usd_per_million), Some(row.output_usd_per_million), row.cached_input_usd_per_million];
        let sound = prices.into_iter().flatten().all(|usd| usd.is_finite() && usd >= 0.0);
        ensure!(sound, "the price table's row `{}` has a price that is negative or not a number", row.name);
        ensure!(!row.source.is_empty(), "the price table's row `{}` does not say where its prices stand", row.name);
    }
    for row in &table.hardware {
        let sound = row.usd_per_hour.is_finite() && row.usd_per_hour >= 0.0;
        ensure!(sound, "the price table's row `{}` has a rate that is negative or not a number", row.name);
    }
    Ok(table)
}

fn unknown(kind: &str, name: &str, known: &[String]) -> crate::error::Error {
    usage(format!("the price table has no {kind} row named `{name}`; choose one of: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Usage;
    use crate::error::ExitStatus;
    use crate::metrics::example;
    use crate::units::Seconds;

    #[test]
    fn the_table_is_sound_and_its_rows_are_dated_and_unique() {
        let table = table().unwrap();
        assert!(table.model.len() >= 12);
        for row in &table.model {
            let digits = row.as_of.bytes().filter(u8::is_ascii_digit).count();
            assert!(row.as_of.len() == 10 && digits == 8, "{}: {}", row.name, row.as_of);
        }
        let mut names = names().unwrap();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), table.model.len());
        assert!(lookup(STAND_IN).is_ok() && lookup_hardware(DEFAULT_HARDWARE).is_ok());
    }

    #[test]
    fn an_unknown_row_is_a_usage_error_that_lists_the_known_ones() {
        let error = lookup("gpt-nonsense").unwrap_err();
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("gpt-4.1-mini"), "{error}");
        assert!(lookup_hardware("abacus").unwrap_err().to_string().contains(DEFAULT_HARDWARE));
        assert_eq!(find("gpt-nonsense").unwrap(), None);
    }

    #[test]
    fn a_negative_price_and_an_unknown_key_are_refused() {
        let row = "[[model]]\nname='x'\nas_of='2025-01-01'\noutput_usd_per_million=1.0\nsource='s'\n";
        let tail = "[[hardware]]\nname='h'\nusd_per_hour=1.0\nbasis='b'\n";
        assert!(parse(&format!("{row}input_usd_per_million=1.0\n{tail}")).is_ok());
        assert!(parse(&format!("{row}input_usd_per_million=-1.0\n{tail}")).is_err());
        assert!(parse(&format!("{row}input_usd_per_million=nan\n{tail}")).is_err());
        assert!(parse(&format!("{row}input_usd_per_million=1.0\ncolour='red'\n{tail}")).is_err());
    }

    #[test]
    fn every_llm_call_is_billed_and_cached_tokens_at_their_own_price() {
        let mut trial = example::escalated("HR Support", "Access");
        let usage = Usage { input_tokens: 1000, output_tokens: 100, cached_tokens: 400 };
        trial.attempts[0].usage = usage;
        trial.attempts[1].usage = usage;
        let mut failed = trial.attempts[1].clone();
        example::break_connection(&mut failed);
        failed.usage = Usage { input_tokens: 500, output_tokens: 0, cached_tokens: 9999 };
        trial.attempts.push(failed);
        let price = lookup("gpt-4.1").unwrap();
        // Answered: 600 x 2.00 + 400 x 0.50 + 100 x 8.00 = 2,200. Failed: all 500 cached, 250. The SLM's call: none.
        let api = bill(&mut trial, Some(&price), None).api_usd.unwrap().0;
        assert!((api - 2450.0 / 1e6).abs() < 1e-15, "{api}");
        let uncached = Price { cached_input_usd_per_million: None, ..price };
        let api = bill(&mut trial, Some(&uncached), None).api_usd.unwrap().0;
        assert!((api - 3800.0 / 1e6).abs() < 1e-15, "{api}");
    }

    #[test]
    fn the_machine_is_billed_for_its_own_work_only() {
        let mut trial = example::answered("Access");
        trial.spans = crate::clock::Spans::default();
        trial.spans.add(Component::Decode, Seconds(30.0));
        trial.spans.add(Component::Search, Seconds(6.0));
        trial.spans.add(Component::Network, Seconds(1000.0));
        trial.spans.add(Component::Scoring, Seconds(1000.0));
        let machine = HardwarePrice { name: "user".into(), usd_per_hour: 1.0, basis: String::new() };
        let cost = bill(&mut trial, None, Some(&machine));
        assert!((cost.hardware_usd.unwrap().0 - 0.01).abs() < 1e-15);
        assert_eq!(cost.api_usd, None);
    }

    #[test]
    fn what_is_not_priced_is_absent_and_never_zero() {
        assert_eq!(bill(&mut example::answered("Access"), None, None), Cost::default());
        let mut uncounted = example::escalated("HR Support", "Access");
        uncounted.attempts[1].usage_source = UsageSource::Missing;
        let price = lookup("gpt-4.1").unwrap();
        assert_eq!(bill(&mut uncounted, Some(&price), None).api_usd, None);
    }
}
