//! What a trial cost.

use crate::clock::Component;
use crate::engine::{Usage, UsageSource};
use crate::record::{Cost, HardwarePrice, Price};
use crate::router::Tier;
use crate::trial::{Attempt, Trial};
use crate::units::{Joules, Usd};

/// Bills a finished trial: the tokens of every call of the LLM, failed ones, repairs and counted tries included, and the time
/// that this machine worked on it, with its electricity (`energy` where that is known). Each call's own cost is written on it, and each try's on the try. Waiting for the network and
/// scoring are not the machine's work on the answer. An answer whose endpoint reported no token counts cannot be priced, and so
/// its trial is not.
#[must_use]
pub fn bill(
    trial: &mut Trial,
    price: Option<&Price>,
    hardware: Option<&HardwarePrice>,
    energy: Option<Joules>,
) -> Cost {
    let mut api_usd = price.map(|_| Usd(0.0));
    for attempt in trial.attempts.iter_mut().filter(|attempt| attempt.tier == Tier::Llm) {
        attempt.api_usd = price.and_then(|price| bill_call(attempt, price));
        api_usd = match attempt.api_usd {
            Some(usd) => api_usd.map(|sum| sum + usd),
            // A call that failed before it was counted was not billed by its endpoint either, as far as can be known.
            None if attempt.failure.is_some() => api_usd,
            None => None,
        };
    }
    let busy_s = local_seconds(|component| trial.spans.get(component).0);
    let machine = |hardware: &HardwarePrice| {
        Usd(busy_s / 3600.0 * hardware.usd_per_hour) + hardware.energy_usd(energy, busy_s).unwrap_or_default()
    };
    Cost { api_usd, hardware_usd: hardware.map(machine) }
}

/// Seconds that this machine worked on a trial: waiting for the network and scoring are not its work on the answer.
#[must_use]
pub fn local_seconds(span: impl Fn(Component) -> f64) -> f64 {
    let elsewhere =
        |component: &Component| matches!(component, Component::Queue | Component::Network | Component::Scoring);
    Component::ALL.into_iter().filter(|component| !elsewhere(component)).map(span).sum()
}

/// The cost of a call: its counts are those of its last try, to which those of earlier ones come.
fn bill_call(attempt: &mut Attempt, price: &Price) -> Option<Usd> {
    for one in &mut attempt.tries {
        one.api_usd = one.usage.map(|usage| tokens_usd(usage, price));
    }
    let earlier = attempt.tries.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let earlier: Vec<Usd> = earlier.iter().filter_map(|one| one.api_usd).collect();
    let counted = attempt.usage_source != UsageSource::Missing;
    let last = counted.then(|| tokens_usd(attempt.usage, price));
    match last {
        None if attempt.failure.is_none() || earlier.is_empty() => None,
        last => Some(earlier.into_iter().sum::<Usd>() + last.unwrap_or_default()),
    }
}

/// What tokens cost. Tokens that were read from a provider's cache, written to it, or spent on reasoning have their own price
/// where the row has one.
pub(super) fn tokens_usd(usage: Usage, price: &Price) -> Usd {
    let cached = usage.cached_tokens.min(usage.input_tokens);
    let written = usage.cache_write_tokens.min(usage.input_tokens - cached);
    let fresh = usage.input_tokens - cached - written;
    let reasoning = usage.reasoning_tokens.min(usage.output_tokens);
    let input = price.input_usd_per_million;
    let output = price.output_usd_per_million;
    let millionths = fresh as f64 * input
        + cached as f64 * price.cached_input_usd_per_million.unwrap_or(input)
        + written as f64 * price.cache_write_usd_per_million.unwrap_or(input)
        + (usage.output_tokens - reasoning) as f64 * output
        + reasoning as f64 * price.reasoning_usd_per_million.unwrap_or(output);
    Usd(millionths / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Try;
    use crate::metrics::{Prices, example};
    use crate::units::Seconds;

    fn lookup(name: &str) -> Price {
        Prices::built_in().unwrap().lookup(name).unwrap()
    }

    #[test]
    fn every_llm_call_is_billed_and_cached_tokens_at_their_own_price() {
        let mut trial = example::escalated("HR Support", "Access");
        let usage = Usage { input_tokens: 1000, output_tokens: 100, cached_tokens: 400, ..Usage::default() };
        trial.attempts[0].usage = usage;
        trial.attempts[1].usage = usage;
        let mut failed = trial.attempts[1].clone();
        example::break_connection(&mut failed);
        failed.usage = Usage { input_tokens: 500, cached_tokens: 9999, ..Usage::default() };
        trial.attempts.push(failed);
        let price = lookup("gpt-4.1");
        // Answered: 600 x 2.00 + 400 x 0.50 + 100 x 8.00 = 2,200. Failed: all 500 cached, 250. The SLM's call: none.
        let api = bill(&mut trial, Some(&price), None, None).api_usd.unwrap().0;
        assert!((api - 2450.0 / 1e6).abs() < 1e-15, "{api}");
        let uncached = Price { cached_input_usd_per_million: None, ..price };
        let api = bill(&mut trial, Some(&uncached), None, None).api_usd.unwrap().0;
        assert!((api - 3800.0 / 1e6).abs() < 1e-15, "{api}");
    }

    #[test]
    fn tokens_of_every_kind_have_their_own_price_where_the_row_has_one() {
        let price = Price {
            input_usd_per_million: 1.0,
            output_usd_per_million: 10.0,
            cached_input_usd_per_million: Some(0.5),
            cache_write_usd_per_million: Some(2.0),
            reasoning_usd_per_million: Some(20.0),
            ..lookup("gpt-4.1")
        };
        let usage = Usage {
            input_tokens: 1000,
            output_tokens: 100,
            cached_tokens: 400,
            cache_write_tokens: 100,
            reasoning_tokens: 60,
        };
        // 500 x 1 + 400 x 0.5 + 100 x 2 + 40 x 10 + 60 x 20
        assert!((tokens_usd(usage, &price).0 - 2500.0 / 1e6).abs() < 1e-15);
        let plain = Price { cache_write_usd_per_million: None, reasoning_usd_per_million: None, ..price };
        assert!((tokens_usd(usage, &plain).0 - 1800.0 / 1e6).abs() < 1e-15);
    }

    #[test]
    fn a_try_that_was_counted_before_it_failed_is_billed_with_its_call() {
        let counted = |input| Some(Usage { input_tokens: input, ..Usage::default() });
        let mut trial = example::escalated("HR Support", "Access");
        let call = &mut trial.attempts[1];
        call.usage = Usage { input_tokens: 1000, ..Usage::default() };
        call.tries = vec![
            Try { usage: counted(300), ..Try::default() },
            Try::default(),
            Try { usage: counted(1000), ..Try::default() },
        ];
        let price = lookup("gpt-4.1");
        let api = bill(&mut trial, Some(&price), None, None).api_usd.unwrap().0;
        assert!((api - 1300.0 * 2.0 / 1e6).abs() < 1e-15, "{api}");
        let usd: Vec<_> =
            trial.attempts[1].tries.iter().map(|one| one.api_usd.map(|usd| (usd.0 * 1e6).round())).collect();
        assert_eq!(usd, [Some(600.0), None, Some(2000.0)]);
        example::break_connection(&mut trial.attempts[1]);
        trial.attempts[1].usage_source = UsageSource::Missing;
        let api = bill(&mut trial, Some(&price), None, None).api_usd.unwrap().0;
        assert!((api - 300.0 * 2.0 / 1e6).abs() < 1e-15, "{api}");
    }

    #[test]
    fn the_machine_is_billed_for_its_own_work_only() {
        let mut trial = example::answered("Access");
        trial.spans = crate::clock::Spans::default();
        trial.spans.add(Component::Decode, Seconds(30.0));
        trial.spans.add(Component::Search, Seconds(6.0));
        trial.spans.add(Component::Network, Seconds(1000.0));
        trial.spans.add(Component::Queue, Seconds(1000.0));
        trial.spans.add(Component::Scoring, Seconds(1000.0));
        let machine = HardwarePrice::hourly("user", 1.0, "");
        let cost = bill(&mut trial, None, Some(&machine), None);
        assert!((cost.hardware_usd.unwrap().0 - 0.01).abs() < 1e-15);
        assert_eq!(cost.api_usd, None);
        // 36 s at 100 W, or the 7.2 kJ that were counted, at half a dollar for a kWh.
        let machine = HardwarePrice { watts: Some(100.0), usd_per_kwh: Some(0.5), ..machine };
        for (energy, usd) in [(None, 0.0005), (Some(Joules(7200.0)), 0.001)] {
            let cost = bill(&mut trial, None, Some(&machine), energy).hardware_usd.unwrap().0;
            assert!((cost - 0.01 - usd).abs() < 1e-12, "{cost}");
        }
    }

    #[test]
    fn what_is_not_priced_is_absent_and_never_zero() {
        assert_eq!(bill(&mut example::answered("Access"), None, None, None), Cost::default());
        let mut uncounted = example::escalated("HR Support", "Access");
        uncounted.attempts[1].usage_source = UsageSource::Missing;
        let price = lookup("gpt-4.1");
        assert_eq!(bill(&mut uncounted, Some(&price), None, None).api_usd, None);
    }
}
