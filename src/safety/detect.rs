//! The detectors put together.

use super::{Finding, FindingKind, injection, personal, risk};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Every finding in a text, by position. Findings of one kind do not overlap: the surest stands, of those the longest.
#[must_use]
pub fn inspect(text: &str) -> Vec<Finding> {
    let mut found = personal::find(text);
    found.extend(injection::find(text));
    found.extend(risk::find(text));
    apart(found)
}

/// The personal data and secrets in a text alone, by position.
#[must_use]
pub fn personal_data(text: &str) -> Vec<Finding> {
    apart(personal::find(text))
}

/// The findings by position, without those that overlap a better one of their kind.
fn apart(mut found: Vec<Finding>) -> Vec<Finding> {
    // Of equals the one stands whose rule comes first: the sort is stable.
    found.sort_by_key(|f| (Reverse(f.certainty), Reverse(f.end.saturating_sub(f.start)), f.start));
    // Kept findings are apart, so that the neighbours by start tell whether a new one overlaps.
    let mut kept: BTreeMap<(FindingKind, usize), Finding> = BTreeMap::new();
    for finding in found {
        let (kind, start, end) = (finding.kind, finding.start, finding.end);
        let before = kept.range((kind, 0)..(kind, end)).next_back();
        if end > start && before.is_none_or(|(_, other)| other.end <= start) {
            kept.insert((kind, start), finding);
        }
    }
    let mut kept: Vec<Finding> = kept.into_values().collect();
    kept.sort_by_key(|finding| (finding.start, finding.end, finding.kind));
    kept
}
