//! From records to figures.
//!
//! [`score()`] and [`attempts_correct`] judge one finished trial against its gold target, [`bill`] bills it, and
//! [`summarise`] makes of all trials the figures of `summary.json`. It is the only room that reads a
//! [`crate::task::Target`]. Every figure carries its n and a 95 % interval, or is absent with its reason: an absent
//! figure is never zero.

mod abstained;
mod alone;
mod axes;
mod budget;
pub mod calibration;
mod calls;
mod compare;
mod components;
mod contract;
pub mod details;
mod detection;
mod energy;
#[cfg(test)]
pub(crate) mod example;
mod figure;
pub mod grounding;
mod hardware;
mod left;
mod memory;
mod policy;
mod price;
mod prices;
mod retrieval;
pub mod routing;
mod row;
mod score;
pub mod statistics;
mod summary;
#[cfg(test)]
mod tests;
mod verdict;

pub use abstained::AbstentionUse;
pub use alone::{ModelAlone, ModelsAlone};
pub use axes::{AxesSummary, AxisEffects, Interaction, ValueEffect, ValuePair, WorkDone};
pub use budget::{Budget, Budgeted};
pub use calls::{RemoteCalls, Spread};
pub use compare::{Better, Change, Limit, MetricChange, RunComparison, compare, compared_metrics};
pub use components::{ComponentSummary, UNACCOUNTED};
pub use contract::{ContractEffect, ContractUse};
pub use detection::{Counts, Detection, detection, match_places};
pub use energy::{EnergyUse, MachineUse};
pub use figure::{Figure, significant};
pub use left::LeftDevice;
pub use memory::{MeanDifference, MemoryEffect, MemoryInteraction, MemoryUse};
pub use policy::{cause, final_valid, first_valid, is_escalated};
pub use price::{bill, local_seconds};
pub use prices::{DEFAULT_HARDWARE, Prices, STAND_IN};
pub use retrieval::{RetrievalScores, mean_retrieval, retrieval};
pub use row::{Answered, AnsweredByBoth, Draft, Rows, draft};
pub use score::{Ground, attempts_correct, score};
pub use summary::{
    CostPer1000, DEFAULT_MARGIN, DEFAULT_MAX_FAILURE_SHARE, Intervals, Latency, PolicySummary, SUMMARY_FORMAT, Summary,
    TokenCount, TokensByTier, summarise, summarise_rows,
};
pub use verdict::{Comparison, Verdict};
