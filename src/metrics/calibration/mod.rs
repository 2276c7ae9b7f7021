//! Whether a confidence can be believed, and what makes it so.
//!
//! A confidence of an answer is a number in 0..1 beside whether the answer was right. [`quality`] says how well the two
//! agree, [`Map`] mends the numbers by what was seen on other answers, [`threshold`] chooses below which of them an answer
//! is given up. What cannot be had is [`Undefined`] with its reason, never a number.

mod map;
pub mod quality;
#[cfg(test)]
mod tests;
pub mod threshold;

pub use map::{Map, MapKind};

use super::statistics::{Undefined, undefined};

/// Refuses what is no list of confidences with their outcomes.
fn check(confidences: &[f64], right: &[bool]) -> Result<(), Undefined> {
    if confidences.len() != right.len() {
        return undefined("confidences and outcomes are not paired");
    }
    if confidences.is_empty() {
        return undefined("there are no answers");
    }
    if confidences.iter().any(|p| p.is_nan()) {
        return undefined("a confidence is not a number");
    }
    if confidences.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return undefined("a confidence lies outside of 0 to 1");
    }
    Ok(())
}
