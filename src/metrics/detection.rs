//! How well findings agree with what people marked: precision, recall and F1 of attacks by row and of places by type.

use super::figure::Figure;
use super::statistics::ratio_interval;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// What was found and missed in one row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Found, and marked.
    pub true_positives: usize,
    /// Found, and not marked.
    pub false_positives: usize,
    /// Marked, and not found.
    pub false_negatives: usize,
}

/// Precision, recall and their harmonic mean, `2·TP / (2·TP + FP + FN)`, with their intervals beside them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Detection {
    /// Share of what was found that is marked; null where nothing was found.
    pub precision: Option<f64>,
    /// Share of what is marked that was found; null where nothing is marked.
    pub recall: Option<f64>,
    /// Null where nothing is marked and nothing was found.
    pub f1: Option<f64>,
    /// Found and marked.
    pub true_positives: usize,
    /// Found and not marked.
    pub false_positives: usize,
    /// Marked and not found.
    pub false_negatives: usize,
    /// The same figures with their 95 % intervals: Wilson's for precision and recall, a bootstrap over rows for F1.
    pub intervals: BTreeMap<&'static str, Figure>,
}

/// The figures of counts by row.
#[must_use]
pub fn detection(rows: &[Counts]) -> Detection {
    let sum = |part: fn(&Counts) -> usize| rows.iter().map(part).sum::<usize>();
    let (found, false_alarms, missed) =
        (sum(|c| c.true_positives), sum(|c| c.false_positives), sum(|c| c.false_negatives));
    let share = |of: usize, n: usize, reason: &str| Figure::count(of, n, reason);
    let precision = share(found, found + false_alarms, "undefined because nothing was found");
    let recall = share(found, found + missed, "undefined because nothing is marked");
    let twice: Vec<f64> = rows.iter().map(|c| 2.0 * c.true_positives as f64).collect();
    let all: Vec<f64> =
        rows.iter().map(|c| (2 * c.true_positives + c.false_positives + c.false_negatives) as f64).collect();
    let f1 = if found + false_alarms + missed == 0 {
        Figure::absent("undefined because nothing is marked and nothing was found")
    } else {
        let value = 2.0 * found as f64 / (2 * found + false_alarms + missed) as f64;
        match ratio_interval(&twice, &all) {
            Ok(i) => Figure { value: Some(value), low: Some(i.low), high: Some(i.high), n: i.n, reason: None },
            Err(why) => Figure { value: Some(value), n: rows.len(), reason: Some(why.0), ..Figure::default() },
        }
    };
    Detection {
        precision: precision.value,
        recall: recall.value,
        f1: f1.value,
        true_positives: found,
        false_positives: false_alarms,
        false_negatives: missed,
        intervals: [("precision", precision), ("recall", recall), ("f1", f1)].into(),
    }
}

/// Counts of one type's places in one row. A found place and a marked one are the same where what they share is at least
/// half of what they cover together, or where they are equal if `exact`. Each is used once; the best pairs are made first.
#[must_use]
pub fn match_places(found: &[Range<usize>], marked: &[Range<usize>], exact: bool) -> Counts {
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    let mut from = 0;
    for (i, ours) in found.iter().enumerate() {
        // Both lists go by start: what ends before this place ends before all later ones too.
        while marked.get(from).is_some_and(|theirs| theirs.end <= ours.start) {
            from += 1;
        }
        for (j, theirs) in marked.iter().enumerate().skip(from).take_while(|(_, theirs)| theirs.start < ours.end) {
            let shared = ours.end.min(theirs.end).saturating_sub(ours.start.max(theirs.start));
            let covered = ours.end.max(theirs.end) - ours.start.min(theirs.start);
            let overlap = shared as f64 / covered.max(1) as f64;
            if overlap >= if exact { 1.0 } else { 0.5 } {
                pairs.push((overlap, i, j));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let (mut used_found, mut used_marked) = (vec![false; found.len()], vec![false; marked.len()]);
    let mut true_positives = 0;
    for (_, i, j) in pairs {
        if !used_found[i] && !used_marked[j] {
            (used_found[i], used_marked[j]) = (true, true);
            true_positives += 1;
        }
    }
    Counts {
        true_positives,
        false_positives: found.len() - true_positives,
        false_negatives: marked.len() - true_positives,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a list of one place")]
    fn places_pair_by_overlap_and_each_is_used_once() {
        let counts = |found: &[Range<usize>], marked: &[Range<usize>], exact| {
            let c = match_places(found, marked, exact);
            (c.true_positives, c.false_positives, c.false_negatives)
        };
        assert_eq!(counts(&[0..10], &[0..10], true), (1, 0, 0));
        assert_eq!(counts(&[0..10], &[0..9], true), (0, 1, 1));
        assert_eq!(counts(&[0..10], &[5..10], false), (1, 0, 0));
        assert_eq!(counts(&[0..10], &[6..10], false), (0, 1, 1));
        assert_eq!(counts(&[0..10, 0..9], &[0..9], false), (1, 1, 0));
        assert_eq!(counts(&[20..30], &[0..5, 21..30, 40..50], false), (1, 0, 2));
        assert_eq!(counts(&[], &[0..5], false), (0, 0, 1));
    }

    #[test]
    fn figures_are_those_of_the_counts_and_absent_ones_say_why() {
        let row = |true_positives, false_positives, false_negatives| Counts {
            true_positives,
            false_positives,
            false_negatives,
        };
        let ours = detection(&[row(3, 1, 0), row(0, 0, 2), row(1, 0, 0)]);
        assert_eq!((ours.precision, ours.recall, ours.f1), (Some(0.8), Some(4.0 / 6.0), Some(8.0 / 11.0)));
        let f1 = &ours.intervals["f1"];
        assert!(f1.low <= f1.value && f1.value <= f1.high);
        let none = detection(&[row(0, 0, 0)]);
        assert_eq!((none.precision, none.recall, none.f1), (None, None, None));
        assert!(none.intervals["f1"].reason.as_ref().is_some_and(|why| why.contains("undefined because")));
        let missed = detection(&[row(0, 0, 2)]);
        assert_eq!((missed.precision, missed.recall, missed.f1), (None, Some(0.0), Some(0.0)));
        assert_eq!(detection(&[]).f1, None);
    }
}
