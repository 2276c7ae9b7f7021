//! How fast the kernels are on this machine, by the type of the weights.

use super::kernels::{Floats, Form, Isa, Matrix, Packed, multiply};
use crate::clock::Clock;
use crate::error::Result;
use serde::Serialize;

/// Bytes of the matrices that are multiplied: more than a core's own caches hold.
const BYTES: usize = 16 << 20;
/// Inputs of a matrix, a multiple of every type's blocks.
const COLUMNS: usize = 1024;
/// Rows of a prompt that are computed at once.
const ROWS: usize = 128;
/// How often each is measured, after a warm-up; the fastest counts.
const READINGS: usize = 2;

/// The speed of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelRate {
    /// The type of weights, as GGUF names it.
    pub weights: String,
    /// Bytes of packed weights a second with one row of inputs, as in decoding.
    pub decode_bytes_per_s: f64,
    /// Multiplications and additions a second with many rows, as in a prompt.
    pub prefill_ops_per_s: f64,
}

/// The instruction set that the kernels use on this processor.
#[must_use]
pub fn instruction_set() -> String {
    format!("{:?}", Isa::best())
}

/// Measures every kernel, with weights made up.
pub fn kernel_rates(clock: &Clock) -> Result<Vec<KernelRate>> {
    rates_of(BYTES, clock)
}

fn rates_of(bytes: usize, clock: &Clock) -> Result<Vec<KernelRate>> {
    Form::ALL.into_iter().map(Some).chain([None]).map(|form| rate(form, bytes, clock)).collect()
}

fn rate(form: Option<Form>, bytes: usize, clock: &Clock) -> Result<KernelRate> {
    let matrix = if let Some(form) = form {
        let row = COLUMNS / form.unit() * form.unit_bytes();
        // As numbers of half precision, which scales are, 1.06.
        let made_up = |rows: std::ops::Range<usize>| Ok(vec![0x3c; rows.len() * row]);
        Matrix::Quantised(Packed::new(form, bytes / row, COLUMNS, made_up)?)
    } else {
        let made_up = |rows: std::ops::Range<usize>| Ok(vec![0.5; rows.len() * COLUMNS]);
        Matrix::Float(Floats::new(bytes / COLUMNS / size_of::<f32>(), COLUMNS, made_up)?)
    };
    let (bytes, weights) = (matrix.bytes(), matrix.rows() * COLUMNS);
    let matrices = [matrix];
    let inputs: Vec<f32> = (0..ROWS * COLUMNS).map(|i| (i % 17) as f32 - 8.0).collect();
    let fastest = |rows: usize| {
        let one = |_| {
            let start = clock.now();
            std::hint::black_box(multiply(Isa::best(), &inputs[..rows * COLUMNS], &matrices));
            clock.since(start).0
        };
        (0..=READINGS).map(one).skip(1).fold(f64::INFINITY, f64::min).max(1e-9)
    };
    Ok(KernelRate {
        weights: form.map_or_else(|| "F32".to_owned(), |form| format!("{form:?}")),
        decode_bytes_per_s: bytes as f64 / fastest(1),
        prefill_ops_per_s: 2.0 * (weights * ROWS) as f64 / fastest(ROWS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_a_rate() {
        let rates = rates_of(1 << 18, &Clock::real()).expect("measured");
        assert_eq!(rates.len(), 9);
        for rate in &rates {
            assert!(rate.decode_bytes_per_s > 1e6 && rate.prefill_ops_per_s > 1e6, "{rate:?}");
        }
        assert!(rates.iter().any(|rate| rate.weights == "Q4_K"));
    }
}
