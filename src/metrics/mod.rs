//! From records to figures.
//!
//! [`score`] and [`attempts_correct`] judge one finished trial against its gold target, [`cost`] bills it, and
//! [`summarise`] makes of all trials the figures of `summary.json`. It is the only room that reads a
//! [`crate::task::Target`]. Every figure carries its n and a 95 % interval, or is absent with its reason: an absent
//! figure is never zero.

#[cfg(test)]
pub(crate) mod example;
mod price;
mod score;
pub mod statistics;

pub use price::{DEFAULT_HARDWARE, STAND_IN, cost, find, hardware_names, lookup, lookup_hardware, names};
pub use score::{attempts_correct, score};
