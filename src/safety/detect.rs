//! The detectors put together.

use super::{Finding, FindingKind, injection, personal};

/// Redaction rounds at most: text that closes up around a replaced part can show something new, once or twice.
const ROUNDS: usize = 8;

/// Every finding in a text, by position. Findings of one kind do not overlap: the longest stands.
#[must_use]
pub fn inspect(text: &str) -> Vec<Finding> {
    let mut found = personal::find(text);
    found.extend(injection::find(text));
    apart(found)
}

/// The text with personal data replaced by its rule's name in brackets, such as `[EMAIL]`. Findings of other kinds stay
/// as they are, and offsets that do not fit the text are passed over. What the rules of the given findings still find in
/// the result is replaced too.
#[must_use]
pub fn redact(text: &str, findings: &[Finding]) -> String {
    let mut round: Vec<Finding> =
        apart(findings.iter().filter(|finding| finding.kind == FindingKind::PersonalData).cloned().collect());
    let rules: Vec<String> = round.iter().map(|finding| finding.rule.clone()).collect();
    let mut redacted = text.to_owned();
    for _ in 0..ROUNDS {
        if round.is_empty() {
            break;
        }
        redacted = replace(&redacted, &round);
        round = apart(personal::find(&redacted).into_iter().filter(|finding| rules.contains(&finding.rule)).collect());
    }
    redacted
}

fn replace(text: &str, findings: &[Finding]) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut done = 0;
    for finding in findings {
        let (Some(before), Some(_)) = (text.get(done..finding.start), text.get(finding.start..finding.end)) else {
            continue;
        };
        redacted.push_str(before);
        redacted.push('[');
        redacted.push_str(&finding.rule.to_uppercase());
        redacted.push(']');
        done = finding.end;
    }
    redacted.push_str(text.get(done..).unwrap_or_default());
    redacted
}

/// The findings by position, without those that overlap a longer one of their kind; of equals the earlier, then the
/// alphabetically first rule, stands.
fn apart(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by(|a, b| {
        let length = |f: &Finding| f.end.saturating_sub(f.start);
        length(b).cmp(&length(a)).then(a.start.cmp(&b.start)).then_with(|| a.rule.cmp(&b.rule))
    });
    let mut kept: Vec<Finding> = Vec::new();
    for finding in found {
        let overlaps =
            |other: &Finding| other.kind == finding.kind && other.start < finding.end && finding.start < other.end;
        if !kept.iter().any(overlaps) {
            kept.push(finding);
        }
    }
    kept.sort_by(|a, b| (a.start, a.end, a.kind).cmp(&(b.start, b.end, b.kind)));
    kept
}
