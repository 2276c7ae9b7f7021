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

/// Positions whose keys lie together; numbers that are computed side by side.
pub(crate) const LANES: usize = 16;
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
}

/// Keys and values of one sequence in one layer.
///
/// The keys of a head stand in tiles of sixteen positions, each element by element: `[kv_heads, tiles, width, 16]`. Values
/// stand position by position: `[kv_heads, capacity, width]`. `width` is the head's length, made a multiple of sixteen
/// with zeros; the capacity is a multiple of sixteen.
#[derive(Debug, Clone)]
pub(crate) struct HeadCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    kv_heads: usize,
    head_dim: usize,
    width: usize,
    capacity: usize,
}

impl HeadCache {
    pub(crate) fn new(kv_heads: usize, head_dim: usize) -> Self {
        let width = head_dim.next_multiple_of(LANES);
        Self { keys: Vec::new(), values: Vec::new(), kv_heads, head_dim, width, capacity: 0 }
    }

    /// Makes room for `capacity` positions, a multiple of sixteen; the first `kept` stay.
    pub(crate) fn grow(&mut self, capacity: usize, kept: usize) {
        let mut larger = Self { capacity, ..Self::new(self.kv_heads, self.head_dim) };
        larger.keys = vec![0.0; self.kv_heads * capacity * self.width];
        larger.values = vec![0.0; self.kv_heads * capacity * self.width];
        larger.copy(self, 0, 0, kept.next_multiple_of(LANES).min(self.capacity));
        *self = larger;
    }

    /// A copy of a range that begins at a multiple of sixteen.
    pub(crate) fn copy_out(&self, range: Range<usize>) -> Self {
        let mut copy = Self::new(self.kv_heads, self.head_dim);
        copy.grow(range.len().next_multiple_of(LANES), 0);
        copy.copy(self, range.start, 0, copy.capacity.min(self.capacity - range.start));
        copy
    }

    /// Puts a copied range at `position`, a multiple of sixteen.
    pub(crate) fn put(&mut self, block: &Self, position: usize) {
        self.copy(block, 0, position, block.capacity.min(self.capacity - position));
    }

    /// Keys and values of sixteen neighbours are as long as each other, so that both move alike.
    fn copy(&mut self, from: &Self, start: usize, to: usize, positions: usize) {
        let length = positions * self.width;
        for head in 0..self.kv_heads {
            let source = (head * from.capacity + start) * self.width;
            let target = (head * self.capacity + to) * self.width;
            self.keys[target..][..length].copy_from_slice(&from.keys[source..][..length]);
            self.values[target..][..length].copy_from_slice(&from.values[source..][..length]);
        }
    }

    /// Writes the keys and values of some positions, each `[kv_heads, positions, head_dim]`, from `start` on.
    pub(crate) fn write(&mut self, keys: &[f32], values: &[f32], start: usize) {
        let positions = keys.len() / (self.kv_heads * self.head_dim);
        let new = keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim));
        for (index, (key, value)) in new.enumerate() {
            let (head, position) = (index / positions, start + index % positions);
            let tile = (head * self.capacity + position / LANES * LANES) * self.width;
            for (column, &element) in self.keys[tile..].chunks_exact_mut(LANES).zip(key) {
                column[position % LANES] = element;
            }
            let row = (head * self.capacity + position) * self.width;
            self.values[row..][..self.head_dim].copy_from_slice(value);
        }
    }

    fn key_tile(&self, head: usize, tile: usize) -> &[[f32; LANES]] {
        self.keys[(head * self.capacity + tile * LANES) * self.width..][..self.width * LANES].as_chunks().0
    }

    fn value(&self, head: usize, position: usize) -> &[[f32; LANES]] {
        self.values[(head * self.capacity + position) * self.width..][..self.width].as_chunks().0
    }
}

/// What queries, scaled and `[heads, rows, head_dim]`, take from the values: `[rows, heads * head_dim]`.
pub(crate) fn attend(isa: Isa, cache: &HeadCache, queries: &[f32], sight: &Sight) -> Vec<f32> {
    let (rows, dim) = (sight.rows, cache.head_dim);
    let heads = queries.len() / (rows * dim);
    let of_kv_head = heads / cache.kv_heads * rows;
    // Fewer at a time where else a thread would have nothing to do: this changes no result.
    let threads = barrier_pool().n_workers() + 1;
    let mut step = QUERIES;
    while step > 1 && cache.kv_heads * of_kv_head.div_ceil(step) < threads {
        step /= 2;
    }
    let units = of_kv_head.div_ceil(step);
    let out = Columns::new(rows, heads * dim);
    let work = queries.len() * 2 * sight.of(rows - 1).len();
    each_range(cache.kv_heads * units, if work < PARALLEL_FROM { usize::MAX } else { 0 }, |range| {
        for unit in range {
            let (kv_head, first) = (unit / units, unit % units * step);
            let job = Job { isa, cache, queries, sight, kv_head, of_kv_head, out: &out };
            match step.min(of_kv_head - first) {
                5.. => job.run::<8>(first),
                3.. => job.run::<4>(first),
                2 => job.run::<2>(first),
                _ => job.run::<1>(first),
            }
        }
    });
    out.take()
}

/// The queries of one key-value head.
struct Job<'a> {
    isa: Isa,
    cache: &'a HeadCache,
    queries: &'a [f32],
    sight: &'a Sight,
    kv_head: usize,
    of_kv_head: usize,
    out: &'a Columns,
}

impl Job<'_> {
    /// Up to `COUNT` queries from `first` on. Where there are fewer, the last one is computed again.
    fn run<const COUNT: usize>(&self, first: usize) {
        let (rows, dim, width) = (self.sight.rows, self.cache.head_dim, self.cache.width);
        let count = COUNT.min(self.of_kv_head - first);
        let index: [usize; COUNT] = std::array::from_fn(|i| first + i.min(count - 1));
        let seen = index.map(|i| self.sight.of(i % rows));
        let low = seen.iter().map(|seen| seen.start).min().unwrap_or(0);
        let high = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        let mut padded = vec![0.0; COUNT * width];
        for (padded, i) in padded.chunks_exact_mut(width).zip(index) {
            padded[..dim].copy_from_slice(&self.queries[(self.kv_head * self.of_kv_head + i) * dim..][..dim]);
        }
        let base = low / LANES * LANES;
        let span = high.next_multiple_of(LANES) - base;
        let mut scores = vec![0.0; COUNT * span];
        let mut mixed = vec![0.0; COUNT * width];
        let seen = seen.map(|seen| seen.start - base..seen.end - base);
        compute::<COUNT>(
            self.isa,
            self.cache,
            self.kv_head,
            &Part { positions: base..high, queries: &padded, seen: &seen, softcap: self.sight.softcap },
            &mut scores,
            &mut mixed,
        );
        for (i, mixed) in index.iter().zip(mixed.chunks_exact(width)).take(count) {
            let head = self.kv_head * self.of_kv_head / rows + i / rows;
            // SAFETY: each query is in one job only, and a query's head and row make a place of its own.
            unsafe { self.out.put(i % rows, head * dim, &mixed[..dim]) };
        }
    }
}

/// Some queries and what they see.
struct Part<'a> {
    /// All that any of them sees, from the beginning of a tile.
    positions: Range<usize>,
    queries: &'a [f32],
    /// What each sees, counted from the first position.
    seen: &'a [Range<usize>],
    softcap: Option<f64>,
}

for_each_isa! {
    fn compute<const COUNT: usize>(
        cache: &HeadCache,
        head: usize,
        part: &Part<'_>,
        scores: &mut [f32],
        mixed: &mut [f32],
    ) {
        let span = scores.len() / COUNT;
        score::<COUNT>(cache, head, part.positions.start / LANES, part.queries, scores);
        let mut factors = [0.0; COUNT];
        for ((scores, seen), factor) in scores.chunks_exact_mut(span).zip(part.seen).zip(&mut factors) {
            *factor = weigh(scores, seen.clone(), part.softcap);
        }
        mix::<COUNT>(cache, head, part.positions.clone(), scores, mixed);
        for (mixed, factor) in mixed.chunks_exact_mut(cache.width).zip(factors) {
            for value in mixed {
                *value *= factor;
            }
        }
    }
}

/// Scores of queries against the keys from a tile on.
#[inline(always)]
fn score<const COUNT: usize>(cache: &HeadCache, head: usize, first_tile: usize, queries: &[f32], scores: &mut [f32]) {
    let (width, span) = (cache.width, scores.len() / COUNT);
    let queries: [&[f32]; COUNT] = std::array::from_fn(|i| &queries[i * width..][..width]);
    for tile in 0..span / LANES {
        let keys = &cache.key_tile(head, first_tile + tile)[..width];
        let mut sums = [[0.0f32; LANES]; COUNT];
        for (element, keys) in keys.iter().enumerate() {
            for (sums, query) in sums.iter_mut().zip(&queries) {
                let factor = query[element];
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = key.mul_add(factor, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            scores[i * span + tile * LANES..][..LANES].copy_from_slice(sums);
        }
    }
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

/// Sums of values times weights over a range of positions; the weights begin at the range's start.
#[inline(always)]
fn mix<const COUNT: usize>(
    cache: &HeadCache,
    head: usize,
    positions: Range<usize>,
    weights: &[f32],
    mixed: &mut [f32],
) {
    let (width, span) = (cache.width, weights.len() / COUNT);
    let weights: [&[f32]; COUNT] = std::array::from_fn(|i| &weights[i * span..][..positions.len()]);
    for register in 0..width / LANES {
        let mut sums = [[0.0f32; LANES]; COUNT];
        for (index, position) in positions.clone().enumerate() {
            let values = &cache.value(head, position)[register];
            for (sums, weights) in sums.iter_mut().zip(&weights) {
                let weight = weights[index];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = value.mul_add(weight, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            mixed[i * width + register * LANES..][..LANES].copy_from_slice(sums);
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
