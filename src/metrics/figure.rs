//! One figure of a table: its value, its interval and its n, or the reason why there is none.

use super::statistics::{self, Interval, Undefined};
use serde::{Deserialize, Serialize};

/// A figure with its 95 % interval. `value` is null where the figure does not exist, `low` and `high` where no interval
/// can be given; `reason` says why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The estimate.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Number of trials behind it.
    pub n: usize,
    /// Why the value or its interval is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Figure {
    /// A figure that does not exist, and why.
    #[must_use]
    pub fn absent(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }

    /// Share of `true`, with its Wilson interval; absent for `reason` where there are no values.
    #[must_use]
    pub fn share(values: &[bool], reason: &str) -> Self {
        Self::count(values.iter().filter(|&&value| value).count(), values.len(), reason)
    }

    /// `successes` of `n`, with its Wilson interval; absent for `reason` where `n` is 0.
    #[must_use]
    pub fn count(successes: usize, n: usize, reason: &str) -> Self {
        Self::from_parts(Ok(0.0), statistics::wilson(successes, n), n, reason)
    }

    /// Mean, with its bootstrap interval.
    #[must_use]
    pub fn mean(values: &[f64], reason: &str) -> Self {
        Self::from_parts(statistics::mean(values), statistics::mean_interval(values), values.len(), reason)
    }

    /// Quantile, with its bootstrap interval.
    #[must_use]
    pub fn quantile(values: &[f64], q: f64, reason: &str) -> Self {
        let interval = statistics::quantile_interval(values, q);
        Self::from_parts(statistics::quantile(values, q), interval, values.len(), reason)
    }

    fn from_parts(value: Result<f64, Undefined>, interval: Result<Interval, Undefined>, n: usize, empty: &str) -> Self {
        match (value, interval) {
            _ if n == 0 => Self::absent(empty),
            (_, Ok(Interval { value, low, high, n })) => {
                Self { value: Some(value), low: Some(low), high: Some(high), n, reason: None }
            }
            (Ok(value), Err(why)) => Self { value: Some(value), low: None, high: None, n, reason: Some(why.0) },
            (Err(why), Err(_)) => Self { n, ..Self::absent(why.0) },
        }
    }
}

/// A number with `digits` significant digits, never in exponents: `0.00123`, `12.3`, `1230`.
#[must_use]
pub fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    // Rounded once in scientific form, so that 9.999 becomes 10.0 and not 10.00.
    let rounded = format!("{value:.*e}", (digits - 1).max(0) as usize);
    let exponent: i32 = rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    format!("{value:.*}", (digits - 1 - exponent).clamp(0, 12) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_without_values_says_why() {
        let ours = Figure::mean(&[], "no passages were injected");
        assert_eq!((ours.value, ours.n, ours.reason.as_deref()), (None, 0, Some("no passages were injected")));
    }

    #[test]
    fn numbers_keep_their_significant_digits() {
        for (value, text) in [
            (0.001234, "0.00123"),
            (12.345, "12.3"),
            (1234.5, "1234"),
            (9.999, "10.0"),
            (0.0, "0"),
            (-0.5, "-0.500"),
            (1e-15, "0.000000000000"),
        ] {
            assert_eq!(significant(value, 3), text);
        }
    }

    #[test]
    fn a_single_value_keeps_its_point() {
        let ours = Figure::quantile(&[4.0], 0.5, "");
        assert_eq!((ours.value, ours.low, ours.n), (Some(4.0), None, 1));
        assert!(ours.reason.is_some());
    }

    #[test]
    fn a_value_that_is_no_number_has_no_figure() {
        let ours = Figure::mean(&[f64::NAN], "");
        assert_eq!((ours.value, ours.reason.as_deref()), (None, Some("a value is not a finite number")));
    }

    #[test]
    fn an_absent_figure_is_null_in_json_with_its_reason_beside_it() {
        let json = serde_json::to_string(&Figure::absent("not priced")).unwrap();
        assert_eq!(json, r#"{"value":null,"low":null,"high":null,"n":0,"reason":"not priced"}"#);
    }
}
