//! The readings of how sure a model is of its answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How confidence is read. `trial::Confidence` computes each; all are numbers in 0..1.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Estimator {
    /// Geometric mean of the probabilities of the answer's tokens.
    MeanLogprob,
    /// The smallest probability of a token of the answer.
    MinLogprob,
    /// The probability that a tenth of the answer's tokens do not reach.
    QuantileLogprob,
    /// How far the most probable token is ahead of the second, where the label is written; the least of its tokens.
    Margin,
    /// e to the minus mean entropy of the tokens that write the label.
    Entropy,
    /// Probability of the label's tokens within the answer.
    #[default]
    LabelSpan,
    /// Probability of the answer's label among all labels, each scored in its place in the answer.
    LabelExact,
    /// The same, were only labels allowed there, token by token.
    LabelChoice,
    /// Share of sampled answers with the same label.
    SelfConsistency,
    /// Probability of "yes" against "no" when the model is asked whether its answer is right.
    SelfVerification,
}

impl Estimator {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MeanLogprob,
        Self::MinLogprob,
        Self::QuantileLogprob,
        Self::Margin,
        Self::Entropy,
        Self::LabelSpan,
        Self::LabelExact,
        Self::LabelChoice,
        Self::SelfConsistency,
        Self::SelfVerification,
    ];

    /// The name used on the command line, in tables and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanLogprob => "mean_logprob",
            Self::MinLogprob => "min_logprob",
            Self::QuantileLogprob => "quantile_logprob",
            Self::Margin => "margin",
            Self::Entropy => "entropy",
            Self::LabelSpan => "label_span",
            Self::LabelExact => "label_exact",
            Self::LabelChoice => "label_choice",
            Self::SelfConsistency => "self_consistency",
            Self::SelfVerification => "self_verification",
        }
    }

    /// Whether the model is asked again for it; the others read the answer's own tokens.
    #[must_use]
    pub fn asks_again(self) -> bool {
        matches!(self, Self::LabelExact | Self::LabelChoice | Self::SelfConsistency | Self::SelfVerification)
    }
}
