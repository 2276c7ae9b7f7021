//! The kernel in plain loops. It says what the others compute.

use super::activations::ActivationBlock;
use super::form::{BLOCK, Form};
use super::pack::{TILE, Tile};

/// Outputs of one tile for one row of inputs.
pub(super) fn tile_row(form: Form, tile: &Tile, inputs: &[ActivationBlock]) -> [f32; TILE] {
    std::array::from_fn(|lane| {
        let mut sum = 0.0f32;
        for (block, input) in inputs.iter().enumerate() {
            let codes = tile.block_codes(form, block, lane);
            let scales = tile.block_scales(form, block, lane);
            let dot = |range: std::ops::Range<usize>| -> i32 {
                range
                    .map(|i| i32::from(codes[i]) * i32::from(input.codes[i / 4].to_le_bytes()[i % 4].cast_signed()))
                    .sum()
            };
            if form == Form::Q6_K {
                for (half, range) in [(0, 0..BLOCK / 2), (1, BLOCK / 2..BLOCK)] {
                    let whole = dot(range) - form.offset() * input.sums[half];
                    sum = (whole as f32).mul_add(scales.scales[half] * input.scale, sum);
                }
                continue;
            }
            let inputs = input.sums[0] + input.sums[1];
            let whole = dot(0..BLOCK) - form.offset() * inputs;
            sum = (whole as f32).mul_add(scales.scales[0] * input.scale, sum);
            if form.has_minimum() {
                sum = scales.minimum.mul_add(input.scale * inputs as f32, sum);
            }
        }
        sum
    })
}
