//! Attention of all tokens of a text to one another, as encoders have it.
//!
//! A token's result depends on its text alone: scores are sums over the numbers of a head in their order, weights are summed in
//! sixteen lanes, values in the order of the tokens.
#![expect(unsafe_code, reason = "threads write their own parts of one result")]

use super::attention::exp;
use super::float::tile_rows;
use super::isa::{Isa, for_each_isa};
use super::pack::TILE;
use super::pool::{Columns, each_range};

/// Queries that share a walk over keys and values.
const QUERIES: usize = 8;

/// The tokens of some texts, one text after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a> {
    /// For each token its query, its key and its value, each `width` numbers.
    pub(crate) parts: &'a [f32],
    pub(crate) width: usize,
    pub(crate) heads: usize,
    /// Where the tokens of each text end.
    pub(crate) ends: &'a [usize],
}

/// Keys and values of a head in tiles of sixteen, and the scores of some queries.
#[derive(Default)]
struct Room {
    keys: Vec<[f32; TILE]>,
    values: Vec<[f32; TILE]>,
    scores: Vec<f32>,
}

/// `mixed` becomes what each token takes of the values of its text, `width` numbers for each; what it was is room to work in.
pub(crate) fn attend_mutually(isa: Isa, texts: Texts<'_>, mixed: &mut Vec<f32>) {
    let tokens = texts.ends.last().copied().unwrap_or(0);
    let out = Columns::over(std::mem::take(mixed), tokens, texts.width);
    let count = texts.ends.len();
    // Every thread takes some heads of all texts, since texts differ in length.
    each_range(texts.heads * count, 0, |range| {
        let mut room = Room::default();
        for index in range {
            let (head, text) = (index / count, index % count);
            let first = text.checked_sub(1).map_or(0, |before| texts.ends[before]);
            room.attend(isa, texts, head, first, texts.ends[text] - first, &out);
        }
    });
    *mixed = out.take();
}

impl Room {
    fn attend(&mut self, isa: Isa, texts: Texts<'_>, head: usize, first: usize, length: usize, out: &Columns) {
        let (width, size) = (texts.width, texts.width / texts.heads);
        let part =
            |token: usize, which: usize| &texts.parts[((first + token) * 3 + which) * width + head * size..][..size];
        let (key_tiles, value_tiles) = (length.div_ceil(TILE), size.div_ceil(TILE));
        self.keys.clear();
        self.keys.resize(key_tiles * size, [0.0; TILE]);
        self.values.clear();
        self.values.resize(value_tiles * length, [0.0; TILE]);
        for token in 0..length {
            for (number, key) in part(token, 1).iter().enumerate() {
                self.keys[token / TILE * size + number][token % TILE] = *key;
            }
            for (tile, values) in part(token, 2).chunks(TILE).enumerate() {
                self.values[tile * length + token][..values.len()].copy_from_slice(values);
            }
        }
        let span = key_tiles * TILE;
        self.scores.resize(QUERIES * span, 0.0);
        let scale = 1.0 / (size as f32).sqrt();
        for query in (0..length).step_by(QUERIES) {
            let queries: [&[f32]; QUERIES] = std::array::from_fn(|row| part((query + row).min(length - 1), 0));
            for (tile, keys) in self.keys.chunks_exact(size).enumerate() {
                for (row, scores) in tile_rows::<QUERIES>(isa, keys, queries).iter().enumerate() {
                    self.scores[row * span + tile * TILE..][..TILE].copy_from_slice(scores);
                }
            }
            let mut shares = [0.0; QUERIES];
            for (scores, share) in self.scores.chunks_exact_mut(span).zip(&mut shares) {
                scores[length..].fill(f32::NEG_INFINITY);
                *share = 1.0 / exponentials(isa, scores, scale);
            }
            let weights: [&[f32]; QUERIES] = std::array::from_fn(|row| &self.scores[row * span..][..length]);
            for (tile, values) in self.values.chunks_exact(length).enumerate() {
                let sums = tile_rows::<QUERIES>(isa, values, weights);
                let count = TILE.min(size - tile * TILE);
                for (row, (sums, share)) in sums.iter().zip(&shares).enumerate().take(length - query) {
                    let sums = sums.map(|sum| sum * share);
                    // SAFETY: every text has rows of its own and every head columns; both together are one thread's.
                    unsafe { out.put(first + query + row, head * size + tile * TILE, &sums[..count]) };
                }
            }
        }
    }
}

for_each_isa! {
    /// Turns scores, whole tiles of them, into the exponentials of what each is below the highest one, and gives their sum.
    fn exponentials(scores: &mut [f32], scale: f32) -> f32 {
        let tiles = scores.as_chunks_mut::<TILE>().0;
        let mut highest = [f32::NEG_INFINITY; TILE];
        for tile in tiles.iter() {
            for (highest, score) in highest.iter_mut().zip(tile) {
                *highest = highest.max(*score);
            }
        }
        let highest = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0_f32; TILE];
        for tile in tiles {
            for (sum, score) in sums.iter_mut().zip(tile) {
                *score = exp((*score - highest) * scale);
                *sum += *score;
            }
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention by its formula, one number after the other, in double precision.
    fn plain(texts: Texts<'_>) -> Vec<f64> {
        let (width, size) = (texts.width, texts.width / texts.heads);
        let mut out = Vec::new();
        let mut first = 0;
        for &end in texts.ends {
            for token in first..end {
                for head in 0..texts.heads {
                    let part = |token: usize, which: usize| {
                        texts.parts[(token * 3 + which) * width + head * size..][..size].iter().map(|x| f64::from(*x))
                    };
                    let score = |other: usize| -> f64 {
                        part(token, 0).zip(part(other, 1)).map(|(a, b)| a * b).sum::<f64>() / (size as f64).sqrt()
                    };
                    let weights: Vec<f64> = (first..end).map(|other| score(other).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for number in 0..size {
                        let value = |other: usize| part(other, 2).nth(number).unwrap_or(f64::NAN);
                        let sum: f64 = (first..end).zip(&weights).map(|(other, weight)| value(other) * weight).sum();
                        out.push(sum / total);
                    }
                }
            }
            first = end;
        }
        out
    }

    #[test]
    fn it_is_the_formula_for_texts_of_any_length_on_every_instruction_set() {
        let (width, heads) = (40, 2);
        for ends in [vec![1], vec![3, 20, 20, 37], vec![16, 32], vec![70]] {
            let tokens = *ends.last().expect("a text");
            let parts: Vec<f32> = (0..tokens * 3 * width).map(|n| ((n * n) as f32 * 0.37).sin()).collect();
            let texts = Texts { parts: &parts, width, heads, ends: &ends };
            let wanted = plain(texts);
            let mut mixed = vec![5.0; 3];
            for isa in Isa::available() {
                attend_mutually(isa, texts, &mut mixed);
                assert_eq!(mixed.len(), wanted.len());
                for (found, wanted) in mixed.iter().zip(&wanted) {
                    assert!((f64::from(*found) - wanted).abs() < 1e-5, "{isa:?}: {found}, not {wanted}");
                }
            }
        }
    }
}
