//! Findings in a query's text that bear on who may answer it: personal data, injected instructions, risky content.

mod checksum;
mod detect;
mod injection;
mod normal;
mod personal;

#[cfg(test)]
mod tests;

pub use detect::{inspect, redact};

use serde::{Deserialize, Serialize};

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Personal data or a secret.
    PersonalData,
    /// A text that tries to instruct the assistant.
    Injection,
    /// A subject where a wrong answer does harm.
    Risk,
}

/// One finding. It names the place and never repeats the text, so that records hold no personal data twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// The rule that fired, such as `email`, `iban`, `ignore_instructions`.
    pub rule: String,
    /// Byte offset of its start in the text.
    pub start: usize,
    /// Byte offset of its end, exclusive.
    pub end: usize,
}
