//! Whether the weak model can replace the strong one, and what that would save.

use super::evaluate::{ALWAYS_WEAK, Data, Draw};
use super::points::Point;
use super::{Options, Policy};
use crate::metrics::routing::Totals;
use crate::metrics::statistics::{Undefined, Z_ONE_SIDED, percentile_ends, score_bound};
use serde::Serialize;

/// What the outcomes decide.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// In words.
    pub text: String,
    /// Whether the data settle the question of whether the weak model alone can replace the strong one.
    pub decided: bool,
    /// The answer: quality at most `margin` below; null where the data cannot tell.
    pub weak_replaces_strong: Option<bool>,
    /// The cheapest policy that is shown to lose at most `margin`; null where none but the strong model alone is.
    pub policy: Option<String>,
    /// Its threshold.
    pub threshold: Option<f64>,
    /// Share of queries that stays with the weak model.
    pub local_share: Option<f64>,
    /// Its mean quality.
    pub quality: Option<f64>,
    /// One-sided 95 % lower bound of its quality less that of the strong model.
    pub lower_bound: Option<f64>,
    /// What it costs, in `cost_unit`.
    pub cost: Option<f64>,
    /// Where the machine pays for itself; null where costs are not known.
    pub break_even: Option<BreakEven>,
    /// Why there is none.
    pub break_even_reason: Option<String>,
}

/// Where the verdict's policy costs as much as the strong model alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BreakEven {
    /// The strong model's price per query at which both cost the same, in dollars.
    pub strong_usd_per_query: f64,
    /// Queries a day from which a machine that is on all day is paid by what is saved; null where no rate of it is known.
    pub queries_per_day: Option<f64>,
}

/// The policy that the verdict names.
struct Choice<'a> {
    policy: &'a str,
    threshold: Option<f64>,
    local_share: f64,
    quality: f64,
    lower_bound: Option<f64>,
    cost: f64,
    /// Dollars per query that it leaves with the strong and with the weak model.
    spent: (f64, f64),
}

/// Judges. `policies` are in the order of the tables.
pub(super) fn verdict(
    data: &Data,
    policies: &[Policy],
    drawn: &Result<&Vec<Draw>, Undefined>,
    options: &Options,
) -> Verdict {
    let alone = alone(data, drawn);
    let weak_replaces_strong = match &alone {
        Ok((lower, _)) if *lower > -options.margin => Some(true),
        Ok((_, upper)) if *upper < -options.margin => Some(false),
        _ => None,
    };
    let tried = policies.iter().filter(|policy| !policy.control).count();
    // Where the weak model alone is enough, the policy is that, whatever else was tried.
    let choice = if weak_replaces_strong == Some(true) {
        Some(Choice {
            policy: ALWAYS_WEAK,
            threshold: None,
            local_share: 1.0,
            quality: data.models.weak,
            lower_bound: alone.as_ref().ok().map(|bounds| bounds.0),
            cost: data.span.weak,
            spent: (0.0, data.span.weak),
        })
    } else {
        cheapest_passing(policies, data.span.strong)
    };
    let break_even = match &choice {
        Some(choice) => break_even(data, choice.spent),
        None => Err(Undefined("no policy passes".to_owned())),
    };
    let mut sentences = vec![on_the_weak_model(data, &alone, weak_replaces_strong, options.margin)];
    if weak_replaces_strong != Some(true) {
        sentences.push(on_the_policy(choice.as_ref(), tried, options.margin));
    }
    sentences.extend(break_even.as_ref().ok().map(on_the_break_even));
    Verdict {
        text: sentences.join(" "),
        decided: weak_replaces_strong.is_some(),
        weak_replaces_strong,
        policy: choice.as_ref().map(|choice| choice.policy.to_owned()),
        threshold: choice.as_ref().and_then(|choice| choice.threshold),
        local_share: choice.as_ref().map(|choice| choice.local_share),
        quality: choice.as_ref().map(|choice| choice.quality),
        lower_bound: choice.as_ref().and_then(|choice| choice.lower_bound),
        cost: choice.as_ref().map(|choice| choice.cost),
        break_even_reason: break_even.as_ref().err().map(|reason| format!("undefined because {reason}")),
        break_even: break_even.ok(),
    }
}

/// Of the policies that pass at some threshold the one that costs least there, and less than the strong model; of equals the
/// first.
fn cheapest_passing(policies: &[Policy], strong_cost: f64) -> Option<Choice<'_>> {
    let passing = policies.iter().filter(|policy| !policy.control).filter_map(|policy| {
        let point = smallest_passing(&policy.points)?;
        Some(Choice {
            policy: &policy.name,
            threshold: point.threshold,
            local_share: 1.0 - point.strong_share,
            quality: point.quality,
            lower_bound: point.lower_bound,
            cost: point.cost,
            spent: point.spent,
        })
    });
    passing
        .filter(|choice| choice.cost < strong_cost)
        .reduce(|best, next| if next.cost < best.cost { next } else { best })
}

/// The last threshold that passes on the way from all queries at the strong model downwards. Testing in an order that is
/// fixed beforehand and stopping at the first failure keeps the chance of a false claim about the policy at 5 %, however many
/// thresholds there are.
fn smallest_passing(points: &[Point]) -> Option<&Point> {
    let passing = |point: &&Point| point.non_inferior == Some(true);
    points.iter().rev().skip_while(|point| point.strong_share >= 1.0).take_while(passing).last()
}

/// The one-sided 95 % bounds of the weak model's quality less the strong one's.
fn alone(data: &Data, drawn: &Result<&Vec<Draw>, Undefined>) -> Result<(f64, f64), Undefined> {
    let draws = drawn.as_ref().map_err(Clone::clone)?;
    data.may_bound()?;
    let difference = |Totals { rows, weak, strong, .. }: Totals| (weak - strong) / rows;
    let differences: Vec<_> = draws.iter().map(|draw| Some(difference(draw.totals))).collect();
    let (mut lower, mut upper) = percentile_ends(&differences, 0.05)?;
    if data.right_or_wrong && data.outcomes.rows_are_queries() {
        let n = data.gains.len() as f64;
        let won = data.gains.iter().filter(|&&gain| gain < 0.0).count() as f64;
        let lost = data.gains.iter().filter(|&&gain| gain > 0.0).count() as f64;
        lower = lower.min(score_bound(n, won, lost, Z_ONE_SIDED));
        upper = upper.max(score_bound(n, won, lost, -Z_ONE_SIDED));
    }
    Ok((lower, upper))
}

fn on_the_weak_model(data: &Data, alone: &Result<(f64, f64), Undefined>, answer: Option<bool>, margin: f64) -> String {
    let (weak, strong) = (&data.outcomes.weak_model, &data.outcomes.strong_model);
    let difference = (data.models.weak - data.models.strong) * 100.0;
    let found = match alone {
        Ok((lower, upper)) => format!(
            "difference {difference:+.2} points, one-sided 95 % bounds {:+.2} and {:+.2}, margin {margin}",
            lower * 100.0,
            upper * 100.0
        ),
        Err(reason) => format!("difference {difference:+.2} points; its bounds are undefined because {reason}"),
    };
    match answer {
        Some(true) => format!("{weak} can replace {strong} here: it is not worse by more than the margin ({found})."),
        Some(false) => {
            format!("{weak} alone cannot replace {strong} here: it is worse by more than the margin ({found}).")
        }
        None => format!("Cannot tell whether {weak} alone can replace {strong} here ({found})."),
    }
}

fn on_the_policy(choice: Option<&Choice>, tried: usize, margin: f64) -> String {
    match (choice, tried) {
        (None, 0) => {
            "No policy was given that could share the work: name a score, or let routers learn from the text.".into()
        }
        (None, _) => format!(
            "None of the {tried} policies tried is shown to stay within {margin} of the strong model at a lower cost."
        ),
        (Some(choice), _) => format!(
            "The cheapest policy that is shown to stay within {margin} of it is {}: {:.1} % of queries stay with the weak model, \
             quality {:.3} % (one-sided 95 % bound of the difference {:+.2} points; {tried} tried, each from all queries at the \
             strong model downwards).",
            choice.policy,
            choice.local_share * 100.0,
            choice.quality * 100.0,
            choice.lower_bound.unwrap_or(f64::NAN) * 100.0,
        ),
    }
}

fn on_the_break_even(at: &BreakEven) -> String {
    let volume = at.queries_per_day.map_or_else(String::new, |queries| {
        format!("; a machine that is on all day pays for itself from {} queries a day", queries.ceil())
    });
    format!(
        "It costs as much as the strong model alone where that costs ${:.6} a query{volume}.",
        at.strong_usd_per_query
    )
}

/// `spent` are the dollars per query that the policy leaves with the strong and with the weak model.
fn break_even(data: &Data, spent: (f64, f64)) -> Result<BreakEven, Undefined> {
    if data.outcomes.cost.is_none() {
        return Err(Undefined("no costs were given".to_owned()));
    }
    let (strong, weak) = spent;
    let avoided = data.span.strong - strong;
    if avoided <= 0.0 {
        return Err(Undefined(
            "the policy spends as much on the strong model as the strong model alone costs".to_owned(),
        ));
    }
    let queries_per_day = data.outcomes.hardware.and_then(|hardware| {
        // What the machine's own time costs is paid by the day already.
        let saved = if hardware.is_weak_cost { avoided } else { avoided - weak };
        (saved > 0.0).then(|| 24.0 * hardware.usd_per_hour / saved)
    });
    Ok(BreakEven { strong_usd_per_query: weak / avoided * data.span.strong, queries_per_day })
}
