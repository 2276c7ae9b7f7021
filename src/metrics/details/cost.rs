//! What a policy costs, the API's and the machine's share together, and when a machine pays.

use crate::metrics::figure::Figure;
use crate::metrics::row::Row;
use crate::metrics::statistics::mean;
use crate::metrics::summary::PolicySummary;
use serde::Serialize;

/// Mean tokens of the LLM in a scored trial, repairs and failed calls included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LlmTokens {
    /// Of the prompts, those from a cache included.
    pub input: f64,
    /// Of the prompts, those from a cache alone.
    pub cached: f64,
    /// Generated.
    pub output: f64,
}

/// Dollars per 1,000 trials, and whether the machine is in it. Without a price of the API there is none: the machine alone
/// would make the dearest policy the cheapest.
pub(super) fn cost(scored: &[&Row], policy: &PolicySummary) -> (Figure, bool) {
    let Some(_) = policy.cost_usd_per_1000.api else {
        let reason = policy.intervals.api_usd_per_1000.reason.clone();
        return (Figure::absent(reason.unwrap_or_else(|| "the LLM's calls are not priced".into())), false);
    };
    let hardware = policy.cost_usd_per_1000.hardware.is_some();
    let of = |row: &&Row| Some((row.api_usd? + if hardware { row.hardware_usd? } else { 0.0 }) * 1000.0);
    let usd: Option<Vec<f64>> = scored.iter().map(of).collect();
    (Figure::mean(&usd.unwrap_or_default(), "no trial was billed"), hardware)
}

pub(super) fn llm_tokens(scored: &[&Row]) -> Option<LlmTokens> {
    let average = |of: fn(&Row) -> u64| mean(&scored.iter().map(|row| of(row) as f64).collect::<Vec<_>>()).ok();
    Some(LlmTokens {
        input: average(|row| row.tokens.llm.input_tokens)?,
        cached: average(|row| row.tokens.llm.cached_tokens)?,
        output: average(|row| row.tokens.llm.output_tokens)?,
    })
}

/// Queries a day from which a machine that costs `machine_usd_per_day` is paid by what a policy saves on the API: the day's price
/// over the saving of one query, both APIs in dollars per 1,000 queries. `None` where nothing is saved.
#[must_use]
pub fn break_even_per_day(reference_api: f64, policy_api: f64, machine_usd_per_day: f64) -> Option<f64> {
    let saved = (reference_api - policy_api) / 1000.0;
    (saved > 0.0 && machine_usd_per_day.is_finite()).then(|| machine_usd_per_day / saved)
}
