//! Weights in tiles, as the kernels read them.
#![expect(unsafe_code, reason = "memory that is written once, by several threads, before it is read")]

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
///
/// All of it stands in one piece, in the order in which the kernels read it: memory is fast where it is read as one stream.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) form: Form,
    rows: usize,
    columns: usize,
    tile_lines: usize,
    lines: Vec<Line>,
}

/// Sixteen rows, those past the matrix's end all zero.
///
/// Blocks stand in runs of [`Form::run`], the last of which may be shorter: first the lines of their scales ([`Block`]), then the codes of
/// each block, [`Form::lines`] lines. Byte `4 * row + i` of those belongs to element `4 * group + i` of the
/// block's row. The first four lines hold the low four bits: line `g` those of group `g` in its low halves and those of
/// group `g + 4` in its high halves. A fifth line holds the fifth bits, group `g`'s at bit `g`; or a fifth and a sixth hold
/// the fifth and sixth bits, those of group `g` at bits `2 * (g % 4)` of line `4 + g / 4`. Codes of eight bits take a line
/// for each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile<'a> {
    pub(super) lines: &'a [Line],
}

/// A block of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) scales: Scales<'a>,
    pub(super) codes: &'a [Line],
}

/// The scales of a block, sixteen values each, one for each row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales<'a> {
    /// The lines before the codes of the block's run: the scales of the block, or of all blocks in the K types; then the minima alike; in
    /// the K types from the second line on the steps of all blocks, then their steps of the minimum.
    pub(super) head: &'a [Line],
    /// The block's number in its run.
    pub(super) within: usize,
}

impl<'a> Scales<'a> {
    /// Scales as half-precision bits, the lower byte first.
    pub(super) fn scales(self, form: Form) -> &'a [u8; 2 * TILE] {
        at(self.head, scale_place(form, self.within))
    }

    /// What is added to each weight, or in the K types what a multiple of is taken off; as the scales.
    pub(super) fn minima(self) -> &'a [u8; 2 * TILE] {
        at(self.head, MINIMA)
    }

    /// The multiple of the scale for the block, or for each half of it; signed in Q6_K.
    pub(super) fn steps(self, form: Form, half: usize) -> &'a [u8; TILE] {
        at(self.head, step_place(form, self.within, half))
    }

    /// The multiple of the minimum.
    pub(super) fn minimum_steps(self) -> &'a [u8; TILE] {
        at(self.head, minimum_step_place(self.within))
    }
}

/// Bytes of a line.
pub(super) const LINE: usize = size_of::<Line>();
/// Where the minima stand in the head of a run.
const MINIMA: usize = 2 * TILE;

/// Where the scales of a block stand in the head of its run.
const fn scale_place(form: Form, within: usize) -> usize {
    if form.is_super() { 0 } else { within * 2 * TILE }
}

const fn step_place(form: Form, within: usize, half: usize) -> usize {
    LINE + (within * form.steps() + half) * TILE
}

const fn minimum_step_place(within: usize) -> usize {
    LINE + (SUPER + within) * TILE
}

/// `N` bytes of the head of a run, which lie in one line.
#[inline(always)]
fn at<const N: usize>(head: &[Line], place: usize) -> &[u8; N] {
    &head[place / LINE].0.as_chunks().0[place % LINE / N]
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
        let tile_lines = form.tile_lines(columns / BLOCK);
        let count = rows.div_ceil(TILE) * tile_lines;
        let mut lines: Vec<Line> = Vec::with_capacity(count);
        lines.spare_capacity_mut()[..count].par_chunks_mut(TILES_AT_ONCE * tile_lines).enumerate().try_for_each(
            |(piece, lines)| {
                let start = piece * TILES_AT_ONCE * TILE;
                let range = start..rows.min(start + TILES_AT_ONCE * TILE);
                let bytes = read(range.clone())?;
                ensure!(bytes.len() == range.len() * row_bytes, "{} bytes for {} rows", bytes.len(), range.len());
                let mut tile = Packing { form, lines: vec![Line([0; LINE]); tile_lines] };
                for (rows, lines) in bytes.chunks(TILE * row_bytes).zip(lines.chunks_exact_mut(tile_lines)) {
                    tile.pack(row_bytes, rows);
                    lines.write_copy_of_slice(&tile.lines);
                }
                Ok(())
            },
        )?;
        // SAFETY: every line of every tile was written, or an error has left this function.
        unsafe { lines.set_len(count) };
        Ok(Self { form, rows, columns, tile_lines, lines })
    }

    /// A tile that exists.
    pub(super) fn tile(&self, index: usize) -> Tile<'_> {
        Tile { lines: &self.lines[index * self.tile_lines..][..self.tile_lines] }
    }

    /// Tiles of the matrix.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }

    /// Writes the weights of one row, of a row that exists.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, lane) = (self.tile(row / TILE), row % TILE);
        for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let block = tile.block(self.form, block);
            let codes = block.codes_of(self.form, lane);
            let BlockScales { scales, base } = block.scales.of(self.form, lane);
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

/// A tile that is being packed.
struct Packing {
    form: Form,
    lines: Vec<Line>,
}

impl Packing {
    /// Takes sixteen rows, or fewer.
    fn pack(&mut self, row_bytes: usize, rows: &[u8]) {
        self.lines.fill(Line([0; LINE]));
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            for (index, unit) in row.chunks_exact(self.form.unit_bytes()).enumerate() {
                self.take(self.form, lane, index, unit);
            }
        }
    }

    /// The lines of a block's run from its head on, and the block's number in it.
    fn run(&mut self, block: usize) -> (&mut [Line], usize) {
        (&mut self.lines[block / self.form.run() * self.form.run_lines()..], block % self.form.run())
    }

    fn set_byte(&mut self, block: usize, place: impl Fn(usize) -> usize, value: u8) {
        let (lines, within) = self.run(block);
        let place = place(within);
        lines[place / LINE].0[place % LINE] = value;
    }

    /// Sets a half-precision number of a row.
    fn set_half(&mut self, block: usize, place: impl Fn(usize) -> usize, lane: usize, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            self.set_byte(block, |within| place(within) + 2 * lane + i, byte);
        }
    }

    /// Takes one of the file's units over.
    fn take(&mut self, form: Form, lane: usize, index: usize, unit: &[u8]) {
        let mut codes = [0; BLOCK];
        if !form.is_super() {
            self.set_half(index, |within| scale_place(form, within), lane, &unit[..2]);
        }
        match form {
            Form::Q4_0 => {
                nibbles(&unit[2..18], &mut codes);
                self.put(form, lane, index, &codes);
            }
            Form::Q4_1 => {
                self.set_half(index, |_| MINIMA, lane, &unit[2..4]);
                nibbles(&unit[4..20], &mut codes);
                self.put(form, lane, index, &codes);
            }
            Form::Q5_0 | Form::Q5_1 => {
                if form == Form::Q5_1 {
                    self.set_half(index, |_| MINIMA, lane, &unit[2..4]);
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
        self.set_half(index * SUPER, |_| scale_place(form, 0), lane, &unit[..2]);
        self.set_half(index * SUPER, |_| MINIMA, lane, &unit[2..4]);
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
            self.set_byte(at, |within| step_place(form, within, 0) + lane, step);
            self.set_byte(at, |within| minimum_step_place(within) + lane, minimum);
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
        self.set_half(index * SUPER, |_| 0, lane, scale);
        for block in 0..SUPER {
            let at = index * SUPER + block;
            for half in 0..2 {
                let place = |within| step_place(Form::Q6_K, within, half) + lane;
                self.set_byte(at, place, steps[2 * block + half]);
            }
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
        let (lines, within) = self.run(block);
        let lines = &mut lines[form.head_lines() + within * form.lines()..][..form.lines()];
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
}

impl<'a> Tile<'a> {
    /// A block that exists.
    #[inline(always)]
    pub(super) fn block(self, form: Form, block: usize) -> Block<'a> {
        let run = &self.lines[block / form.run() * form.run_lines()..];
        let (head, codes) = run.split_at(form.head_lines());
        let within = block % form.run();
        Block { scales: Scales { head, within }, codes: &codes[within * form.lines()..][..form.lines()] }
    }
}

impl Block<'_> {
    /// The codes of one row.
    pub(super) fn codes_of(self, form: Form, lane: usize) -> [u8; BLOCK] {
        let lines = self.codes;
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
}

impl Scales<'_> {
    /// The scales of one row.
    pub(super) fn of(self, form: Form, lane: usize) -> BlockScales {
        let single = |halves: &[u8; 2 * TILE]| f16::from_le_bytes([halves[2 * lane], halves[2 * lane + 1]]).to_f32();
        let offset = -form.offset() as f32;
        let scale = single(self.scales(form));
        if form == Form::Q6_K {
            let step = |half: usize| scale * f32::from(self.steps(form, half)[lane].cast_signed());
            return BlockScales { scales: [step(0), step(1)], base: [step(0) * offset, step(1) * offset] };
        }
        if !form.is_super() {
            let base = if form.has_minimum() { single(self.minima()) } else { scale * offset };
            return BlockScales { scales: [scale; 2], base: [base; 2] };
        }
        let scale = scale * f32::from(self.steps(form, 0)[lane]);
        let minimum = single(self.minima()) * f32::from(self.minimum_steps()[lane]);
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
