//! The kinds of strategies, and what each reads of a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouterKind {
    /// The LLM answers; the SLM only where the user lets it downshift.
    LlmFirst,
    /// The SLM answers first and escalates on evidence.
    SlmDominant,
    /// A classifier picks the domain; specialists answer theirs, the LLM the rest.
    HybridSpecialist,
    /// Control: the SLM answers everything.
    SlmOnly,
    /// Control: the LLM answers everything.
    LlmOnly,
    /// Control: chance decides.
    Random,
    /// Any number of models in order of price; each escalates to the next on evidence.
    Cascade,
    /// Before any call, by the outcomes of the nearest queries.
    Knn,
    /// Before any call, by logistic regression on the query's embedding.
    Logistic,
    /// Before any call, by matrix factorisation of queries and models.
    Mf,
    /// At each step, the model whose answer is expected to be worth its price.
    CascadeRouting,
}

impl RouterKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::LlmFirst,
        Self::SlmDominant,
        Self::HybridSpecialist,
        Self::SlmOnly,
        Self::LlmOnly,
        Self::Random,
        Self::Cascade,
        Self::Knn,
        Self::Logistic,
        Self::Mf,
        Self::CascadeRouting,
    ];

    /// The name used on the command line, in tables and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LlmFirst => "llm-first",
            Self::SlmDominant => "slm-dominant",
            Self::HybridSpecialist => "hybrid-specialist",
            Self::SlmOnly => "slm-only",
            Self::LlmOnly => "llm-only",
            Self::Random => "random",
            Self::Cascade => "cascade",
            Self::Knn => "knn",
            Self::Logistic => "logistic",
            Self::Mf => "mf",
            Self::CascadeRouting => "cascade-routing",
        }
    }

    /// By its name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it needs what `fit` learns.
    #[must_use]
    pub fn is_fitted(self) -> bool {
        self.predicts() || self == Self::CascadeRouting
    }

    /// Whether it predicts, before any call, what the LLM gains.
    #[must_use]
    pub fn predicts(self) -> bool {
        matches!(self, Self::Knn | Self::Logistic | Self::Mf)
    }

    /// The keys of a [`RouterSpec`](super::RouterSpec) that it reads.
    #[must_use]
    pub(super) fn reads(self) -> &'static [&'static str] {
        match self {
            Self::LlmFirst => {
                &["confidence", "threshold", "confidence_required", "max_repairs", "downshift_max_chars", "fitted"]
            }
            Self::SlmDominant => &["confidence", "threshold", "confidence_required", "max_repairs", "fitted"],
            Self::HybridSpecialist => &[
                "confidence",
                "threshold",
                "confidence_required",
                "max_repairs",
                "classifier",
                "min_domain_probability",
            ],
            Self::SlmOnly | Self::LlmOnly => &["max_repairs"],
            Self::Random => &["share", "max_repairs"],
            Self::Cascade => &["models", "thresholds", "threshold", "confidence", "confidence_required", "max_repairs"],
            Self::Knn | Self::Logistic | Self::Mf => &["gain", "max_repairs", "fitted"],
            Self::CascadeRouting => &["usd_per_right_answer", "confidence", "max_repairs", "fitted"],
        }
    }
}
