//! `eval`: one component alone, on labelled data.

mod answering;
mod classifier;
mod confidence;
mod contract;
mod grounding;
mod memory;
mod parts;
mod safety;

use super::Common;
use crate::error::{ExitStatus, Result};
use crate::net::Network;
use clap::{Args, Subcommand};

/// Arguments of `eval`.
#[derive(Debug, Clone, Args)]
pub(super) struct EvalArgs {
    #[command(subcommand)]
    component: Component,
}

#[derive(Debug, Clone, Subcommand)]
enum Component {
    /// The contract: verdicts beside other people's tests of JSON Schema, or a model's answers under constrained decoding
    Contract(contract::ContractArgs),
    /// Groundedness: how far it agrees with labels, and whether answers abstain where there is no answer
    Grounding(grounding::GroundingArgs),
    /// The safety detectors: personal data and injected instructions beside what people marked in texts
    Safety(safety::SafetyArgs),
    /// Memories: what retrievers find of what people judged relevant, and how fast
    Memory(memory::MemoryArgs),
    /// A model's confidence: whether it tells right answers from wrong ones, before and after calibration; thresholds
    Confidence(Box<confidence::ConfidenceArgs>),
    /// The classifiers of the domain: their own accuracy, learnt from a task's train split
    Classifier(Box<classifier::ClassifierArgs>),
}

/// Runs the verb.
pub(super) fn run(args: &EvalArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    match &args.component {
        Component::Contract(args) => contract::run(args, network, common),
        Component::Grounding(args) => grounding::run(args, network, common),
        Component::Safety(args) => safety::run(args),
        Component::Memory(args) => memory::run(args, network, common),
        Component::Confidence(args) => confidence::run(args, network, common),
        Component::Classifier(args) => classifier::run(args, network, common),
    }
}
