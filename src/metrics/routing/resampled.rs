//! The figures of a curve in one bootstrap resample, by one walk along the ranking.
//!
//! The ranking of the resample is that of the data, with each row as often as it was drawn: nothing is sorted again.

use super::cost::{aiq, cost_auc_of, hull_of, sort_by_cost};
use super::{APGR_STEPS, Models, Ranking, Span};

/// Levels of CPT.
const LEVELS: usize = 3;
/// Vertices at most at which quality against cost is read. Of a million rows a curve has a million vertices, and the hull of these
/// lies at most some hundred-thousandths above that of so many of them, far within any interval.
const MOST_VERTICES: usize = 8192;

/// What a walk needs of a policy, in the order of its ranking.
#[derive(Debug)]
pub struct Walk {
    /// The unit of each row.
    units: Vec<u32>,
    /// What sending each row to the strong model adds to quality, and to cost.
    gains: Vec<f64>,
    costs: Vec<f64>,
    /// Where each group ends.
    ends: Vec<u32>,
    /// Groups after which the gain so far is kept, ascending.
    marks: Vec<usize>,
    /// Levels of CPT, ascending.
    levels: [f64; LEVELS],
}

/// Sums over the rows of a resample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Rows.
    pub rows: f64,
    /// Quality of the weak model.
    pub weak: f64,
    /// Quality of the strong model.
    pub strong: f64,
    /// Cost of the weak model.
    pub weak_cost: f64,
    /// Cost of the strong model.
    pub strong_cost: f64,
}

/// AIQ over the dearer model's cost and over the range, and cost AUC; `None` where they are undefined.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CostFigures {
    /// AIQ over the dearer model's cost.
    pub aiq_from_zero: Option<f64>,
    /// AIQ over the range of costs.
    pub aiq_range: Option<f64>,
    /// Cost AUC.
    pub cost_auc: Option<f64>,
}

impl Totals {
    /// The figures of sums of (cost, quality) along a curve.
    fn cost_figures(&self, mut points: Vec<(f64, f64)>) -> CostFigures {
        sort_by_cost(&mut points);
        let span = Span { weak: self.weak_cost, strong: self.strong_cost };
        let models = Models { weak: self.weak, strong: self.strong };
        // An area of sums over a range of sums is a sum of qualities.
        let mean = |sum: f64| sum / self.rows;
        let hull = aiq(&hull_of(points.iter().copied()), span).ok();
        CostFigures {
            aiq_from_zero: hull.map(|(from_zero, _)| mean(from_zero)),
            aiq_range: hull.map(|(_, range)| mean(range)),
            cost_auc: cost_auc_of(&points, models, span).ok().map(mean),
        }
    }

    /// The figures of the line between the two models.
    #[must_use]
    pub fn line(&self) -> CostFigures {
        self.cost_figures(vec![(self.weak_cost, self.weak), (self.strong_cost, self.strong)])
    }
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
    /// Quality against cost.
    pub cost: CostFigures,
}

impl Walk {
    /// `gains` and `costs` are what sending a row to the strong model adds, by row as `unit_of`; `marks` are numbers of whole
    /// groups, ascending.
    #[must_use]
    pub fn new(
        ranking: &Ranking,
        (gains, costs): (&[f64], &[f64]),
        unit_of: &[u32],
        marks: Vec<usize>,
        levels: [f64; LEVELS],
    ) -> Self {
        let in_order = |values: &[f64]| ranking.order().iter().map(|&row| values[row as usize]).collect();
        Self {
            units: ranking.order().iter().map(|&row| unit_of[row as usize]).collect(),
            gains: in_order(gains),
            costs: in_order(costs),
            ends: ranking.ends().to_vec(),
            marks,
            levels,
        }
    }

    /// Walks with `counts` of each unit, over whose rows `totals` are the sums.
    #[must_use]
    pub fn draw(&self, counts: &[u16], totals: &Totals) -> Drawn {
        let (rows, gap) = (totals.rows, totals.strong - totals.weak);
        let mut state = State { rows, step: rows / APGR_STEPS as f64, ..State::default() };
        state.next_share = state.step;
        let wanted = self.levels.map(|level| if gap > 0.0 { level * gap } else { f64::INFINITY });
        state.next_gain = wanted[0];
        let mut gain_at = Vec::with_capacity(self.marks.len());
        let (mut group, mut row, mut cost) = (0, 0, 0.0);
        let drawn = |row: usize| f64::from(counts[self.units[row] as usize]);
        let stride = self.ends.len().div_ceil(MOST_VERTICES).max(1);
        // The number of groups after which the next vertex is read.
        let mut vertex = stride.min(self.ends.len());
        let mut points = Vec::with_capacity(self.ends.len() / stride + 2);
        points.push((totals.weak_cost, totals.weak));
        for &mark in self.marks.iter().chain([&self.ends.len()]) {
            for (groups, &end) in (group + 1..).zip(&self.ends[group..mark.max(group)]) {
                let end = end as usize;
                // Most scores tell most rows apart: a row alone needs no sums.
                let (mut count, mut gain) = (drawn(row), drawn(row) * self.gains[row]);
                cost += drawn(row) * self.costs[row];
                for row in row + 1..end {
                    count += drawn(row);
                    gain += drawn(row) * self.gains[row];
                    cost += drawn(row) * self.costs[row];
                }
                row = end;
                state.pass(count, gain, &wanted);
                if groups == vertex {
                    points.push((totals.weak_cost + cost, totals.weak + state.gain));
                    vertex = (vertex + stride).min(self.ends.len());
                }
            }
            group = mark.max(group);
            gain_at.push(state.gain);
        }
        // The end of the ranking is no mark.
        gain_at.pop();
        let apgr = (gap > 0.0).then(|| (state.grid + state.gain / 2.0) / APGR_STEPS as f64 / gap);
        let cost = totals.cost_figures(points);
        Drawn { gain_at, apgr, cpt: state.crossings, area: state.area / (rows * rows), cost }
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
