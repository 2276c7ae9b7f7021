//! Arithmetic on the CPU: matrices of quantised weights, and attention over the key-value cache.
//!
//! Weights are packed once, at load, into tiles of sixteen output rows ([`Packed`]), with the same codes and scales that
//! the file holds; nothing is rounded. Inputs are quantised to eight bits in blocks of 32 ([`Activations`]), and their dot
//! products with the weights' codes are exact integers. Each output is then the sum over its blocks, in their order, of
//! integer times scales, each step one fused multiply-add. So an output depends on its own row alone: not on the rows
//! beside it, not on the number of threads, and not on the instruction set, and a test holds every kernel equal to a
//! scalar one bit for bit.

mod activations;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod bench;
#[cfg(feature = "cuda")]
#[allow(unsafe_code, reason = "launches kernels")]
pub(crate) mod cuda;
mod float;
mod form;
mod integers;
mod isa;
mod matmul;
mod mutual;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod pool;
mod portable;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use attention::{PAGE, Page, PageShape, Rows, Sight, attend, exp};
pub(crate) use float::Floats;
pub(crate) use form::Form;
pub(crate) use integers::{Codes, Integers};
pub(crate) use isa::{Isa, for_each_isa};
pub(crate) use matmul::{Matrix, multiply};
pub(crate) use mutual::{Texts, attend_mutually};
pub(crate) use pack::{Packed, TILE};
pub(crate) use pool::each_row;
pub(crate) use read::sum_of;
