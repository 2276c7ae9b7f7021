//! `eval safety`: the detectors of personal data and injected instructions beside what people marked.

use super::super::{output, threads};
use crate::error::{ExitStatus, Result};
use crate::metrics::{Counts, Detection, Figure, detection, match_places};
use crate::safety::labelled::{Row, read};
use crate::safety::{Certainty, Finding, FindingKind, canonical, inspect};
use clap::Args;
use clap::builder::FalseyValueParser;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

/// Rows that are told one by one, of each sort.
const MOST_TOLD: usize = 50;

/// The types whose values have a form of their own.
const STRUCTURED: [&str; 5] = ["CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER"];

/// Arguments of `eval safety`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct SafetyArgs {
    /// Rows {"text", "label": "malicious"|"benign"} or {"text", "spans": [{"type", "start", "end"}]}, one to a line, or a
    /// JSON array of rows in the layout of Presidio's data sets; offsets count characters
    #[arg(long, value_name = "FILE", required = true, num_args = 1.., env = "ROUTERGYM_FILE")]
    file: Vec<PathBuf>,
    /// How many rows at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    limit: usize,
    /// Threads [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, value_name = "N", env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Found {
    n: usize,
    /// Null where no row has a label.
    injection: Option<Injection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    injection_reason: Option<&'static str>,
    /// By type, for every type that is marked or was found; empty where no row has spans.
    pii: BTreeMap<String, Pii>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pii_reason: Option<&'static str>,
    /// Cards, IBAN, e-mail, IP addresses and telephone numbers together; null where no row has spans.
    pii_structured: Option<Detection>,
    /// Spans whose value in the file is not what stands at their place.
    misplaced_spans: usize,
    matching: &'static str,
}

#[derive(Debug, Serialize)]
struct Injection {
    #[serde(flatten)]
    all: Detection,
    /// Share of benign rows in which something was found: how often it over-triggers.
    false_positive_rate: Option<f64>,
    malicious: usize,
    benign: usize,
    /// Malicious rows by the families found in them.
    by_family: BTreeMap<String, usize>,
    /// The first attacks in which nothing was found.
    missed: Vec<String>,
    /// The first benign rows in which something was found, with the rules.
    over_triggered: Vec<OverTriggered>,
}

#[derive(Debug, Serialize)]
struct OverTriggered {
    place: String,
    rules: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Pii {
    #[serde(flatten)]
    all: Detection,
    /// The same with equal places alone.
    exact: Detection,
    /// Whether any rule looks for this type. Where none does, all that is marked counts as missed.
    detected: bool,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &SafetyArgs) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
    let mut rows = Vec::new();
    for file in &args.file {
        rows.extend(read(file)?);
    }
    if args.limit > 0 {
        rows.truncate(args.limit);
    }
    let findings: Vec<Vec<Finding>> = rows.par_iter().map(|row| inspect(&row.text)).collect();
    let judged: Vec<(&Row, &[Finding])> = rows.iter().zip(findings.iter().map(Vec::as_slice)).collect();
    let found = Found {
        n: rows.len(),
        injection: injection(&judged),
        injection_reason: rows
            .iter()
            .all(|row| row.malicious.is_none())
            .then_some("undefined because no row has a label"),
        pii: pii(&judged),
        pii_reason: rows.iter().all(|row| row.spans.is_none()).then_some("undefined because no row has spans"),
        pii_structured: structured(&judged),
        misplaced_spans: rows.iter().flat_map(|row| row.spans.iter().flatten()).filter(|span| span.misplaced).count(),
        matching: "the same type, and at least half of what both places cover together in both; `exact`: equal places",
    };
    output::data(&if args.json { serde_json::to_string(&found)? } else { text(&found) })?;
    Ok(ExitStatus::Done)
}

/// Whether a finding calls the row an attack: hints alone do not.
fn is_attack(finding: &Finding) -> bool {
    finding.kind == FindingKind::Injection && finding.certainty > Certainty::Weak
}

fn injection(judged: &[(&Row, &[Finding])]) -> Option<Injection> {
    let (mut counts, mut benign, mut over) = (Vec::new(), 0, 0);
    let (mut by_family, mut missed, mut over_triggered) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (row, findings) in judged {
        let Some(malicious) = row.malicious else { continue };
        let attacks = || findings.iter().filter(|finding| is_attack(finding));
        let found = attacks().next().is_some();
        counts.push(Counts {
            true_positives: usize::from(malicious && found),
            false_positives: usize::from(!malicious && found),
            false_negatives: usize::from(malicious && !found),
        });
        benign += usize::from(!malicious);
        over += usize::from(!malicious && found);
        if malicious {
            for family in attacks().map(|finding| &finding.entity).collect::<BTreeSet<_>>() {
                *by_family.entry(family.clone()).or_default() += 1;
            }
        }
        if malicious && !found && missed.len() < MOST_TOLD {
            missed.push(row.place.clone());
        }
        if !malicious && found && over_triggered.len() < MOST_TOLD {
            let rules = attacks().map(|finding| finding.rule.clone()).collect();
            over_triggered.push(OverTriggered { place: row.place.clone(), rules });
        }
    }
    if counts.is_empty() {
        return None;
    }
    let mut all = detection(&counts);
    let rate = Figure::count(over, benign, "undefined because no row is benign");
    let false_positive_rate = rate.value;
    all.intervals.insert("false_positive_rate", rate);
    let malicious = counts.len() - benign;
    Some(Injection { all, false_positive_rate, malicious, benign, by_family, missed, over_triggered })
}

type Places = Vec<Range<usize>>;

/// The found and the marked places of a type in each row with spans, by start.
fn places(judged: &[(&Row, &[Finding])], entity: &str) -> Vec<(Places, Places)> {
    let of_row = |(row, findings): &(&Row, &[Finding])| {
        let spans = row.spans.as_ref()?;
        let ours = findings.iter().filter(|f| f.kind == FindingKind::PersonalData && f.entity == entity);
        let mut theirs: Places = spans.iter().filter(|s| s.entity == entity).map(|s| s.start..s.end).collect();
        theirs.sort_by_key(|range| (range.start, range.end));
        Some((ours.map(|f| f.start..f.end).collect(), theirs))
    };
    judged.iter().filter_map(of_row).collect()
}

fn counted(places: &[(Places, Places)], exact: bool) -> Vec<Counts> {
    places.iter().map(|(ours, theirs)| match_places(ours, theirs, exact)).collect()
}

fn pii(judged: &[(&Row, &[Finding])]) -> BTreeMap<String, Pii> {
    let with_spans = || judged.iter().filter_map(|(row, findings)| Some((row.spans.as_ref()?, findings)));
    let marked = with_spans().flat_map(|(spans, _)| spans.iter().map(|span| span.entity.clone()));
    let found = with_spans().flat_map(|(_, findings)| findings.iter());
    let found = found.filter(|f| f.kind == FindingKind::PersonalData).map(|finding| finding.entity.clone());
    let entities: BTreeSet<String> = marked.chain(found).collect();
    let of = |entity: String| {
        let places = places(judged, &entity);
        let detected = canonical(&entity).is_some();
        let (all, exact) = (detection(&counted(&places, false)), detection(&counted(&places, true)));
        (entity, Pii { all, exact, detected })
    };
    entities.into_iter().map(of).collect()
}

fn structured(judged: &[(&Row, &[Finding])]) -> Option<Detection> {
    let counts: Vec<Counts> = STRUCTURED.iter().flat_map(|entity| counted(&places(judged, entity), false)).collect();
    (!counts.is_empty()).then(|| detection(&counts))
}

fn text(found: &Found) -> String {
    let mut lines = vec![format!("{} rows", found.n)];
    let percent =
        |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let interval = |figure: Option<&Figure>| match figure.map(|figure| (figure.low, figure.high)) {
        Some((Some(low), Some(high))) => format!(" [{:.1}–{:.1}]", low * 100.0, high * 100.0),
        _ => String::new(),
    };
    let shown = |all: &Detection| {
        let of = |name: &str, value| format!("{} {}{}", name, percent(value), interval(all.intervals.get(name)));
        [of("precision", all.precision), of("recall", all.recall), of("f1", all.f1)].join(", ").replace("f1", "F1")
    };
    if let Some(injection) = &found.injection {
        lines.push(format!(
            "injection: {} ({} attacks, {} missed); over-trigger {}{} of {} benign rows",
            shown(&injection.all),
            injection.malicious,
            injection.all.false_negatives,
            percent(injection.false_positive_rate),
            interval(injection.all.intervals.get("false_positive_rate")),
            injection.benign
        ));
        let families: Vec<String> = injection.by_family.iter().map(|(name, n)| format!("{name} {n}")).collect();
        if !families.is_empty() {
            lines.push(format!("attacks by family: {}", families.join(", ")));
        }
        lines.extend(injection.missed.iter().map(|place| format!("missed: {place}")));
        lines.extend(injection.over_triggered.iter().map(|one| {
            let rules: Vec<&str> = one.rules.iter().map(String::as_str).collect();
            format!("over-triggered: {}: {}", one.place, rules.join(", "))
        }));
    }
    if let Some(structured) = &found.pii_structured {
        lines.push(format!("structured personal data: {}", shown(structured)));
        for (entity, pii) in &found.pii {
            let marked = pii.all.true_positives + pii.all.false_negatives;
            let none = if pii.detected { "" } else { "; no rule looks for it" };
            lines.push(format!(
                "{entity}: {} ({marked} marked; exact F1 {}{none})",
                shown(&pii.all),
                percent(pii.exact.f1)
            ));
        }
        lines.push(format!("A place counts as found: {}.", found.matching));
    }
    if found.misplaced_spans > 0 {
        lines.push(format!(
            "spans whose value in the file is not what stands at their place, which is what they are judged by: {}",
            found.misplaced_spans
        ));
    }
    lines.extend(found.injection_reason.map(|why| format!("injection: {why}")));
    lines.extend(found.pii_reason.map(|why| format!("personal data: {why}")));
    lines.join("\n")
}
