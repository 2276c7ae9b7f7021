//! Attention of queries to cached keys and values.
//!
//! A query's result depends on itself and on what it sees, and on nothing else: a score is summed over the elements of a
//! head in their order, weights over positions by their place modulo sixteen, values in the order of positions. So it is
//! the same whichever block of a prompt the query came in, alone or among others.
#![expect(unsafe_code, reason = "threads write their own parts of one result")]

use super::isa::{Isa, for_each_isa};
use super::pool::{Columns, each_range};
use candle_core::utils::barrier_pool;
use std::ops::Range;
use std::sync::Arc;

/// Positions whose keys lie together; numbers that are computed side by side.
pub(crate) const LANES: usize = 16;
/// Positions of a page, a multiple of sixteen.
pub(crate) const PAGE: usize = 64;
/// Tiles of keys in a page.
const TILES: usize = PAGE / LANES;
/// Queries that share a walk over keys and values, at most.
const QUERIES: usize = 8;
/// Fewer multiplications than this are not worth waking other threads.
const PARALLEL_FROM: usize = 1 << 17;

/// Which cached positions the rows of a block of queries see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// Rows of the block.
    pub(crate) rows: usize,
    /// Position of the block's first row.
    pub(crate) position: usize,
    /// How many positions a row sees, its own included; `None` is all.
    pub(crate) window: Option<usize>,
    /// Scores are squeezed below this.
    pub(crate) softcap: Option<f64>,
}

impl Sight {
    /// The positions that a row sees.
    pub(crate) fn of(&self, row: usize) -> Range<usize> {
        let position = self.position + row;
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))..position + 1
    }

    /// Positions that the row which sees most sees.
    fn longest(&self) -> usize {
        self.of(self.rows.saturating_sub(1)).len()
    }
}

/// Sizes of the keys and values of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl PageShape {
    /// A head's length, made a multiple of sixteen.
    fn width(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Numbers that a head's keys, or its values, take in a page.
    fn head_len(&self) -> usize {
        PAGE * self.width()
    }

    /// Bytes of a page.
    pub(crate) fn page_bytes(&self) -> usize {
        2 * self.layers * self.kv_heads * self.head_len() * size_of::<f32>()
    }
}

/// Keys and values of [`PAGE`] neighbouring positions in all layers.
///
/// The keys of a head stand in tiles of sixteen positions, each element by element: `[layers, kv_heads, tiles, width, 16]`.
/// Values stand position by position: `[layers, kv_heads, PAGE, width]`. `width` is the head's length, made a multiple of
/// sixteen with zeros.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    shape: PageShape,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Page {
    pub(crate) fn new(shape: PageShape) -> Self {
        let length = shape.layers * shape.kv_heads * shape.head_len();
        Self { shape, keys: vec![0.0; length], values: vec![0.0; length] }
    }

    /// Writes a head's key and value, each `head_dim` long, of the position at a place of the page.
    pub(crate) fn write(&mut self, layer: usize, head: usize, place: usize, key: &[f32], value: &[f32]) {
        let width = self.shape.width();
        let start = self.start(layer, head);
        let tile = &mut self.keys[start + place / LANES * LANES * width..][..LANES * width];
        for (column, &element) in tile.as_chunks_mut::<LANES>().0.iter_mut().zip(key) {
            column[place % LANES] = element;
        }
        self.values[start + place * width..][..value.len()].copy_from_slice(value);
    }

    /// Forgets the values from a place on. They have no weight where they are not seen, but what is no number stays none
    /// whatever its weight.
    pub(crate) fn clear_from(&mut self, place: usize) {
        let width = self.shape.width();
        for values in self.values.chunks_exact_mut(self.shape.head_len()) {
            values[place * width..].fill(0.0);
        }
    }

    fn start(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.kv_heads + head) * self.shape.head_len()
    }
}

/// The rows of one sequence in a block: what is cached of it, and what its rows see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) pages: &'a [Arc<Page>],
    pub(crate) sight: Sight,
}

/// What queries take from the values of one layer: `[rows, heads * head_dim]`, the rows of all sequences one after the
/// other. Queries are scaled, and for each sequence `[heads, rows, head_dim]`.
pub(crate) fn attend(
    isa: Isa,
    shape: PageShape,
    layer: usize,
    sequences: &[Rows<'_>],
    queries: &[f32],
    heads: usize,
) -> Vec<f32> {
    let dim = shape.head_dim;
    let group = heads / shape.kv_heads;
    // Fewer at a time where there are not enough registers, or where a thread would have nothing to do: this changes no
    // result.
    let threads = barrier_pool().n_workers() + 1;
    let units = |step: usize| sequences.iter().map(move |one| shape.kv_heads * (group * one.sight.rows).div_ceil(step));
    let mut step = if isa.has_few_registers() { QUERIES / 4 } else { QUERIES };
    while step > 1 && units(step).sum::<usize>() < threads {
        step /= 2;
    }
    let units: Vec<usize> = units(step).collect();
    let rows = sequences.iter().map(|one| one.sight.rows).sum();
    let work: usize = sequences.iter().map(|one| 2 * heads * dim * one.sight.rows * one.sight.longest()).sum();
    let out = Columns::new(rows, heads * dim);
    each_range(units.iter().sum(), if work < PARALLEL_FROM { usize::MAX } else { 0 }, |range| {
        let (mut first_unit, mut first_row) = (0, 0);
        for (one, &units) in sequences.iter().zip(&units) {
            let rows = one.sight.rows;
            let per_head = units / shape.kv_heads;
            let (low, high) = (range.start.max(first_unit), range.end.min(first_unit + units));
            for unit in low..high {
                let (kv_head, first) = ((unit - first_unit) / per_head, (unit - first_unit) % per_head * step);
                let queries = &queries[first_row * heads * dim..][..rows * heads * dim];
                let head = HeadView { pages: one.pages, shape, layer, head: kv_head };
                let job = Job { isa, head, queries, sight: &one.sight, group, first_row, out: &out };
                match step.min(group * rows - first) {
                    5.. => job.run::<8>(first),
                    3.. => job.run::<4>(first),
                    2 => job.run::<2>(first),
                    _ => job.run::<1>(first),
                }
            }
            first_unit += units;
            first_row += rows;
        }
    });
    out.take()
}

/// One key-value head of one sequence in one layer.
#[derive(Clone, Copy)]
struct HeadView<'a> {
    pages: &'a [Arc<Page>],
    shape: PageShape,
    layer: usize,
    head: usize,
}

impl<'a> HeadView<'a> {
    /// The tiles of keys in a page.
    #[inline(always)]
    fn keys(&self, page: usize) -> &'a [[f32; LANES]] {
        let page = &*self.pages[page];
        page.keys[page.start(self.layer, self.head)..][..self.shape.head_len()].as_chunks().0
    }

    /// The values in a page, position by position.
    #[inline(always)]
    fn values(&self, page: usize) -> &'a [[f32; LANES]] {
        let page = &*self.pages[page];
        page.values[page.start(self.layer, self.head)..][..self.shape.head_len()].as_chunks().0
    }
}

/// The queries of one key-value head.
struct Job<'a> {
    isa: Isa,
    head: HeadView<'a>,
    queries: &'a [f32],
    sight: &'a Sight,
    /// Query heads that share the key-value head.
    group: usize,
    /// The sequence's first row in the result.
    first_row: usize,
    out: &'a Columns,
}

impl Job<'_> {
    /// Up to `COUNT` queries from `first` on. Where there are fewer, the last one is computed again.
    fn run<const COUNT: usize>(&self, first: usize) {
        let (rows, dim, width) = (self.sight.rows, self.head.shape.head_dim, self.head.shape.width());
        let all = self.group * rows;
        let count = COUNT.min(all - first);
        let index: [usize; COUNT] = std::array::from_fn(|i| first + i.min(count - 1));
        let seen = index.map(|i| self.sight.of(i % rows));
        let low = seen.iter().map(|seen| seen.start).min().unwrap_or(0);
        let high = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        let mut padded = vec![0.0; COUNT * width];
        for (padded, i) in padded.chunks_exact_mut(width).zip(index) {
            padded[..dim].copy_from_slice(&self.queries[(self.head.head * all + i) * dim..][..dim]);
        }
        let base = low / LANES * LANES;
        let span = high.next_multiple_of(LANES) - base;
        let mut scores = vec![0.0; COUNT * span];
        let mut mixed = vec![0.0; COUNT * width];
        let seen = seen.map(|seen| seen.start - base..seen.end - base);
        compute::<COUNT>(
            self.isa,
            self.head,
            &Part { first_tile: base / LANES, queries: &padded, seen: &seen, softcap: self.sight.softcap },
            &mut scores,
            &mut mixed,
        );
        for (i, mixed) in index.iter().zip(mixed.chunks_exact(width)).take(count) {
            let head = self.head.head * self.group + i / rows;
            // SAFETY: each query is in one job only, and a query's head and row make a place of its own.
            unsafe { self.out.put(self.first_row + i % rows, head * dim, &mixed[..dim]) };
        }
    }
}

/// Some queries and what they see.
struct Part<'a> {
    /// Where the first position lies that any of them sees.
    first_tile: usize,
    queries: &'a [f32],
    /// What each sees, counted from the first tile on.
    seen: &'a [Range<usize>],
    softcap: Option<f64>,
}

for_each_isa! {
    fn compute<const COUNT: usize>(head: HeadView<'_>, part: &Part<'_>, scores: &mut [f32], mixed: &mut [f32]) {
        let span = scores.len() / COUNT;
        score::<COUNT>(head, part.first_tile, part.queries, scores);
        let mut factors = [0.0; COUNT];
        for ((scores, seen), factor) in scores.chunks_exact_mut(span).zip(part.seen).zip(&mut factors) {
            *factor = weigh(scores, seen.clone(), part.softcap);
        }
        mix::<COUNT>(head, part.first_tile, scores, mixed);
        for (mixed, factor) in mixed.chunks_exact_mut(head.shape.width()).zip(factors) {
            for value in mixed {
                *value *= factor;
            }
        }
    }
}

/// Scores of queries against the keys from a tile on.
#[inline(always)]
fn score<const COUNT: usize>(head: HeadView<'_>, first_tile: usize, queries: &[f32], scores: &mut [f32]) {
    let (width, tiles) = (head.shape.width(), scores.len() / COUNT / LANES);
    // Arrays of a known length need no checks in the innermost loop.
    let queries: [&[[f32; LANES]]; COUNT] = std::array::from_fn(|i| queries[i * width..][..width].as_chunks().0);
    let mut tile = 0;
    // Two tiles at a time use each element of a query twice, and give the processor enough that does not wait.
    while tile + 1 < tiles {
        score_tiles::<COUNT, 2>(head, first_tile, tile, &queries, scores);
        tile += 2;
    }
    if tile < tiles {
        score_tiles::<COUNT, 1>(head, first_tile, tile, &queries, scores);
    }
}

#[inline(always)]
fn score_tiles<const COUNT: usize, const SIDE: usize>(
    head: HeadView<'_>,
    first_tile: usize,
    tile: usize,
    queries: &[&[[f32; LANES]]; COUNT],
    scores: &mut [f32],
) {
    let (width, span) = (head.shape.width(), scores.len() / COUNT);
    let keys: [&[[[f32; LANES]; LANES]]; SIDE] = std::array::from_fn(|side| {
        let place = first_tile + tile + side;
        head.keys(place / TILES)[place % TILES * width..][..width].as_chunks().0
    });
    let mut sums = [[[0.0f32; LANES]; SIDE]; COUNT];
    for part in 0..width / LANES {
        let (keys, queries) = (keys.map(|keys| &keys[part]), queries.map(|query| &query[part]));
        for element in 0..LANES {
            let keys = keys.map(|keys| keys[element]);
            for (sums, query) in sums.iter_mut().zip(queries) {
                for (sums, keys) in sums.iter_mut().zip(keys) {
                    fuse(sums, keys, query[element]);
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (side, sums) in sums.iter().enumerate() {
            scores[i * span + (tile + side) * LANES..][..LANES].copy_from_slice(sums);
        }
    }
}

/// `sums += values * factor`, fused.
#[inline(always)]
fn fuse(sums: &mut [f32; LANES], values: [f32; LANES], factor: f32) {
    *sums = std::array::from_fn(|lane| values[lane].mul_add(factor, sums[lane]));
}

/// Turns scores into weights that still are to be divided by their sum, zero for what is not seen; returns what to
/// multiply by instead of dividing.
#[inline(always)]
fn weigh(scores: &mut [f32], seen: Range<usize>, softcap: Option<f64>) -> f32 {
    let (start, end) = (seen.start, seen.end);
    if let Some(cap) = softcap {
        let cap = cap as f32;
        for score in &mut scores[start..end] {
            *score = (*score / cap).tanh() * cap;
        }
    }
    scores[..start].fill(f32::NEG_INFINITY);
    scores[end..].fill(f32::NEG_INFINITY);
    let tiles = scores.as_chunks_mut::<LANES>().0;
    let mut highest = [f32::NEG_INFINITY; LANES];
    for tile in tiles.iter() {
        for (highest, score) in highest.iter_mut().zip(tile) {
            *highest = highest.max(*score);
        }
    }
    let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for tile in tiles {
        for (sum, score) in sums.iter_mut().zip(tile) {
            // Where nothing is seen, the exponential is tiny but not nothing.
            *score = if *score == f32::NEG_INFINITY { 0.0 } else { exp(*score - highest) };
            *sum += *score;
        }
    }
    1.0 / sums.into_iter().sum::<f32>()
}

/// Sums of values times weights over whole tiles of positions, of which those past the end have no weight.
#[inline(always)]
fn mix<const COUNT: usize>(head: HeadView<'_>, first_tile: usize, weights: &[f32], mixed: &mut [f32]) {
    let (width, span) = (head.shape.width(), weights.len() / COUNT);
    let registers = width / LANES;
    let weights: [&[[f32; LANES]]; COUNT] = std::array::from_fn(|i| weights[i * span..][..span].as_chunks().0);
    let mut done = 0;
    while done < span / LANES {
        let place = first_tile + done;
        let tiles = (TILES - place % TILES).min(span / LANES - done);
        let values = &head.values(place / TILES)[place % TILES * LANES * registers..][..tiles * LANES * registers];
        let weights = weights.map(|weights| &weights[done..][..tiles]);
        let mut register = 0;
        while register + 1 < registers {
            mix_registers::<COUNT, 2>(registers, register, values, &weights, mixed);
            register += 2;
        }
        if register < registers {
            mix_registers::<COUNT, 1>(registers, register, values, &weights, mixed);
        }
        done += tiles;
    }
}

/// Adds the weighted values of some neighbouring registers of the head, of whole tiles of positions.
#[inline(always)]
fn mix_registers<const COUNT: usize, const SIDE: usize>(
    registers: usize,
    register: usize,
    values: &[[f32; LANES]],
    weights: &[&[[f32; LANES]]; COUNT],
    mixed: &mut [f32],
) {
    let at = |i: usize, side: usize| (i * registers + register + side) * LANES;
    let mut sums: [[[f32; LANES]; SIDE]; COUNT] = std::array::from_fn(|i| {
        std::array::from_fn(|side| *mixed[at(i, side)..].first_chunk().unwrap_or(&[0.0; LANES]))
    });
    for (tile, values) in values.chunks_exact(LANES * registers).enumerate() {
        let weights = weights.map(|weights| &weights[tile]);
        for position in 0..LANES {
            let values: [[f32; LANES]; SIDE] =
                std::array::from_fn(|side| values[position * registers + register + side]);
            for (sums, weights) in sums.iter_mut().zip(weights) {
                for (sums, values) in sums.iter_mut().zip(values) {
                    fuse(sums, values, weights[position]);
                }
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (side, sums) in sums.iter().enumerate() {
            mixed[at(i, side)..][..LANES].copy_from_slice(sums);
        }
    }
}

/// The exponential function to about one part in ten million, free of branches so that it vectorises on any processor.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it moves the integer nearest to a float into the float's lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let whole = shifted - SHIFT;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    let mut series = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + coefficient;
    }
    let exponent = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127) << 23;
    series * f32::from_bits(exponent)
}
