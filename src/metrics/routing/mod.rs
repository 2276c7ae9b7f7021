//! Figures of routing between a weak and a strong model, from outcomes that are known for both on the same queries.
//!
//! A policy puts the queries in an order, those that go to the strong model first ([`Ranking`]); equals form a group that moves
//! as a whole. Sending ever more of them draws its [`Curve`]: quality and cost against the share that the strong model gets.
//! Inside a group the curve is the expected value of a random choice among equals, which is a straight line, so that no figure
//! depends on the order of the rows in a file. Controls are curves of the same kind: [`Ranking::random`] is one group of all, and
//! [`oracle`] sends first what gains most and never what gains nothing.
//!
//! w and s are the mean qualities of the weak and the strong model alone, r(p) a policy's where a share p goes to the strong one.
//! PGR(p) = (r(p) − w) / (s − w) (RouteLLM, arXiv 2406.18665); where s ≤ w, it and whatever is made of it is undefined.

mod cost;
mod curve;
mod rank;
mod resampled;
#[cfg(test)]
mod tests;

pub use cost::{Span, aiq, cost_auc, hull_of, ibc_lift, upper_hull};
pub use curve::{APGR_STEPS, Curve, Models, Step, oracle};
pub use rank::{First, Ranking};
pub use resampled::{CostFigures, Drawn, Totals, Walk};
