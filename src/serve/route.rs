//! How a routed answer came about, as it is told: in headers and beside the token counts.

use crate::engine::FailureKind;
use crate::router::{Reason, Tier};
use crate::trial::Attempt;
use crate::units::Seconds;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;

/// Who answered, why, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// The strategy's name.
    pub router: String,
    /// The model whose answer it is.
    pub model: String,
    /// `slm` or `llm`.
    pub tier: &'static str,
    /// Why that model was asked.
    pub reason: &'static str,
    /// `answered`, or `contract_failed` where the answer breaks its schema after all repairs.
    pub outcome: &'static str,
    /// Dollars for the calls of the LLM; `None` is not priced.
    pub api_usd: Option<f64>,
    /// The row of the price table, and its date.
    pub price: Option<String>,
    /// Dollars for the time that this machine worked on it.
    pub hardware_usd: Option<f64>,
    /// Every call, in order.
    pub calls: Vec<RouteCall>,
}

/// One call of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteCall {
    /// The model.
    pub model: String,
    /// `slm` or `llm`.
    pub tier: &'static str,
    /// Why it was asked, with the figures that decided.
    pub reason: Reason,
    /// How sure its answer was, by the strategy's own reading; `None` where it was not judged.
    pub confidence: Option<f64>,
    /// Whether the answer keeps its schema; `None` where there is none.
    pub contract_valid: Option<bool>,
    /// Why it failed, where it did.
    pub failure: Option<FailureKind>,
    /// Tokens of its prompt.
    pub input_tokens: u64,
    /// Those of them that came from a cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Dollars, for a call of the LLM that has a price.
    pub api_usd: Option<f64>,
    /// What it took.
    pub total_s: Seconds,
}

impl RouteCall {
    /// What is told of an attempt.
    pub(super) fn of(attempt: &Attempt, confidence: Option<f64>, contract_valid: Option<bool>) -> Self {
        Self {
            model: attempt.model.clone(),
            tier: tier_name(attempt.tier),
            reason: attempt.reason.clone(),
            confidence,
            contract_valid,
            failure: attempt.failure.as_ref().map(|failure| failure.kind),
            input_tokens: attempt.usage.input_tokens,
            cached_tokens: attempt.usage.cached_tokens,
            output_tokens: attempt.usage.output_tokens,
            api_usd: attempt.api_usd.map(|usd| usd.0),
            total_s: attempt.total_s,
        }
    }
}

impl Route {
    /// The headers `x-routergym-…`.
    pub(super) fn headers(&self) -> HeaderMap {
        let usd = |usd: Option<f64>| usd.map_or_else(|| "not-priced".to_owned(), |usd| format!("{usd:.9}"));
        let all = [
            ("x-routergym-router", plain(&self.router)),
            ("x-routergym-model", plain(&self.model)),
            ("x-routergym-tier", self.tier.to_owned()),
            ("x-routergym-reason", self.reason.to_owned()),
            ("x-routergym-outcome", self.outcome.to_owned()),
            ("x-routergym-calls", self.calls.len().to_string()),
            ("x-routergym-cost-usd", usd(self.api_usd)),
            ("x-routergym-hardware-usd", usd(self.hardware_usd)),
        ];
        let header = |(name, value): (&'static str, String)| {
            HeaderValue::try_from(value).ok().map(|value| (HeaderName::from_static(name), value))
        };
        all.into_iter().filter_map(header).collect()
    }

    /// What stands beside the token counts.
    pub(super) fn extension(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A name as a header can hold it.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

pub(super) fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Slm => "slm",
        Tier::Llm => "llm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cause;

    #[test]
    fn headers_say_who_answered_why_and_what_it_cost_and_hold_only_what_headers_can() {
        let route = Route {
            router: "prüfer\n".into(),
            model: "m".into(),
            tier: "llm",
            reason: cause(&Reason::LowConfidence { confidence: 0.1, threshold: 0.5 }),
            outcome: "answered",
            api_usd: Some(0.000_001_25),
            price: None,
            hardware_usd: None,
            calls: Vec::new(),
        };
        let headers = route.headers();
        assert_eq!(headers.len(), 8);
        assert_eq!(
            (&headers["x-routergym-router"], &headers["x-routergym-reason"]),
            (&"pr?fer?".parse().unwrap(), &"low_confidence".parse().unwrap())
        );
        assert_eq!(headers["x-routergym-cost-usd"], "0.000001250");
        assert_eq!(headers["x-routergym-hardware-usd"], "not-priced");
        assert_eq!(route.extension()["api_usd"], 0.000_001_25);
    }

    #[test]
    fn the_names_of_reasons_are_those_of_the_records() {
        for reason in [Reason::FirstChoice, Reason::Random { share: 0.5 }, Reason::ContractRepair, Reason::Exhausted] {
            assert_eq!(serde_json::to_value(&reason).unwrap()["kind"], cause(&reason));
        }
    }
}
