//! What a threshold on the small model's confidence would do: the points that `replay` computes, one after the other.

use super::charts::Curve;
use super::html::{figure, folded, grid, key, missing, note, say};
use super::{Live, View, dollars, listed};
use crate::metrics::significant;
use crate::replay::{Known, Point, Policy, Replay};
use crate::report::page::cost::signed;
use crate::report::{Align, Cell, Column};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The figures of a stop: their keys, what they are called.
const FIGURES: [(&str, &str); 8] = [
    ("threshold", "Threshold"),
    ("sent", "To the large model"),
    ("quality", "Share right"),
    ("difference", "Less the large alone"),
    ("cost", "Cost of 1,000"),
    ("latency", "Median latency"),
    ("over", "Sent in vain"),
    ("under", "Kept wrongly"),
];

pub(super) fn threshold(view: &View<'_>) -> Live {
    let replay = match &view.report.replay {
        Ok(replay) => replay,
        Err(reason) => {
            let how = format!(
                "{reason}. `bench --collect both` asks both models every sample; `report` then draws the curve."
            );
            return Live { html: missing("The curve cannot be drawn:", &how), data: json!([]) };
        }
    };
    let scores: Vec<&Policy> =
        replay.policies.iter().filter(|policy| !policy.control && policy.points.len() > 1).collect();
    if scores.is_empty() {
        let reasons: Vec<String> = replay.not_available.values().cloned().collect();
        let how = format!(
            "no score was recorded for every answer of the small model ({}). An engine that gives token probabilities is needed.",
            reasons.join("; ")
        );
        return Live { html: missing("The curve cannot be drawn:", &how), data: json!([]) };
    }
    let named = replay.verdict.policy.as_ref().and_then(|name| scores.iter().position(|policy| policy.name == *name));
    let active = named.unwrap_or(0);
    let mut html = say(&sentence(&scores));
    let mut data = Vec::new();
    let mut curves = String::new();
    let mut tables = String::new();
    for (number, policy) in scores.iter().enumerate() {
        let first = first_stop(replay, policy);
        let (chart, places) = curve(replay, policy, number, first).draw();
        let hidden = if number == active { "" } else { " hidden" };
        let _ = write!(curves, "<div class=\"curve\" data-score=\"{number}\"{hidden}>{chart}</div>");
        let stops: Vec<Value> = policy
            .points
            .iter()
            .zip(&places)
            .map(|(point, at)| json!({ "shown": shown(replay, point), "at": at }))
            .collect();
        data.push(json!({ "name": policy.name, "first": first, "stops": stops }));
        tables += &table(replay, policy);
    }
    html += &control(replay, &scores, active);
    let entries = [
        ("solid s0".to_owned(), "the score at every threshold"),
        ("dash".to_owned(), "queries sent by chance; dots: the oracle"),
    ];
    let caption = format!(
        "From the answers recorded in this run to {} samples, no model called again: every point is what `replay` computes. \
         An escalated query pays both models.",
        replay.n
    );
    html += &figure(&curves, &key(entries), &caption);
    html += &folded("All thresholds as a table", &tables);
    html += &note(&replay.verdict.text);
    html += &replay.notes.iter().map(|one| note(one)).collect::<String>();
    Live { html, data: Value::Array(data) }
}

fn sentence(scores: &[&Policy]) -> String {
    let beating: Vec<&str> = scores
        .iter()
        .filter(|policy| policy.beats_random.as_ref().is_some_and(|beats| beats.low > 0.0))
        .map(|policy| policy.name.as_str())
        .collect();
    let start = if beating.is_empty() {
        "No recorded score is shown to choose better than chance which queries to send.".to_owned()
    } else {
        let is = if beating.len() == 1 { "is" } else { "are" };
        format!("{} {is} shown to choose better than chance which queries to send.", listed(&beating))
    };
    format!("{start} Drag to see what each threshold does to quality, cost and latency.")
}

/// Where the slider stands first: at the verdict's threshold, else in the middle.
fn first_stop(replay: &Replay, policy: &Policy) -> usize {
    let named = replay.verdict.policy.as_deref() == Some(&policy.name);
    let verdict = policy.points.iter().position(|point| named && point.threshold == replay.verdict.threshold);
    verdict.unwrap_or(policy.points.len() / 2)
}

/// Dollars for 1,000, or calls of the large model for 1,000.
fn cost(replay: &Replay, cost: f64) -> String {
    if replay.cost_unit == "usd" { dollars(Some(cost * 1000.0)) } else { format!("{:.0} calls", cost * 1000.0) }
}

/// What a stop shows, each with the figure as `replay` gives it.
fn shown(replay: &Replay, point: &Point) -> serde_json::Map<String, Value> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let interval = point.interval.map_or_else(String::new, |e| format!(" [{}, {}]", signed(e.low), signed(e.high)));
    let latency = point.latency_s.map(|latency| latency.p50);
    let of = [
        (point.threshold.map_or_else(|| "none".into(), |t| significant(t, 3)), point.threshold),
        (percent(point.strong_share), Some(point.strong_share)),
        (format!("{:.3}", point.quality), Some(point.quality)),
        (format!("{}{interval}", signed(point.difference)), Some(point.difference)),
        (cost(replay, point.cost), Some(point.cost)),
        (latency.map_or_else(|| "n/a".into(), |s| format!("{} s", significant(s, 3))), latency),
        (point.over_escalation.map_or_else(|| "n/a".into(), percent), point.over_escalation),
        (point.under_escalation.map_or_else(|| "n/a".into(), percent), point.under_escalation),
    ];
    FIGURES.iter().zip(of).map(|((name, _), (text, raw))| ((*name).to_owned(), json!([text, raw]))).collect()
}

fn control(replay: &Replay, scores: &[&Policy], active: usize) -> String {
    let policy = scores[active];
    let first = first_stop(replay, policy);
    let mut out = "<div class=\"slider\"><div class=\"controls\"><label>Score<select id=\"score\">".to_owned();
    for (number, score) in scores.iter().enumerate() {
        let selected = if number == active { " selected" } else { "" };
        let when = match score.known {
            Known::AfterWeak => "after the small model's answer",
            Known::BeforeCall => "before any call",
        };
        let _ = write!(
            out,
            "<option value=\"{number}\"{selected}>{}, known {when}</option>",
            super::html::text(&score.name)
        );
    }
    let _ = write!(
        out,
        "</select></label></div><label class=\"small\" for=\"stop\">Drag: how much goes to the large model</label>\
         <input type=\"range\" id=\"stop\" min=\"0\" max=\"{}\" step=\"1\" value=\"{first}\">\
         <div class=\"ends\"><span>all stay small</span><span>all go large</span></div><dl class=\"keys\">",
        policy.points.len() - 1
    );
    let figures = policy.points.get(first).map(|point| shown(replay, point)).unwrap_or_default();
    for (name, called) in FIGURES {
        let value = figures.get(name).cloned().unwrap_or_default();
        let text = value.get(0).and_then(Value::as_str).unwrap_or_default();
        let raw = value.get(1).filter(|raw| !raw.is_null()).map_or_else(String::new, Value::to_string);
        let _ = write!(
            out,
            "<div><dt>{called}</dt><dd><output data-figure=\"{name}\" data-value=\"{raw}\" for=\"stop\">{}</output></dd></div>",
            super::html::text(text)
        );
    }
    out + "</dl></div>"
}

fn curve(replay: &Replay, policy: &Policy, number: usize, first: usize) -> Curve {
    let usd = replay.cost_unit == "usd";
    let scale = 1000.0;
    let at = |cost: f64, quality: f64| (cost * scale, quality);
    let oracle = replay.policies.iter().find(|policy| policy.name == "oracle");
    Curve {
        title: format!("Share right against cost, by the score {}", policy.name),
        x_name: if usd {
            "dollars for 1,000 queries".into()
        } else {
            "calls of the large model for 1,000 queries".into()
        },
        line: policy.curve.iter().map(|point| at(point.cost, point.quality)).collect(),
        oracle: oracle.map(|oracle| oracle.curve.iter().map(|p| at(p.cost, p.quality)).collect()).unwrap_or_default(),
        weak: at(replay.cost.weak, replay.weak),
        strong: at(replay.cost.strong, replay.strong),
        stops: policy.points.iter().map(|point| at(point.cost, point.quality)).collect(),
        first,
        name: number.to_string(),
    }
}

fn table(replay: &Replay, policy: &Policy) -> String {
    let columns: Vec<Column> = FIGURES
        .iter()
        .enumerate()
        .map(|(i, (_, name))| Column::new(name, if i == 0 { Align::Left } else { Align::Right }, None))
        .collect();
    let row = |point: &Point| -> Vec<Cell> {
        let shown = shown(replay, point);
        let cell = |name: &str| {
            let text = shown.get(name).and_then(|value| value.get(0)).and_then(Value::as_str).unwrap_or_default();
            Cell::new(text)
        };
        FIGURES.iter().map(|(name, _)| cell(name)).collect()
    };
    let rows: Vec<Vec<Cell>> = policy.points.iter().map(row).collect();
    format!(
        "{}{}",
        super::html::heading(&policy.name),
        grid(&format!("Thresholds of {}", policy.name), &columns, &rows, "", "")
    )
}
