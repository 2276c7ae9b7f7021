//! Findings in a text that bear on who may read and answer it: personal data and secrets, instructions to the assistant that
//! its user did not give, subjects where a wrong answer does harm.
//!
//! Everything here is patterns, checksums and rules of thumb: no model, and time linear in the text. [`inspect`] finds,
//! [`SafetyPolicy`] says what follows from a finding, [`Redaction`] puts placeholders in the place of values and brings the
//! values back. `labelled` reads data in which other people marked what there is to find.

mod checksum;
mod decode;
mod detect;
mod injection;
pub mod labelled;
mod normal;
mod personal;
mod policy;
mod redact;
mod risk;

#[cfg(test)]
mod tests;

pub use detect::{inspect, personal_data};
pub use injection::FAMILIES;
pub use personal::{ENTITIES, canonical};
pub use policy::{Action, SafetyPolicy};
pub use redact::Redaction;
pub use risk::SUBJECTS;

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

impl FindingKind {
    /// The name used on the command line and in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PersonalData => "personal_data",
            Self::Injection => "injection",
            Self::Risk => "risk",
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// A hint: a name behind a title, a street with a number, a phrase that is quoted or has an ordinary meaning too.
    Weak,
    /// The form is that of the thing and hardly of anything else.
    #[default]
    Pattern,
    /// A checksum, a registry of prefixes or a parser agrees.
    Validated,
}

/// One finding. It names the place and never repeats the text, so that records hold no personal data twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// Its type: for personal data a name that Presidio uses where it has one (`EMAIL_ADDRESS`), else a family of attacks
    /// (`override`) or a subject of risk (`self_harm`).
    #[serde(rename = "type", default)]
    pub entity: String,
    /// The rule that fired, such as `iban`, `phone_international`, `ignore_instructions`.
    pub rule: String,
    /// How sure it is.
    #[serde(default)]
    pub certainty: Certainty,
    /// Byte offset of its start in the text.
    pub start: usize,
    /// Byte offset of its end, exclusive.
    pub end: usize,
}
