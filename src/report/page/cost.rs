//! Quality against cost and latency, the list of policies, and when the device pays.

use super::charts::{Mark, Point, Scatter, bar, colour};
use super::html::{figure, folded, grid, key, missing, note, say, text};
use super::{Live, View, ends, listed};
use crate::device::Basis;
use crate::metrics::details::{LlmTokens, break_even_per_day};
use crate::metrics::{Figure, PolicySummary, significant};
use crate::report::{Align, Cell, Column};
use serde_json::json;
use std::fmt::Write as _;

/// Queries a day for which the break-even is shown.
const VOLUMES: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];
const HOURS: f64 = 24.0;

/// Cost and latency against accuracy.
pub(super) fn scatters(view: &View<'_>) -> String {
    let report = view.report;
    let details = &report.details;
    let costs: Vec<&Figure> = details.policies.iter().map(|policy| &policy.cost).collect();
    let mut out = String::new();
    let has_hardware = details.policies.iter().any(|policy| policy.cost_has_hardware);
    let (points, hull) = points(view, &costs, &details.hull_cost);
    if points.is_empty() {
        let reason = costs.iter().find_map(|cost| cost.reason.clone()).unwrap_or_else(|| "no policy was run".into());
        out += &missing(
            "Cost cannot be shown.",
            &format!("{}. Run `bench --price ROW`, where ROW is a row of models/prices.toml.", sentence(&reason)),
        );
    } else {
        let mut points = points;
        let controls = controls(view);
        let chance = chance(view);
        points.extend(controls);
        out += &say(&edge(view));
        let names =
            if has_hardware { "dollars for 1,000 queries, API and machine" } else { "dollars for 1,000 queries, API" };
        let scatter = Scatter {
            title: "Accuracy against the cost of 1,000 queries".into(),
            x_name: names.into(),
            y_name: "accuracy".into(),
            points,
            hull,
            chance,
        };
        let caption =
            "Up and to the left is better. Lines through a point are 95 % intervals, of the cost and of the accuracy.";
        out += &figure(&scatter.draw(), &control_key(view), caption);
        if let Err(reason) = &report.replay {
            out += &missing(
                "The controls are missing:",
                &format!("{reason}. Run `bench --collect both`, which asks both models every sample."),
            );
        }
    }
    let medians: Vec<&Figure> = report.summary.policies.iter().map(|policy| &policy.intervals.latency_p50_s).collect();
    let (points, hull) = self::points(view, &medians, &details.hull_latency);
    if !points.is_empty() {
        let scatter = Scatter {
            title: "Accuracy against median latency".into(),
            x_name: "median seconds of a query".into(),
            y_name: "accuracy".into(),
            points,
            hull,
            chance: None,
        };
        let caption = if report.header.llm_is_stand_in {
            "The same against the median latency. The large model is a stand-in on this machine: a remote API is faster or slower."
        } else {
            "The same against the median latency of a query."
        };
        out += &folded("The same against latency", &figure(&scatter.draw(), "", caption));
    }
    let joules: Vec<&Figure> = report.summary.policies.iter().map(|policy| &policy.energy.joules_per_request).collect();
    let (points, hull) = self::points(view, &joules, &details.hull_energy);
    if points.is_empty() {
        let why = report.header.energy.reason.as_deref().unwrap_or("the run recorded none");
        out += &note(&format!("Against energy there is no chart: {why}."));
    } else {
        let scatter = Scatter {
            title: "Accuracy against energy".into(),
            x_name: "joules of a query".into(),
            y_name: "accuracy".into(),
            points,
            hull,
            chance: None,
        };
        let caption = if report.header.energy.basis == Some(Basis::Measured) {
            "The same against the energy that this machine took for a query."
        } else {
            "The same against energy, estimated from the power that was given: not measured."
        };
        out += &folded("The same against energy", &figure(&scatter.draw(), "", caption));
    }
    out
}

/// A reason as the beginning of a text.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn points(view: &View<'_>, burdens: &[&Figure], hull: &[usize]) -> (Vec<Point>, Vec<(f64, f64)>) {
    let policies = &view.report.summary.policies;
    let point = |(i, (burden, policy)): (usize, (&&Figure, &PolicySummary))| {
        Some(Point {
            name: view.name(i).to_owned(),
            x: (burden.value?, ends(burden)),
            y: (policy.accuracy.value?, ends(&policy.accuracy)),
            mark: Mark::Policy(i),
        })
    };
    let points = burdens.iter().zip(policies).enumerate().filter_map(point).collect();
    let vertex = |&i: &usize| Some((burdens.get(i)?.value?, policies.get(i)?.accuracy.value?));
    (points, hull.iter().filter_map(vertex).collect())
}

/// Each model alone and the oracle, as `replay` judges them on the samples that both answered, where a cost is in dollars.
fn controls(view: &View<'_>) -> Vec<Point> {
    let Ok(replay) = &view.report.replay else { return Vec::new() };
    if replay.cost_unit != "usd" {
        return Vec::new();
    }
    let interval = |name: &str| replay.intervals.get(name).map(|ends| (ends.low, ends.high));
    let point = |name: &str, cost: f64, quality: f64, of: &str, corners| Point {
        name: name.into(),
        x: (cost * 1000.0, None),
        y: (quality, interval(of)),
        mark: Mark::Control(corners),
    };
    let mut found = vec![
        point("small model alone", replay.cost.weak, replay.weak, "weak", 3),
        point("large model alone", replay.cost.strong, replay.strong, "strong", 0),
    ];
    let oracle = replay.policies.iter().find(|policy| policy.name == "oracle").and_then(|policy| policy.curve.last());
    found.extend(oracle.map(|at| point("oracle", at.cost, replay.oracle, "oracle", 4)));
    found
}

fn chance(view: &View<'_>) -> Option<[(f64, f64); 2]> {
    let replay = view.report.replay.as_ref().ok().filter(|replay| replay.cost_unit == "usd")?;
    Some([(replay.cost.weak * 1000.0, replay.weak), (replay.cost.strong * 1000.0, replay.strong)])
}

fn control_key(view: &View<'_>) -> String {
    let mut entries = vec![("solid".to_owned(), "upper hull: nothing that was run lies above it")];
    if chance(view).is_some() {
        entries.push(("dash".into(), "queries sent by chance"));
        entries.push(("hollow".into(), "controls from the recorded answers; the oracle knows who is right"));
    }
    key(entries)
}

fn edge(view: &View<'_>) -> String {
    let hull = &view.report.details.hull_cost;
    let names: Vec<&str> = hull.iter().map(|&i| view.name(i)).collect();
    let overlap = {
        let policies = &view.report.summary.policies;
        let lows = policies.iter().filter_map(|policy| policy.accuracy.low).fold(0.0, f64::max);
        let highs = policies.iter().filter_map(|policy| policy.accuracy.high).fold(1.0, f64::min);
        lows <= highs && policies.len() > 1
    };
    let doubt = if overlap {
        " The intervals of accuracy all overlap, so this order may be chance: trust the paired differences above."
    } else {
        ""
    };
    match *names {
        [] => "No policy has both a cost and an accuracy.".into(),
        [one] => format!("No policy that was run is more accurate or cheaper than {one}.{doubt}"),
        _ => format!(
            "From cheap to dear the best trade-offs that were run are {}: each is the most accurate at its cost.{doubt}",
            listed(&names)
        ),
    }
}

/// All policies, the most accurate first.
pub(super) fn leaderboard(view: &View<'_>) -> String {
    let report = view.report;
    let summary = &report.summary;
    if summary.policies.is_empty() {
        return missing("No policy was run.", "The header of the run lists no cell.");
    }
    let low = summary.policies.iter().filter_map(|policy| policy.accuracy.low).fold(1.0, f64::min);
    let high = summary.policies.iter().filter_map(|policy| policy.accuracy.high).fold(0.0, f64::max);
    let heads = [
        ("policy", "left"),
        ("rank, 95 % range", ""),
        ("accuracy", ""),
        ("95 % interval", "left"),
        ("against reference", ""),
        ("$ for 1,000", ""),
        ("p50 (s)", ""),
        ("p95 (s)", ""),
        ("asked the large model", ""),
        ("escalated", ""),
        ("contract kept at first", ""),
        ("grounded", ""),
        ("n", ""),
        ("failed", ""),
    ];
    let mut table = "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"All policies\">\
                     <table class=\"sortable\" id=\"policy-table\"><thead><tr>"
        .to_owned();
    for (name, class) in heads {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = write!(table, "<th scope=\"col\"{class}>{name}</th>");
    }
    table += "</tr></thead><tbody>";
    for &i in &view.order {
        table += &row(view, i, (low.min(high), high.max(low)));
    }
    table += "</tbody></table></div>";
    let filter = "<p class=\"controls\"><label>Filter policies <input type=\"search\" data-filter=\"policy-table\" \
                  data-status=\"policy-status\"></label><span class=\"small\" id=\"policy-status\" role=\"status\"></span></p>";
    let ranks = &report.details.ranks;
    let how = match &ranks.reason {
        None => format!(
            "The range of a rank holds 95 % of {} resamples of the {} samples that all ranked policies answered.",
            ranks.draws, ranks.n
        ),
        Some(reason) => format!("Ranks have no range: {reason}."),
    };
    let reference = &summary.verdict.reference;
    format!(
        "{}{filter}{table}{}",
        say(&first_places(view)),
        note(&format!(
            "{how} Against reference: accuracy less that of {reference} over the samples that both answered. The reference is \
             {reference}; a green row is the policy of the verdict. Sort by the heads of the columns."
        ))
    )
}

fn first_places(view: &View<'_>) -> String {
    let ranks = &view.report.details.ranks.of;
    let leaders: Vec<&str> =
        view.order.iter().filter(|&&i| ranks[i].is_some_and(|rank| rank.best == 1)).map(|&i| view.name(i)).collect();
    match *leaders {
        [] => "The policies cannot be ranked.".into(),
        [one] => format!("{one} is the most accurate here in at least 95 % of resamples."),
        _ if leaders.len() > 6 => {
            format!("{} policies may each be the most accurate: this run does not order them.", leaders.len())
        }
        _ => format!("Any of {} may be the most accurate: this run does not order them.", listed(&leaders)),
    }
}

fn row(view: &View<'_>, i: usize, scale: (f64, f64)) -> String {
    let summary = &view.report.summary;
    let (policy, detail) = (&summary.policies[i], &view.report.details.policies[i]);
    let chosen = summary.verdict.cell.as_ref() == Some(&policy.cell);
    let mut out = format!("<tr{}>", if chosen { " class=\"chosen\"" } else { "" });
    let rest = policy.cell.strip_prefix(policy.router_name()).unwrap_or_default().trim_start_matches('/');
    let _ = write!(
        out,
        "<th scope=\"row\" class=\"left\"><span class=\"swatch {}\"></span><bdi>{}</bdi><small><bdi>{}</bdi></small></th>",
        colour(i),
        text(&super::svg::short(policy.router_name(), 60)),
        text(&super::svg::short(rest, 60))
    );
    let rank = view.report.details.ranks.of[i];
    let shown = rank.map_or_else(|| "n/a".into(), |rank| rank.rank.to_string());
    let range = rank.map_or_else(String::new, |rank| match (rank.best, rank.worst) {
        (best, worst) if best == worst => String::new(),
        (best, worst) => format!("{best} to {worst}"),
    });
    cell(&mut out, rank.map(|rank| rank.rank as f64), &shown, &range);
    figure_cell(&mut out, &policy.accuracy, policy.n, |value| format!("{value:.2}"));
    let drawn =
        policy.accuracy.value.map_or_else(String::new, |value| bar(value, ends(&policy.accuracy), scale, &colour(i)));
    let _ = write!(out, "<td class=\"left\">{drawn}</td>");
    let against = summary.verdict.comparisons.iter().find(|one| one.cell == policy.cell);
    match against.and_then(|one| one.difference) {
        Some(d) => {
            let detail = format!("[{}, {}]", signed(d.low), signed(d.high));
            cell(&mut out, Some(d.value), &signed(d.value), &detail);
        }
        None if policy.router_name() == summary.verdict.reference => cell(&mut out, Some(0.0), "reference", ""),
        None => cell(&mut out, None, "n/a", ""),
    }
    let three = |value: f64| significant(value, 3);
    let two = |value: f64| format!("{value:.2}");
    figure_cell(&mut out, &detail.cost, policy.n, three);
    figure_cell(&mut out, &policy.intervals.latency_p50_s, policy.n, three);
    figure_cell(&mut out, &policy.intervals.latency_p95_s, policy.n, three);
    for figure in [
        &policy.intervals.llm_call_rate,
        &policy.intervals.escalation_rate,
        &policy.intervals.schema_valid_first,
        &policy.intervals.groundedness,
    ] {
        figure_cell(&mut out, figure, policy.n, two);
    }
    cell(&mut out, Some(policy.n as f64), &policy.n.to_string(), "");
    cell(&mut out, Some(policy.failures as f64), &policy.failures.to_string(), "");
    out + "</tr>"
}

fn figure_cell(out: &mut String, figure: &Figure, n: usize, show: impl Fn(f64) -> String) {
    let shown = figure.value.map_or_else(|| "n/a".into(), &show);
    let mut detail = ends(figure).map_or_else(String::new, |(low, high)| format!("[{}–{}]", show(low), show(high)));
    if figure.value.is_some() && figure.n != n {
        let _ = write!(detail, " n={}", figure.n);
    }
    cell(out, figure.value, &shown, detail.trim());
}

fn cell(out: &mut String, value: Option<f64>, shown: &str, detail: &str) {
    let raw = value.map_or_else(String::new, |value| value.to_string());
    let detail = if detail.is_empty() { String::new() } else { format!("<small>{}</small>", text(detail)) };
    let _ = write!(out, "<td data-value=\"{raw}\">{}{detail}</td>", text(shown));
}

pub(super) fn signed(value: f64) -> String {
    let shown = format!("{:.2}", value.abs());
    match value {
        _ if shown == "0.00" => shown,
        v if v < 0.0 => format!("−{shown}"),
        _ => format!("+{shown}"),
    }
}

/// From how many queries a day the device pays, at the run's prices and at the reader's.
pub(super) fn break_even(view: &View<'_>) -> Live {
    let report = view.report;
    let summary = &report.summary;
    let reference = summary.policies.iter().position(|policy| policy.router_name() == summary.verdict.reference);
    let tokens = |i: usize| report.details.policies[i].llm_tokens;
    let Some((reference, reference_tokens)) = reference.and_then(|i| Some((i, tokens(i)?))) else {
        let how = format!(
            "{} was not run, or none of its trials was scored: put it into `--router`.",
            summary.verdict.reference
        );
        return Live { html: missing("There is nothing to compare with:", &how), data: json!(null) };
    };
    let price = report.header.llm_price.as_ref();
    let hourly = report.header.hardware_price.as_ref().map(|price| price.per_day() / HOURS);
    let others: Vec<usize> = view.charted().0.iter().copied().filter(|&i| i != reference).collect();
    let api = |tokens: LlmTokens| price.map(|price| api_per_1000(tokens, price));
    let day = hourly.map(|hourly| hourly * HOURS);
    let rows = others.iter().map(|&i| even_row(view.name(i), api(reference_tokens), tokens(i).and_then(api), day));
    let mut columns = vec![
        Column::new("policy", Align::Left, None),
        Column::new("API for 1,000", Align::Right, Some("$")),
        Column::new("pays from queries a day", Align::Right, None),
    ];
    columns.extend(
        VOLUMES.map(|volume| Column::new(&format!("saved a day at {}", grouped(volume)), Align::Right, Some("$"))),
    );
    let table = grid("Break-even by queries a day", &columns, &rows.collect::<Vec<_>>(), "", "even");
    let best = others
        .iter()
        .filter_map(|&i| Some((i, break_even_per_day(api(reference_tokens)?, tokens(i).and_then(api)?, day?)?)));
    let text = match best.min_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((i, from)) => format!(
            "At the run's prices a machine that is on all day is paid by {} from {} queries a day: below that {} is cheaper.",
            view.name(i),
            grouped(from.ceil() as u64),
            summary.verdict.reference
        ),
        None if price.is_none() => "The run has no price of the API: type one in, and the table is filled.".into(),
        None => "At the run's prices no policy saves anything on the API.".into(),
    };
    let input = |id: &str, label: &str, value: Option<f64>, step: &str| {
        let value = value.map_or_else(String::new, |value| value.to_string());
        format!("<label>{label}<input type=\"number\" id=\"{id}\" min=\"0\" step=\"{step}\" value=\"{value}\"></label>")
    };
    let assumptions = [
        input("price-in", "Input, $ for a million tokens", price.map(|price| price.input_usd_per_million), "any"),
        input(
            "price-cached",
            "Cached input, $ for a million",
            price.and_then(|p| p.cached_input_usd_per_million),
            "any",
        ),
        input("price-out", "Output, $ for a million tokens", price.map(|price| price.output_usd_per_million), "any"),
        input("hourly", "The machine, $ for an hour", hourly, "any"),
        input("hours", "Hours a day that it is on", Some(HOURS), "any"),
    ];
    let html = format!(
        "{}<form class=\"controls\" id=\"assumptions\">{}</form>{table}<p class=\"note\">{} alone costs $<b id=\"even-reference\">{}</b> \
         of API for 1,000 queries. Tokens are those measured in this run; the machine is paid by the hour, used or not. Savings may be \
         bought with accuracy: see the verdict.</p>",
        say(&text),
        assumptions.concat(),
        self::text(&summary.verdict.reference),
        api(reference_tokens).map_or_else(|| "n/a".into(), |usd| significant(usd, 3)),
    );
    let data = json!({
        "reference": reference_tokens,
        "policies": others.iter().map(|&i| json!({ "tokens": tokens(i) })).collect::<Vec<_>>(),
        "volumes": VOLUMES,
    });
    Live { html, data }
}

/// What so many tokens cost a thousand times, at a price.
fn api_per_1000(tokens: LlmTokens, price: &crate::record::Price) -> f64 {
    let cached = price.cached_input_usd_per_million.unwrap_or(price.input_usd_per_million);
    let LlmTokens { input, cached: from_cache, output } = tokens;
    ((input - from_cache) * price.input_usd_per_million + from_cache * cached + output * price.output_usd_per_million)
        / 1000.0
}

fn even_row(name: &str, reference: Option<f64>, mine: Option<f64>, day: Option<f64>) -> Vec<Cell> {
    let saved = reference.zip(mine).map(|(reference, mine)| (reference - mine) / 1000.0);
    let from = match (reference, mine, day) {
        (Some(reference), Some(mine), Some(day)) => {
            break_even_per_day(reference, mine, day).map_or_else(|| "never".into(), |from| from.ceil().to_string())
        }
        _ => "n/a".into(),
    };
    let net = |volume: u64| Some(volume as f64 * saved? - day?);
    let mut row = vec![Cell::new(name), Cell::new(money(mine)), Cell::new(from)];
    row.extend(VOLUMES.map(|volume| Cell::new(money(net(volume)))));
    row
}

fn money(value: Option<f64>) -> String {
    value.map_or_else(
        || "n/a".into(),
        |value| format!("{}{}", if value < 0.0 { "−" } else { "" }, significant(value.abs(), 3)),
    )
}

/// A whole number with its thousands apart.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut out = digits.get(..first).unwrap_or_default().to_owned();
    for group in digits.as_bytes().get(first..).unwrap_or_default().chunks(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(std::str::from_utf8(group).unwrap_or_default());
    }
    out
}
