//! The kernel in plain loops. It says what the others compute.

use super::activations::ActivationBlock;
use super::form::{BLOCK, Form};
use super::pack::{TILE, Tile};

/// Outputs of one tile for one row of a panel of inputs.
pub(super) fn tile_row(
    form: Form,
    tile: &Tile,
    panel: &[ActivationBlock],
    row: usize,
    panel_rows: usize,
) -> [f32; TILE] {
    std::array::from_fn(|lane| {
        let mut sum = 0.0f32;
        for (block, inputs) in panel.chunks_exact(panel_rows).enumerate() {
            let input = &inputs[row];
            let codes = tile.block_codes(form, block, lane);
            let scales = tile.block_scales(form, block, lane);
            let dot = |range: std::ops::Range<usize>| -> i32 {
                range
                    .map(|i| i32::from(codes[i]) * i32::from(input.codes[i / 4].to_le_bytes()[i % 4].cast_signed()))
                    .sum()
            };
            if form == Form::Q6_K {
                for (half, range) in [(0, 0..BLOCK / 2), (1, BLOCK / 2..BLOCK)] {
                    sum = (dot(range) as f32).mul_add(scales.scales[half] * input.scale, sum);
                    sum = scales.base[half].mul_add(input.half_sums[half], sum);
                }
            } else {
                sum = (dot(0..BLOCK) as f32).mul_add(scales.scales[0] * input.scale, sum);
                sum = scales.base[0].mul_add(input.sum, sum);
            }
        }
        sum
    })
}
