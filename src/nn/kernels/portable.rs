//! The kernel in plain loops over whole lines of codes, of which a compiler makes vector instructions on any processor:
//! that of ARM machines without integer dot products.

use super::activations::ActivationBlock;
use super::form::Form;
use super::pack::{BlockScales, GROUPS, Line, TILE, Tile};

/// Bytes of a line.
const LINE: usize = size_of::<Line>();

/// Outputs of one tile for a panel of `ROWS` rows of inputs.
pub(super) fn tile_rows<const ROWS: usize>(
    form: Form,
    tile: Tile<'_>,
    panel: &[ActivationBlock],
) -> [[f32; TILE]; ROWS] {
    let mut sums = [[0.0f32; TILE]; ROWS];
    for (block, inputs) in panel.as_chunks::<ROWS>().0.iter().enumerate() {
        let block = tile.block(form, block);
        let codes: [[u8; LINE]; GROUPS] = std::array::from_fn(|group| group_codes(form, block.codes, group));
        let scales: [BlockScales; TILE] = std::array::from_fn(|lane| block.scales.of(form, lane));
        for (input, sums) in inputs.iter().zip(&mut sums) {
            // Only Q6_K has scales for half a block; the others need one sum.
            let halves = if form == Form::Q6_K { 2 } else { 1 };
            for half in 0..halves {
                let groups = half * (GROUPS / halves)..(half + 1) * (GROUPS / halves);
                let whole = dot(&codes[groups.clone()], &input.codes[groups]);
                let input_sum = if halves == 2 { input.half_sums[half] } else { input.sum };
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let BlockScales { scales, base } = &scales[lane];
                    *sum = (whole[lane] as f32).mul_add(scales[half] * input.scale, *sum);
                    *sum = base[half].mul_add(input_sum, *sum);
                }
            }
        }
    }
    sums
}

/// Dot products of sixteen rows with some words of input.
fn dot(codes: &[[u8; LINE]], inputs: &[i32]) -> [i32; TILE] {
    let mut sums = [0i32; LINE];
    for (codes, input) in codes.iter().zip(inputs) {
        let input = input.to_le_bytes();
        // A product of eight bits and seven fits sixteen.
        let products: [i16; LINE] =
            std::array::from_fn(|i| i16::from(codes[i]) * i16::from(input[i % 4].cast_signed()));
        for (sum, product) in sums.iter_mut().zip(products) {
            *sum += i32::from(product);
        }
    }
    std::array::from_fn(|lane| sums[4 * lane..][..4].iter().sum())
}

/// The codes of one group of sixteen rows.
fn group_codes(form: Form, lines: &[Line], group: usize) -> [u8; LINE] {
    if form.bits() == 8 {
        return lines[group].0;
    }
    let (pairs, shift) = (&lines[group % (GROUPS / 2)].0, group / (GROUPS / 2) * 4);
    let mut codes: [u8; LINE] = std::array::from_fn(|i| pairs[i] >> shift & 15);
    let (line, shift, mask) = match form.bits() {
        5 => (4, group, 1),
        6 => (4 + group / 4, 2 * (group % 4), 3),
        _ => return codes,
    };
    for (code, high) in codes.iter_mut().zip(&lines[line].0) {
        *code |= (high >> shift & mask) << 4;
    }
    codes
}
