//! How fast the models answered, call by call.

use crate::clock::Component;
use crate::metrics::figure::Figure;
use crate::metrics::row::Call;
use crate::metrics::statistics::MIN_N_FOR_P99;
use crate::metrics::summary::CellTrials;
use crate::router::Tier;
use serde::Serialize;

/// Times of the calls that one model answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallTimes {
    /// The model's tier.
    pub tier: Tier,
    /// Whether a part of the prompt came from a cache.
    pub prefix_reused: bool,
    /// Calls.
    pub calls: usize,
    /// Time to the first token, seconds: median, 90th and, from 100 calls up, 99th percentile.
    pub ttft_s: [Figure; 3],
    /// Time for each token after the first, seconds; the same quantiles.
    pub tpot_s: [Figure; 3],
}

/// What the small model did in a second, over all its calls of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Speed {
    /// Tokens of prompts that were computed, by the time booked on prefill; null where none was booked.
    pub prefill_tokens_per_s: Option<f64>,
    /// Generated tokens by the time booked on decode.
    pub decode_tokens_per_s: Option<f64>,
}

/// The kinds of calls that there are, small model first, whole prompts first.
pub(super) fn call_times(cells: &[CellTrials<'_>]) -> Vec<CallTimes> {
    let kinds = [(Tier::Slm, false), (Tier::Slm, true), (Tier::Llm, false), (Tier::Llm, true)];
    let of = |tier: Tier, reused: bool| -> Vec<&Call> {
        let calls = cells.iter().flat_map(CellTrials::scored).flat_map(|row| row.calls.iter());
        calls.filter(|call| (call.tier, call.reused) == (tier, reused)).collect()
    };
    kinds
        .into_iter()
        .map(|(tier, prefix_reused)| (tier, prefix_reused, of(tier, prefix_reused)))
        .filter(|(.., calls)| !calls.is_empty())
        .map(|(tier, prefix_reused, calls)| CallTimes {
            tier,
            prefix_reused,
            calls: calls.len(),
            ttft_s: quantiles(&calls.iter().filter_map(|call| call.ttft_s).collect::<Vec<_>>()),
            tpot_s: quantiles(&calls.iter().filter_map(|call| call.tpot_s).collect::<Vec<_>>()),
        })
        .collect()
}

fn quantiles(seconds: &[f64]) -> [Figure; 3] {
    [0.5, 0.9, 0.99].map(|q| match seconds.len() {
        n if q > 0.95 && n < MIN_N_FOR_P99 => {
            Figure::absent(format!("a 99th percentile needs {MIN_N_FOR_P99} calls, there are {n}"))
        }
        _ => Figure::quantile(seconds, q, "no call says when its tokens came"),
    })
}

pub(super) fn speed(cells: &[CellTrials<'_>]) -> Speed {
    let rows = || cells.iter().flat_map(CellTrials::scored);
    let time = |component| rows().map(|row| row.span(component)).sum::<f64>();
    let sum = |of: fn(&crate::metrics::TokenCount) -> u64| rows().map(|row| of(&row.tokens.slm) as f64).sum::<f64>();
    let per = |tokens: f64, seconds: f64| (seconds > 0.0 && tokens > 0.0).then(|| tokens / seconds);
    Speed {
        prefill_tokens_per_s: per(
            sum(|count| count.input_tokens.saturating_sub(count.cached_tokens)),
            time(Component::Prefill),
        ),
        decode_tokens_per_s: per(sum(|count| count.output_tokens), time(Component::Decode)),
    }
}
