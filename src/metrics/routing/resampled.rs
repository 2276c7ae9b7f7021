//! The figures of a curve in one bootstrap resample, by one walk along the ranking.
//!
//! The ranking of the resample is that of the data, with each row as often as it was drawn: nothing is sorted again.

use super::{APGR_STEPS, Ranking};

/// Levels of CPT.
const LEVELS: usize = 3;

/// What a walk needs of a policy, in the order of its ranking.
#[derive(Debug)]
pub struct Walk {
    /// The unit of each row.
    units: Vec<u32>,
    /// What sending each row to the strong model adds to quality.
    gains: Vec<f64>,
    /// Where each group ends.
    ends: Vec<u32>,
    /// Groups after which the gain so far is kept, ascending.
    marks: Vec<usize>,
    /// Levels of CPT, ascending.
    levels: [f64; LEVELS],
}

/// A policy in one resample.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Sum of the gains of the rows before each mark.
    pub gain_at: Vec<f64>,
    /// Average PGR on the grid; `None` where the strong model is not better in this resample.
    pub apgr: Option<f64>,
    /// Shares of the first crossings; `None` where there is none.
    pub cpt: [Option<f64>; LEVELS],
    /// The integral of the mean gain over the share.
    pub area: f64,
}

impl Walk {
    /// `gains` and `unit_of` by row; `marks` are numbers of whole groups, ascending.
    #[must_use]
    pub fn new(ranking: &Ranking, gains: &[f64], unit_of: &[u32], marks: Vec<usize>, levels: [f64; LEVELS]) -> Self {
        Self {
            units: ranking.order().iter().map(|&row| unit_of[row as usize]).collect(),
            gains: ranking.order().iter().map(|&row| gains[row as usize]).collect(),
            ends: ranking.ends().to_vec(),
            marks,
            levels,
        }
    }

    /// Walks with `counts` of each unit. `rows` is the number of rows in the resample and `gap` the sum of the strong model's
    /// quality over them less the weak one's.
    #[must_use]
    pub fn draw(&self, counts: &[u16], rows: f64, gap: f64) -> Drawn {
        let mut state = State { rows, step: rows / APGR_STEPS as f64, ..State::default() };
        state.next_share = state.step;
        let wanted = self.levels.map(|level| if gap > 0.0 { level * gap } else { f64::INFINITY });
        state.next_gain = wanted[0];
        let mut gain_at = Vec::with_capacity(self.marks.len());
        let (mut group, mut row) = (0, 0);
        let drawn = |row: usize| f64::from(counts[self.units[row] as usize]);
        for &mark in self.marks.iter().chain([&self.ends.len()]) {
            for &end in &self.ends[group..mark.max(group)] {
                let end = end as usize;
                // Most scores tell most rows apart: a row alone needs no sums.
                let (mut count, mut gain) = (drawn(row), drawn(row) * self.gains[row]);
                for row in row + 1..end {
                    count += drawn(row);
                    gain += drawn(row) * self.gains[row];
                }
                row = end;
                state.pass(count, gain, &wanted);
            }
            group = mark.max(group);
            gain_at.push(state.gain);
        }
        // The end of the ranking is no mark.
        gain_at.pop();
        let apgr = (gap > 0.0).then(|| (state.grid + state.gain / 2.0) / APGR_STEPS as f64 / gap);
        Drawn { gain_at, apgr, cpt: state.crossings, area: state.area / (rows * rows) }
    }
}

#[derive(Debug, Default)]
struct State {
    rows: f64,
    /// Rows between two shares of the grid.
    step: f64,
    /// Rows and gain so far.
    count: f64,
    gain: f64,
    /// The next share of the grid, in rows, how many have been passed, and the sum of the gains there.
    next_share: f64,
    passed: usize,
    grid: f64,
    /// The next gain of a level, how many levels have been crossed, and where.
    next_gain: f64,
    crossed: usize,
    crossings: [Option<f64>; LEVELS],
    area: f64,
}

impl State {
    /// Passes a group: within it the gain rises in proportion to the rows. A group of which nothing was drawn changes nothing.
    #[inline]
    fn pass(&mut self, count: f64, gain: f64, wanted: &[f64; LEVELS]) {
        let (count_after, gain_after) = (self.count + count, self.gain + gain);
        if count_after >= self.next_share || gain_after >= self.next_gain {
            self.cross(count, gain, wanted);
        }
        self.area += count * (self.gain + gain / 2.0);
        self.count = count_after;
        self.gain = gain_after;
    }

    /// Reads the shares and the levels that lie within a group.
    #[cold]
    fn cross(&mut self, count: f64, gain: f64, wanted: &[f64; LEVELS]) {
        while self.count + count >= self.next_share {
            self.grid += self.gain + gain * ((self.next_share - self.count) / count);
            self.passed += 1;
            let more = self.passed + 1 < APGR_STEPS;
            self.next_share = if more { self.step * (self.passed + 1) as f64 } else { f64::INFINITY };
        }
        while self.gain + gain >= self.next_gain {
            let part = (self.next_gain - self.gain) / gain;
            self.crossings[self.crossed] = Some((self.count + count * part) / self.rows);
            self.crossed += 1;
            self.next_gain = wanted.get(self.crossed).copied().unwrap_or(f64::INFINITY);
        }
    }
}
