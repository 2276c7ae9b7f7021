//! Weights in tiles, as the kernels read them.

use super::form::{BLOCK, Form, SUPER};
use crate::error::{Result, ensure};
use half::f16;
use rayon::prelude::*;
use std::ops::Range;

/// Output rows of a tile.
pub(crate) const TILE: usize = 16;
/// Groups of four neighbouring weights in a block: what one integer dot product of a lane takes.
pub(super) const GROUPS: usize = BLOCK / 4;
/// Tiles that are read and packed as one piece of work.
const TILES_AT_ONCE: usize = 8;

/// One cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// A matrix of quantised weights, `[rows, columns]`, with the codes and scales of the file.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) form: Form,
    rows: usize,
    columns: usize,
    pub(super) tiles: Vec<Tile>,
}

/// Sixteen rows, those past the matrix's end all zero.
///
/// The codes of a block take [`Form::lines`] lines. Byte `4 * row + i` of them belongs to element `4 * group + i` of the
/// block's row. The first four lines hold the low four bits: line `g` those of group `g` in its low halves and those of
/// group `g + 4` in its high halves. A fifth line holds the fifth bits, group `g`'s at bit `g`; or a fifth and a sixth hold
/// the fifth and sixth bits, those of group `g` at bits `2 * (g % 4)` of line `4 + g / 4`. Codes of eight bits take a line
/// for each group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) codes: Vec<Line>,
    /// Scales as half-precision bits, for each block, or for each eight blocks.
    pub(super) scales: Vec<[u16; TILE]>,
    /// What is added to each weight, or in the K types what a multiple of is taken off; as the scales.
    pub(super) minima: Vec<[u16; TILE]>,
    /// The multiple of the scale for each block, or for each half block; signed in Q6_K.
    pub(super) steps: Vec<[u8; TILE]>,
    /// The multiple of the minimum for each block.
    pub(super) minimum_steps: Vec<[u8; TILE]>,
}

impl Packed {
    /// Packs a matrix. `read` gives the file's bytes of a range of rows.
    pub(crate) fn new(
        form: Form,
        rows: usize,
        columns: usize,
        read: impl Fn(Range<usize>) -> Result<Vec<u8>> + Sync,
    ) -> Result<Self> {
        ensure!(
            columns > 0 && columns.is_multiple_of(form.unit()),
            "rows of {columns} do not divide into the units of {} of {form:?}",
            form.unit()
        );
        let row_bytes = columns / form.unit() * form.unit_bytes();
        let pieces = rows.div_ceil(TILES_AT_ONCE * TILE);
        let packed: Vec<Vec<Tile>> = (0..pieces)
            .into_par_iter()
            .map(|piece| {
                let start = piece * TILES_AT_ONCE * TILE;
                let range = start..rows.min(start + TILES_AT_ONCE * TILE);
                let bytes = read(range.clone())?;
                ensure!(bytes.len() == range.len() * row_bytes, "{} bytes for {} rows", bytes.len(), range.len());
                Ok(bytes.chunks(TILE * row_bytes).map(|rows| Tile::pack(form, columns, row_bytes, rows)).collect())
            })
            .collect::<Result<_>>()?;
        Ok(Self { form, rows, columns, tiles: packed.into_iter().flatten().collect() })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let of = |tile: &Tile| {
            size_of_val(&*tile.codes)
                + size_of_val(&*tile.scales)
                + size_of_val(&*tile.minima)
                + size_of_val(&*tile.steps)
                + size_of_val(&*tile.minimum_steps)
        };
        self.tiles.iter().map(of).sum()
    }

    /// Writes the weights of one row, of a row that exists.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, lane) = (&self.tiles[row / TILE], row % TILE);
        for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let codes = tile.block_codes(self.form, block, lane);
            let BlockScales { scales, base } = tile.block_scales(self.form, block, lane);
            for (index, (out, code)) in out.iter_mut().zip(codes).enumerate() {
                let half = index / (BLOCK / 2);
                // The offset is taken off the code, where that is exact, and not off the product.
                *out = if self.form.has_minimum() {
                    f32::from(code) * scales[half] + base[half]
                } else {
                    (i32::from(code) - self.form.offset()) as f32 * scales[half]
                };
            }
        }
    }
}

/// What turns the codes of a block of one row into weights, `scale * code + base`, for its first and its second half.
pub(super) struct BlockScales {
    pub(super) scales: [f32; 2],
    pub(super) base: [f32; 2],
}

impl Tile {
    fn pack(form: Form, columns: usize, row_bytes: usize, rows: &[u8]) -> Self {
        let blocks = columns / BLOCK;
        let scales = if form.is_super() { blocks / SUPER } else { blocks };
        let mut tile = Self {
            codes: vec![Line([0; 64]); blocks * form.lines()],
            scales: vec![[0; TILE]; scales],
            minima: vec![[0; TILE]; if form.has_minimum() { scales } else { 0 }],
            steps: vec![[0; TILE]; blocks * form.steps()],
            minimum_steps: vec![[0; TILE]; if form.has_minimum() && form.is_super() { blocks } else { 0 }],
        };
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            for (index, unit) in row.chunks_exact(form.unit_bytes()).enumerate() {
                tile.take(form, lane, index, unit);
            }
        }
        tile
    }

    /// Takes one of the file's units over.
    fn take(&mut self, form: Form, lane: usize, index: usize, unit: &[u8]) {
        let half = |at: usize| u16::from_le_bytes([unit[at], unit[at + 1]]);
        let mut codes = [0; BLOCK];
        match form {
            Form::Q4_0 => {
                self.scales[index][lane] = half(0);
                nibbles(&unit[2..18], &mut codes);
                self.put(form, lane, index, &codes);
            }
            Form::Q4_1 => {
                self.scales[index][lane] = half(0);
                self.minima[index][lane] = half(2);
                nibbles(&unit[4..20], &mut codes);
                self.put(form, lane, index, &codes);
            }
            Form::Q5_0 | Form::Q5_1 => {
                self.scales[index][lane] = half(0);
                if form == Form::Q5_1 {
                    self.minima[index][lane] = half(2);
                }
                let (high, low) = unit[form.unit_bytes() - 20..].split_at(4);
                nibbles(low, &mut codes);
                let high = high.iter().rev().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
                for (element, code) in codes.iter_mut().enumerate() {
                    *code |= ((high >> element & 1) as u8) << 4;
                }
                self.put(form, lane, index, &codes);
            }
            Form::Q8_0 => {
                self.scales[index][lane] = half(0);
                for (code, &byte) in codes.iter_mut().zip(&unit[2..]) {
                    *code = byte ^ 0x80;
                }
                self.put(form, lane, index, &codes);
            }
            Form::Q4_K | Form::Q5_K => self.take_k(form, lane, index, unit),
            Form::Q6_K => self.take_q6_k(lane, index, unit),
        }
    }

    fn take_k(&mut self, form: Form, lane: usize, index: usize, unit: &[u8]) {
        self.scales[index][lane] = u16::from_le_bytes([unit[0], unit[1]]);
        self.minima[index][lane] = u16::from_le_bytes([unit[2], unit[3]]);
        let steps = &unit[4..16];
        let (high, low) = if form == Form::Q5_K { unit[16..].split_at(32) } else { unit[16..].split_at(0) };
        for block in 0..SUPER {
            // Six bits each: the first four in whole bytes, the others spread over what those leave free.
            let (step, minimum) = if block < 4 {
                (steps[block] & 63, steps[block + 4] & 63)
            } else {
                (steps[block + 4] & 15 | steps[block - 4] >> 6 << 4, steps[block + 4] >> 4 | steps[block] >> 6 << 4)
            };
            let at = index * SUPER + block;
            self.steps[at][lane] = step;
            self.minimum_steps[at][lane] = minimum;
            let mut codes = [0; BLOCK];
            for (element, (code, &byte)) in codes.iter_mut().zip(&low[block / 2 * BLOCK..]).enumerate() {
                *code = if block % 2 == 0 { byte & 15 } else { byte >> 4 };
                if let Some(bits) = high.get(element) {
                    *code |= (bits >> block & 1) << 4;
                }
            }
            self.put(form, lane, at, &codes);
        }
    }

    fn take_q6_k(&mut self, lane: usize, index: usize, unit: &[u8]) {
        let (low, rest) = unit.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (steps, scale) = rest.split_at(16);
        self.scales[index][lane] = u16::from_le_bytes([scale[0], scale[1]]);
        for block in 0..SUPER {
            let at = index * SUPER + block;
            self.steps[2 * at][lane] = steps[2 * block];
            self.steps[2 * at + 1][lane] = steps[2 * block + 1];
            // A half of the unit holds four blocks: two in the low and two in the high halves of its bytes.
            let (half, part) = (block / 4, block % 4);
            let low = &low[half * 64 + part % 2 * BLOCK..][..BLOCK];
            let high = &high[half * BLOCK..][..BLOCK];
            let mut codes = [0; BLOCK];
            for ((code, &low), &high) in codes.iter_mut().zip(low).zip(high) {
                *code = (if part < 2 { low & 15 } else { low >> 4 }) | (high >> (2 * part) & 3) << 4;
            }
            self.put(Form::Q6_K, lane, at, &codes);
        }
    }

    /// Puts the codes of one row of one block into the lines.
    fn put(&mut self, form: Form, lane: usize, block: usize, codes: &[u8; BLOCK]) {
        let lines = &mut self.codes[block * form.lines()..][..form.lines()];
        let bits = form.bits();
        if bits == 8 {
            for (line, codes) in lines.iter_mut().zip(codes.chunks_exact(4)) {
                line.0[4 * lane..][..4].copy_from_slice(codes);
            }
            return;
        }
        for i in 0..4 {
            let byte = 4 * lane + i;
            for group in 0..GROUPS / 2 {
                let (first, second) = (codes[4 * group + i], codes[4 * (group + GROUPS / 2) + i]);
                lines[group].0[byte] = first & 15 | second << 4;
            }
            match bits {
                5 => {
                    let high = (0..GROUPS).fold(0, |high, group| high | (codes[4 * group + i] >> 4 & 1) << group);
                    lines[4].0[byte] = high;
                }
                6 => {
                    for half in 0..2 {
                        let code = |part: usize| codes[4 * (4 * half + part) + i] >> 4 & 3;
                        lines[4 + half].0[byte] = code(0) | code(1) << 2 | code(2) << 4 | code(3) << 6;
                    }
                }
                _ => {}
            }
        }
    }

    /// The codes of one row of one block.
    pub(super) fn block_codes(&self, form: Form, block: usize, lane: usize) -> [u8; BLOCK] {
        let lines = &self.codes[block * form.lines()..][..form.lines()];
        std::array::from_fn(|element| {
            let (group, byte) = (element / 4, 4 * lane + element % 4);
            if form.bits() == 8 {
                return lines[group].0[byte];
            }
            let pair = lines[group % 4].0[byte];
            let low = if group < 4 { pair & 15 } else { pair >> 4 };
            match form.bits() {
                5 => low | (lines[4].0[byte] >> group & 1) << 4,
                6 => low | (lines[4 + group / 4].0[byte] >> (2 * (group % 4)) & 3) << 4,
                _ => low,
            }
        })
    }

    /// The scales of one row of one block.
    pub(super) fn block_scales(&self, form: Form, block: usize, lane: usize) -> BlockScales {
        let single = |bits: u16| f16::from_bits(bits).to_f32();
        let offset = -form.offset() as f32;
        if !form.is_super() {
            let scale = single(self.scales[block][lane]);
            let base = self.minima.get(block).map_or(scale * offset, |minima| single(minima[lane]));
            return BlockScales { scales: [scale; 2], base: [base; 2] };
        }
        let scale = single(self.scales[block / SUPER][lane]);
        if form == Form::Q6_K {
            let step = |half: usize| scale * f32::from(self.steps[2 * block + half][lane].cast_signed());
            return BlockScales { scales: [step(0), step(1)], base: [step(0) * offset, step(1) * offset] };
        }
        let scale = scale * f32::from(self.steps[block][lane]);
        let minimum = single(self.minima[block / SUPER][lane]) * f32::from(self.minimum_steps[block][lane]);
        BlockScales { scales: [scale; 2], base: [-minimum; 2] }
    }
}

/// Codes of four bits, the first half in the low halves of the bytes.
fn nibbles(bytes: &[u8], codes: &mut [u8; BLOCK]) {
    let (first, second) = codes.split_at_mut(BLOCK / 2);
    for ((first, second), &byte) in first.iter_mut().zip(second).zip(bytes) {
        (*first, *second) = (byte & 15, byte >> 4);
    }
}
