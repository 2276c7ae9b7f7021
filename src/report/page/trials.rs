//! Answers side by side, and the list of trials. Their texts stand in the page's data and are put in place by its script.

use super::View;
use super::gallery::Shown;
use super::html::{missing, note, say, text};
use crate::report::collect::{GALLERY_POLICIES, LISTED_TRIALS};
use std::fmt::Write as _;

const WITHOUT_SCRIPT: &str = "<noscript><p class=\"missing\"><b>This part needs the page's script,</b> which is turned off. \
                              trials.jsonl in the run's folder holds every trial.</p></noscript>";

/// Answers of two policies to the same sample.
pub(super) fn answers(view: &View<'_>, gallery: &[Shown], cut: bool) -> String {
    if gallery.is_empty() {
        let how =
            "Every trial is right, or none was recorded: there is no answer that policies disagree about or get wrong.";
        return missing("There is nothing to look at.", how);
    }
    let policies = view.names.len().min(GALLERY_POLICIES);
    let reference =
        view.report.summary.policies.iter().position(|p| p.router_name() == view.report.summary.verdict.reference);
    let right = reference.filter(|&i| i < policies).unwrap_or(0);
    let left = (0..policies).find(|&i| i != right).unwrap_or(right);
    let choose = |id: &str, label: &str, chosen: usize| {
        let mut out = format!("<label>{label}<select id=\"{id}\">");
        for (i, name) in view.names.iter().enumerate().take(policies) {
            let selected = if i == chosen { " selected" } else { "" };
            let _ = write!(out, "<option value=\"{i}\"{selected}>{}</option>", text(name));
        }
        out + "</select></label>"
    };
    let mut samples = "<label>Sample<select id=\"gallery-sample\">".to_owned();
    for (i, one) in gallery.iter().enumerate() {
        let _ = write!(samples, "<option value=\"{i}\">{}</option>", text(one.title()));
    }
    samples += "</select></label>";
    let mut out = say(&format!(
        "{} samples that policies disagree about, or that none has right, with what went in and what came out.",
        gallery.len()
    ));
    let _ = write!(
        out,
        "<div class=\"controls\">{samples}<button type=\"button\" class=\"plain gallery-step\" data-step=\"-1\">Previous</button>\
         <button type=\"button\" class=\"plain gallery-step\" data-step=\"1\">Next</button>{}{}</div>\
         <p class=\"screen\" id=\"gallery-gold\"></p><div class=\"two screen\" id=\"gallery\" aria-live=\"polite\"></div>{WITHOUT_SCRIPT}",
        choose("gallery-left", "On the left", left),
        choose("gallery-right", "On the right", right),
    );
    let mut notes = "Samples are taken evenly over the run, so that no part of it is preferred. Personal data that the safety rules find is \
                     replaced by placeholders; long texts are cut. trials.jsonl holds everything."
        .to_owned();
    if view.names.len() > policies {
        let _ = write!(notes, " Answers of the first {policies} policies of {} are here.", view.names.len());
    }
    if cut {
        notes += " Fewer samples are here than there are, because their answers are long.";
    }
    out + &note(&notes)
}

/// The list of trials, which the script fills.
pub(super) fn trials(view: &View<'_>, listed: usize) -> String {
    if listed == 0 {
        return missing("No trial was recorded.", "trials.jsonl holds no line that belongs to a cell of run.json.");
    }
    let all = view.report.trials;
    let mut out = say(&if listed < all {
        format!(
            "{listed} of {all} trials, those of samples taken evenly over the run; the figures above are of all trials."
        )
    } else {
        format!("All {all} trials.")
    });
    let mut policies = "<option value=\"\">all</option>".to_owned();
    for (i, name) in view.names.iter().enumerate() {
        let _ = write!(policies, "<option value=\"{i}\">{}</option>", text(name));
    }
    let heads = [
        "sample",
        "policy",
        "result",
        "gold label",
        "label",
        "large model because of",
        "calls",
        "confidence",
        "latency (s)",
        "API for 1,000 ($)",
    ];
    let head = |(i, head): (usize, &&str)| {
        let class = if i < 6 { " class=\"left\"" } else { "" };
        format!("<th scope=\"col\"{class}>{head}</th>")
    };
    let heads: String = heads.iter().enumerate().map(head).collect();
    let _ = write!(
        out,
        "<div class=\"controls\"><label>Search<input type=\"search\" id=\"trial-search\"></label>\
         <label>Policy<select id=\"trial-policy\">{policies}</select></label>\
         <label>Result<select id=\"trial-result\"><option value=\"\">all</option><option>right</option><option>wrong</option>\
         <option>failed</option><option>not scored</option></select></label>\
         <span class=\"small\" id=\"trial-status\" role=\"status\"></span></div>\
         <div class=\"scroll screen tall\" tabindex=\"0\" role=\"group\" aria-label=\"Trials\"><table id=\"trial-table\">\
         <thead><tr>{heads}</tr></thead><tbody id=\"trial-rows\"></tbody></table></div>{WITHOUT_SCRIPT}"
    );
    out + &note(&format!(
        "At most {LISTED_TRIALS} trials are listed here. Confidence is that of the small model's first answer."
    ))
}
