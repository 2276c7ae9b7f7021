//! Groundedness: the share of an answer's claims that the injected passages support.

mod facts;
mod support;
#[cfg(test)]
mod tests;

pub use support::{Claim, Grounding, groundedness};
