//! Finding the JSON of an answer that may also hold prose, fences or trailing text.

use serde::{Deserialize, Serialize};

/// Which rule found the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extraction {
    /// The whole answer is JSON.
    Whole,
    /// A fenced code block.
    Fence,
    /// The first balanced object within other text.
    Embedded,
    /// Nothing was found.
    None,
}

/// The JSON value of an answer, and the rule that found it.
#[must_use]
pub fn extract(_text: &str) -> (Option<serde_json::Value>, Extraction) {
    todo!()
}
