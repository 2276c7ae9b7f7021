//! Policies over recorded outcomes, no model called.
//!
//! [`Outcomes`] are what a weak and a strong model were worth on the same queries: read from a table ([`read_table`]) or from
//! runs of `bench` ([`read_runs`]). [`replay()`] puts every policy through every threshold: the controls, each score that was
//! recorded, and routers that learn from the query's text ([`learned`]), cross-fitted, so that no row is judged by what was
//! fitted on it. What it finds is a [`Replay`]; `report` shows it.

mod evaluate;
mod exclude;
mod figures;
pub mod fit;
mod head;
pub mod learned;
mod points;
mod rows;
mod runs;
mod table;
mod verdict;

pub use evaluate::replay;
pub use exclude::Exclusion;
pub use points::Point;
pub use rows::outcomes_of_rows;
pub use runs::read_runs;
pub use table::{Side, TableSpec, read_table};
pub use verdict::{BreakEven, Verdict};

use crate::metrics::routing::First;
use crate::metrics::statistics::Undefined;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What was recorded, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    /// The weak model's name.
    pub weak_model: String,
    /// The strong model's name.
    pub strong_model: String,
    /// Quality of the weak model's answer, 0 to 1.
    pub weak: Vec<f64>,
    /// Quality of the strong model's answer, 0 to 1.
    pub strong: Vec<f64>,
    /// Dollars of each answer, where they are known.
    pub cost: Option<Sides>,
    /// Seconds of each answer, where they are known.
    pub latency: Option<Sides>,
    /// What the machine of the weak model costs, where it is known.
    pub hardware: Option<Hardware>,
    /// Scores that were recorded.
    pub scores: Vec<Score>,
    /// The query of each row, by its number among the distinct ones.
    pub query_of: Vec<u32>,
    /// Distinct queries.
    pub queries: u32,
    /// Texts of the rows, where they were asked for.
    pub texts: Option<Vec<String>>,
    /// Rows that were left out because they are on the list of exclusions.
    pub excluded: usize,
    /// What the reader must know.
    pub notes: Vec<String>,
}

impl Outcomes {
    /// Whether every answer is right or wrong, with nothing between.
    #[must_use]
    pub fn is_right_or_wrong(&self) -> bool {
        self.weak.iter().chain(&self.strong).all(|&quality| quality == 0.0 || quality == 1.0)
    }

    /// Whether each row is a query of its own.
    #[must_use]
    pub fn rows_are_queries(&self) -> bool {
        self.queries as usize == self.weak.len()
    }
}

/// The machine that the weak model runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hardware {
    /// Dollars per hour.
    pub usd_per_hour: f64,
    /// Whether the weak model's cost is its time at this rate, and nothing else.
    pub is_weak_cost: bool,
}

/// A quantity of both models, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sides {
    /// Of the weak model.
    pub weak: Vec<f64>,
    /// Of the strong model.
    pub strong: Vec<f64>,
}

/// A recorded score.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The policy's name.
    pub name: String,
    /// Row by row; not a number where none was recorded.
    pub values: Vec<f64>,
    /// Which rows go to the strong model first.
    pub first: First,
    /// When it is known.
    pub known: Known,
}

/// When a policy knows what it decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// Before any call: only the chosen model is paid.
    BeforeCall,
    /// After the weak model's answer: an escalated query pays both.
    AfterWeak,
}

/// What the judging can be set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Loss of quality that still counts as "not worse", 0 to 1.
    pub margin: f64,
    /// Resamples behind each interval.
    pub draws: usize,
    /// Their seed.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// Rows.
    pub n: usize,
    /// Distinct queries among them.
    pub queries: usize,
    /// Rows that were left out by the list of exclusions.
    pub excluded: usize,
    /// The weak model's name.
    pub weak_model: String,
    /// The strong model's name.
    pub strong_model: String,
    /// Mean quality of the weak model alone.
    pub weak: f64,
    /// Mean quality of the strong model alone.
    pub strong: f64,
    /// Mean quality of the global oracle: the better of the two on every query.
    pub oracle: f64,
    /// The share of queries that the global oracle sends to the strong model.
    pub oracle_strong_share: f64,
    /// Queries by who is right; null where quality is graded.
    pub outcomes: Option<Pairs>,
    /// 95 % intervals of `weak`, `strong`, `oracle` and of `strong` less `weak`.
    pub intervals: BTreeMap<String, Ends>,
    /// Exact McNemar test of the two models alone; null where it does not apply.
    pub mcnemar_p: Option<f64>,
    /// What a cost is: `usd`, or `strong_calls` where no costs were given.
    pub cost_unit: String,
    /// Mean cost of each model alone.
    pub cost: Both,
    /// Mean seconds of each model alone; null where none were given.
    pub latency_s: Option<Both>,
    /// Resamples behind each interval, and their seed.
    pub draws: usize,
    /// Seed of the resamples.
    pub seed: u64,
    /// Loss of quality that still counts as "not worse".
    pub margin: f64,
    /// The policies by name, controls first.
    #[serde(serialize_with = "by_name")]
    pub policies: Vec<Policy>,
    /// Whether the weak model can replace the strong one.
    pub verdict: Verdict,
    /// Why a figure above is null.
    pub not_available: BTreeMap<String, String>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

/// Queries by who is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pairs {
    /// Both.
    pub both_right: usize,
    /// The weak model alone.
    pub only_weak: usize,
    /// The strong model alone.
    pub only_strong: usize,
    /// None.
    pub neither: usize,
}

/// The ends of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ends {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A figure of each model alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Both {
    /// The weak model.
    pub weak: f64,
    /// The strong model.
    pub strong: f64,
}

/// One policy at every threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// Whether it is there only to compare with: it cannot be had, or it does not look at the query.
    pub control: bool,
    /// When it decides.
    pub known: Known,
    /// Average PGR on the grid of eleven shares.
    pub apgr: Option<f64>,
    /// Average PGR as the exact integral.
    pub apgr_exact: Option<f64>,
    /// Smallest share at which 50, 80 and 95 % of the gap are recovered.
    pub cpt: BTreeMap<&'static str, Option<f64>>,
    /// AIQ over the dearer model's cost (RouterBench's code).
    pub aiq_hull_from_zero: Option<f64>,
    /// AIQ over the range of costs (RouterBench's paper).
    pub aiq_hull_range: Option<f64>,
    /// Area under quality against cost between the models, over the range.
    pub cost_auc: Option<f64>,
    /// Area under quality against the share deferred.
    pub deferral_auc: Option<f64>,
    /// How well the score tells the weak model's right answers from its wrong ones.
    pub auroc: Option<f64>,
    /// 95 % intervals of the figures above that have one.
    pub intervals: BTreeMap<String, Ends>,
    /// Whether it is better than sending queries at random.
    pub beats_random: Option<BeatsRandom>,
    /// The upper convex hull of (cost, quality), thinned to at most 101 vertices.
    pub hull: Vec<HullPoint>,
    /// Quality and cost at matched shares 0, 0.01, … 1.
    pub curve: Vec<CurvePoint>,
    /// Whole thresholds near the shares 0, 0.05, … 1, with their statistics.
    pub points: Vec<Point>,
    /// Why a figure above is null.
    pub not_available: BTreeMap<String, String>,
    /// Every vertex, for the file of curves.
    #[serde(skip)]
    pub vertices: Vec<Vertex>,
}

/// A policy's APGR beside that of random routing, which is one half on any data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BeatsRandom {
    /// APGR less that of random routing.
    pub apgr_difference: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided bootstrap p-value.
    pub p_value: f64,
    /// The same, adjusted by Holm over the policies that are no controls.
    pub p_value_holm: f64,
    /// What this shows.
    pub text: String,
}

/// A point of a hull.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HullPoint {
    /// Mean cost.
    pub cost: f64,
    /// Mean quality.
    pub quality: f64,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Share that the strong model gets, at most for the oracle.
    pub strong_share: f64,
    /// Mean quality.
    pub quality: f64,
    /// Mean cost.
    pub cost: f64,
}

/// A threshold and where it leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vertex {
    /// Scores up to this one (down to it, where high ones go first) go to the strong model; `None` sends nothing.
    pub threshold: Option<f64>,
    /// Where that leads.
    pub at: CurvePoint,
}

/// Takes a figure that can be had; the reason of one that cannot is kept under its name.
fn keep<T>(figure: Result<T, Undefined>, name: &str, not_available: &mut BTreeMap<String, String>) -> Option<T> {
    figure.map_err(|reason| not_available.insert(name.to_owned(), format!("undefined because {reason}"))).ok()
}

fn by_name<S: Serializer>(policies: &[Policy], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(policies.iter().map(|policy| (&policy.name, policy)))
}

#[cfg(test)]
mod tests;
