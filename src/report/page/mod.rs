//! `report.html`: one file that a person decides from. It holds its style, its script and its data, reaches no other address, and
//! works without the script but for what is moved, sorted, filtered or chosen in it.
//!
//! The figures come from `metrics` and `replay`; here they are put into words ([`verdict`], the parts), charts ([`charts`]) and
//! tables ([`html`]). Texts of models and users stand in the page's data, where nothing can execute: `<` is written as JSON
//! writes it, the script turns texts into text nodes alone, and the policy at the page's head lets no other script run.

mod charts;
mod cost;
mod gallery;
mod html;
mod latency;
mod methods;
mod parts;
mod svg;
mod threshold;
mod trials;
mod verdict;

#[cfg(test)]
mod tests;

use super::Report;
use crate::error::{Context, Result};
use crate::metrics::{Figure, significant};
use base64::Engine as _;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Policies that charts with a row for each show at most; tables show all.
const CHARTED: usize = 12;

/// The parts of the page after the verdict: their places and their names in the list of contents.
const CONTENTS: [(&str, &str); 15] = [
    ("cost", "Cost and quality"),
    ("policies", "All policies"),
    ("threshold", "Threshold"),
    ("latency", "Latency"),
    ("routing", "Routing"),
    ("contract", "Contract"),
    ("memory", "Memory"),
    ("confidence", "Confidence"),
    ("break-even", "Break-even"),
    ("device", "Device"),
    ("slices", "Kinds of sample"),
    ("seeds", "Seeds"),
    ("answers", "Answers"),
    ("trials", "Trials"),
    ("methods", "Methods"),
];

/// Makes the page.
pub fn page(report: &Report) -> Result<String> {
    let names = names(report);
    let view = View { report, names: &names, order: order(report) };
    let threshold = threshold::threshold(&view);
    let (gallery, gallery_cut) = gallery::shown(&report.gallery);
    let trials = gallery::list(&report.listed);
    let break_even = cost::break_even(&view);
    let data = json!({
        "summary": report.summary,
        "policies": names,
        "threshold": threshold.data,
        "break_even": break_even.data,
        "gallery": gallery,
        "trials": trials,
    });
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_template("page.html", TEMPLATE).context("reading the page's template")?;
    let template = environment.get_template("page.html").context("reading the page's template")?;
    let page = template.render(context! {
        policy => format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
            hash(SCRIPT), hash(STYLE)
        ),
        title => format!("{} · routergym-local", svg::short(&report.summary.task, 60)),
        run => svg::short(&report.summary.run, 120),
        heading => verdict::heading(report),
        facts => verdict::facts(report),
        verdict => Serde(verdict::verdict(&view)),
        contents => CONTENTS,
        cost => cost::scatters(&view),
        leaderboard => cost::leaderboard(&view),
        threshold => threshold.html,
        latency => latency::latency(&view),
        routing => parts::routing(&view),
        contract => parts::contract(&view),
        memory => parts::memory(&view),
        confidence => parts::confidence(&view),
        break_even => break_even.html,
        device => parts::device(&view),
        slices => parts::slices(&view),
        seeds => parts::seeds(&view),
        answers => trials::answers(&view, &gallery, gallery_cut),
        trials => trials::trials(&view, trials.len()),
        methods => methods::methods(&view),
        data => embedded(&data)?,
        css => STYLE,
        script => SCRIPT,
    });
    page.context("filling in the page's template")
}

/// A part that is alive: what stands in the page, and what its script needs.
struct Live {
    html: String,
    data: serde_json::Value,
}

/// A report as the parts see it.
struct View<'a> {
    report: &'a Report,
    /// The policies as they are called in the page.
    names: &'a [String],
    /// Their numbers, the most accurate first.
    order: Vec<usize>,
}

impl View<'_> {
    fn name(&self, policy: usize) -> &str {
        self.names.get(policy).map_or("", String::as_str)
    }

    /// The policies that charts with a row for each show, and a note where that leaves some out.
    fn charted(&self) -> (&[usize], String) {
        let shown = self.order.get(..CHARTED).unwrap_or(&self.order);
        let left_out = self.order.len() - shown.len();
        let note = if left_out == 0 {
            String::new()
        } else {
            format!(" The {left_out} least accurate policies are left out here.")
        };
        (shown, note)
    }

    fn number_of(&self, cell: &str) -> Option<usize> {
        self.report.summary.policies.iter().position(|policy| policy.cell == cell)
    }
}

/// The names of policies: that of the router where it stands alone, else with what tells it apart.
fn names(report: &Report) -> Vec<String> {
    let policies = &report.summary.policies;
    let several = |name: &str| policies.iter().filter(|other| other.router_name() == name).count() > 1;
    policies
        .iter()
        .map(|policy| {
            let name = if several(policy.router_name()) { &policy.cell } else { policy.router_name() };
            svg::short(&super::printable(name), 80)
        })
        .collect()
}

/// The policies' numbers, the most accurate first, those without an accuracy last.
fn order(report: &Report) -> Vec<usize> {
    let policies = &report.summary.policies;
    let mut order: Vec<usize> = (0..policies.len()).collect();
    let accuracy = |i: usize| policies[i].accuracy.value.unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|&a, &b| accuracy(b).total_cmp(&accuracy(a)));
    order
}

/// Data for the script, as it may stand in an element: nothing in it can end the element or begin another.
fn embedded(data: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(data).context("writing the page's data")?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn hash(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// The interval of a figure.
fn ends(figure: &Figure) -> Option<(f64, f64)> {
    figure.low.zip(figure.high)
}

/// A share with two decimals, or why there is none.
fn share(figure: &Figure) -> String {
    match (figure.value, ends(figure)) {
        (Some(value), Some((low, high))) => format!("{value:.2} [{low:.2}–{high:.2}]"),
        (Some(value), None) => format!("{value:.2}"),
        (None, _) => "n/a".into(),
    }
}

/// Dollars, or that there are none.
fn dollars(value: Option<f64>) -> String {
    value.map_or_else(|| "n/a".into(), |value| format!("${}", significant(value, 3)))
}

/// Names as people list them.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
