//! The order in which queries go to the strong model.

use crate::metrics::statistics::Undefined;

/// Which end of a score goes to the strong model first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Low scores: the score says how good the weak model's answer is.
    Low,
    /// High scores: the score says how much a query needs the strong model.
    High,
}

/// Rows in the order in which they go to the strong model, in groups of equals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// Row indices, first to go first.
    order: Vec<u32>,
    /// For each group, the position in `order` at which it ends.
    ends: Vec<u32>,
}

impl Ranking {
    /// Ranks rows by a score. Rows with the same score are equals.
    pub fn by_score(scores: &[f64], first: First) -> Result<Self, Undefined> {
        if scores.is_empty() {
            return Err(Undefined("there are no rows".into()));
        }
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            let count = scores.iter().filter(|score| !score.is_finite()).count();
            return Err(Undefined(format!(
                "the score is no finite number in {count} of {} rows, the first of them row {}",
                scores.len(),
                row + 1
            )));
        }
        // Adding zero makes -0 and 0 the same, which they are as scores.
        let key = |row: u32| match first {
            First::Low => scores[row as usize] + 0.0,
            First::High => 0.0 - scores[row as usize],
        };
        let mut order: Vec<u32> = (0..rows(scores.len())).collect();
        order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
        let mut ends = Vec::new();
        let mut end = 0;
        for group in order.chunk_by(|&a, &b| key(a) == key(b)) {
            end += rows(group.len());
            ends.push(end);
        }
        Ok(Self { order, ends })
    }

    /// All rows are equals.
    #[must_use]
    pub fn random(n: usize) -> Self {
        Self { order: (0..rows(n)).collect(), ends: if n == 0 { Vec::new() } else { vec![rows(n)] } }
    }

    /// Row indices, first to go first.
    #[must_use]
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// For each group, the position at which it ends.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The groups that have gone once whole groups up to a share of all rows have gone, and no group more.
    #[must_use]
    pub fn whole_groups(&self, share: f64) -> usize {
        // A share such as 0.3 of ten rows is three of them, whatever its last bit.
        let allowed = share * self.order.len() as f64 + 1e-9;
        self.ends.partition_point(|&end| f64::from(end) <= allowed)
    }

    /// The number of rows in the first `groups` groups.
    #[must_use]
    pub fn rows_in(&self, groups: usize) -> usize {
        groups.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |&end| end as usize)
    }
}

fn rows(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
