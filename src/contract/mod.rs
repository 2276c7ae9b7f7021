//! What an answer must look like, and what to tell a model whose answer does not.
//!
//! A [`Contract`] is a JSON Schema. [`Contract::check`] finds the JSON in a completion, validates it and lists every
//! violation; [`Contract::repair_instruction`] turns them into a message that a small model can act on. Whether to try
//! again or to escalate is the router's business.

mod bounds;
mod duplicates;
mod extract;
mod form;
mod mend;
mod message;
mod prefix;
mod settled;
pub mod suite;
mod validate;

pub(crate) use extract::mend_surrogates;
pub use extract::{Extraction, extract};
pub use form::{Form, FormRow, Held, read_forms};
pub use mend::Mend;
pub use validate::{Contract, ContractOptions};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether contracts are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ContractMode {
    /// Validity is observed and reported; nothing acts on it.
    Off,
    /// Violations lead to repair, then to escalation.
    Validate,
    /// As `validate`, and answers are held to the schema while they are generated, where the engine can.
    Constrain,
}

impl ContractMode {
    /// The name used on the command line, in tables and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Validate => "validate",
            Self::Constrain => "constrain",
        }
    }

    /// Whether an answer that breaks its contract is refused.
    #[must_use]
    pub fn enforces(self) -> bool {
        self != Self::Off
    }
}

/// One way in which an answer breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON Pointer to the offending place in the instance; empty for the whole.
    pub path: String,
    /// The schema keyword that failed (`enum`, `required`, …), `json` where no JSON was found, or `duplicate_key`.
    pub rule: String,
    /// One sentence that a small model can act on.
    pub message: String,
}

/// The judgement on one completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the value keeps the contract, mended if need be.
    pub valid: bool,
    /// Which rule found the value.
    pub extraction: Extraction,
    /// The value found, valid or not.
    pub value: Option<serde_json::Value>,
    /// Every violation; empty exactly when `valid`.
    pub violations: Vec<Violation>,
    /// What was mended before the value could be read: a repair without a model, which counts as one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<Mend>,
    /// How many different objects of the answer could be meant as well, the one that was taken among them.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub candidates: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

impl Verdict {
    /// Whether the answer keeps the contract just as the model wrote it.
    #[must_use]
    pub fn valid_as_written(&self) -> bool {
        self.valid && self.mended.is_empty()
    }
}
