//! Vectors of passages and the exact search among them.

use super::Embed;
use super::chunk::windows;
use super::strings::Strings;
use crate::error::{Context, Result, bail, ensure};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Passages whose windows are embedded together.
const BLOCK: usize = 128;
/// Vectors that one task of the thread pool compares at least.
const GRAIN: usize = 4096;

/// What tells the texts of windows apart: the beginning of their SHA-256.
pub(super) type WindowHash = [u64; 2];

/// The vectors of every passage: one for each window of its text that the encoder reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Vectors {
    /// Numbers of a vector.
    pub(super) width: usize,
    /// The vectors, one after another, each of length 1.
    pub(super) values: Vec<f32>,
    /// Where each passage's windows end.
    pub(super) ends: Vec<u32>,
    /// What each window's text was.
    pub(super) hashes: Vec<WindowHash>,
}

/// What building took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Built {
    /// Windows that went through the encoder.
    pub(super) embedded: usize,
    /// Windows whose vectors were there already.
    pub(super) reused: usize,
}

impl Vectors {
    /// Embeds every window of the passages that is not among `known`. `progress` sees what
    /// there is so far, and hears how many passages are done.
    pub(super) fn build(
        titles: &Strings,
        texts: &Strings,
        known: &Self,
        embed: &dyn Embed,
        progress: &mut dyn FnMut(&Self, usize),
    ) -> Result<(Self, Built)> {
        let places: HashMap<WindowHash, usize> =
            known.hashes.iter().enumerate().map(|(at, &hash)| (hash, at)).collect();
        let (mut vectors, mut built) = (Self::default(), Built::default());
        for start in (0..texts.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(texts.len());
            let cut: Vec<Vec<String>> = (start..end).map(|i| windows(titles.get(i), texts.get(i))).collect();
            let hashes: Vec<WindowHash> = cut.iter().flatten().map(|text| hash(text)).collect();
            let missing: Vec<&str> = cut
                .iter()
                .flatten()
                .zip(&hashes)
                .filter(|(_, hash)| !places.contains_key(*hash))
                .map(|(text, _)| text.as_str())
                .collect();
            let fresh = embed.embed(&missing).context("embedding passages")?;
            if fresh.len() != missing.len() {
                bail!("embedding passages: {} vectors for {} texts", fresh.len(), missing.len());
            }
            built.embedded += missing.len();
            built.reused += hashes.len() - missing.len();
            if let Some(width) = fresh.first().map(Vec::len).filter(|_| vectors.values.is_empty()) {
                // Most passages have one window: a growing list would need twice the memory.
                vectors.values.reserve_exact(texts.len().saturating_mul(width));
            }
            let mut fresh = fresh.into_iter();
            for hash in &hashes {
                match places.get(hash) {
                    Some(&at) => vectors.push(known.vector(at), *hash)?,
                    None => vectors.push(&fresh.next().unwrap_or_default(), *hash)?,
                }
            }
            let mut total = vectors.ends.last().copied().unwrap_or(0) as usize;
            for windows in &cut {
                total += windows.len();
                vectors.ends.push(u32::try_from(total).context("the passages have too many windows")?);
            }
            progress(&vectors, end);
        }
        Ok((vectors, built))
    }

    fn push(&mut self, vector: &[f32], hash: WindowHash) -> Result<()> {
        if self.width == 0 {
            self.width = vector.len();
        }
        ensure!(vector.len() == self.width && !vector.is_empty(), "the encoder gave vectors of different lengths");
        self.values.extend_from_slice(vector);
        self.hashes.push(hash);
        Ok(())
    }

    /// From the parts of a file, which are checked so that no search can leave them.
    pub(super) fn from_parts(width: usize, values: Vec<f32>, ends: Vec<u32>, hashes: Vec<WindowHash>) -> Result<Self> {
        ensure!(ends.is_sorted(), "the passages' vectors are out of order");
        ensure!(ends.last().map_or(0, |&end| end as usize) == hashes.len(), "vectors are missing");
        ensure!(hashes.len().checked_mul(width) == Some(values.len()), "vectors are cut short");
        ensure!(
            values.par_chunks(GRAIN).all(|part| part.iter().all(|value| value.is_finite())),
            "a vector is not finite"
        );
        Ok(Self { width, values, ends, hashes })
    }

    fn vector(&self, at: usize) -> &[f32] {
        self.values.get(at * self.width..(at + 1) * self.width).unwrap_or_default()
    }

    fn windows_of(&self, passage: usize) -> std::ops::Range<usize> {
        let end_of = |passage: usize| self.ends.get(passage).map_or(0, |&end| end as usize);
        passage.checked_sub(1).map_or(0, end_of)..end_of(passage)
    }

    /// The cosine of a query with every passage; of one in several windows the mean of the cosine with the first, which is the
    /// passage from its beginning, and that with the nearest of its pieces (FirstP and MaxP of Dai and Callan, "Deeper Text
    /// Understanding for IR", 2019). The nearest piece alone would favour long passages, which have more chances to be near.
    pub(super) fn cosines(&self, query: &[f32]) -> Vec<f64> {
        let cosine = |passage: usize| -> f64 {
            let mut each = self.windows_of(passage).map(|at| f64::from(dot(self.vector(at), query)));
            let first = each.next().unwrap_or(0.0);
            each.reduce(f64::max).map_or(first, |nearest| first.midpoint(nearest))
        };
        (0..self.ends.len()).into_par_iter().with_min_len(GRAIN).map(cosine).collect()
    }

    /// The cosine of the two nearest windows of two passages.
    pub(super) fn similarity(&self, a: usize, b: usize) -> f64 {
        let pairs = self.windows_of(a).flat_map(|x| self.windows_of(b).map(move |y| (x, y)));
        let found = pairs.map(|(x, y)| dot(self.vector(x), self.vector(y))).fold(f32::NEG_INFINITY, f32::max);
        if found.is_finite() { f64::from(found) } else { 0.0 }
    }
}

/// The product of two vectors, in sixteen sums side by side: always the same order, and fit for vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn hash(text: &str) -> WindowHash {
    let digest = Sha256::digest(text.as_bytes());
    let part = |from: usize| digest.iter().skip(from).take(8).fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
    [part(0), part(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// One axis for each first letter. Keeps what it was asked.
    struct Letters(Mutex<Vec<String>>);

    impl Embed for Letters {
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
            self.0.lock().expect("free").extend(texts.iter().map(|text| (*text).to_owned()));
            let axis = |text: &str| (0..26).map(|n| f32::from(text.as_bytes().first() == Some(&(b'a' + n)))).collect();
            Ok(texts.iter().map(|text| axis(text)).collect())
        }
    }

    fn build(texts: &[&str], known: &Vectors) -> (Vectors, Built, Vec<String>) {
        let encoder = Letters(Mutex::new(Vec::new()));
        let titles: Strings = texts.iter().map(|_| "").collect();
        let texts: Strings = texts.iter().copied().collect();
        let (vectors, built) = Vectors::build(&titles, &texts, known, &encoder, &mut |_, _| ()).expect("built");
        (vectors, built, encoder.0.into_inner().expect("free"))
    }

    #[test]
    fn only_texts_that_changed_go_through_the_encoder_again() {
        let (first, built, _) = build(&["apple", "bear", "cat"], &Vectors::default());
        assert_eq!(built, Built { embedded: 3, reused: 0 });
        let (second, built, asked) = build(&["bear", "apple", "dog"], &first);
        assert_eq!((built, asked), (Built { embedded: 1, reused: 2 }, vec!["dog".to_owned()]));
        assert_eq!(second, build(&["bear", "apple", "dog"], &Vectors::default()).0);
    }

    #[test]
    fn a_long_passage_is_as_near_as_its_beginning_and_its_nearest_piece_together() {
        let long = format!("{}. {}.", "apple ".repeat(150).trim(), "bear ".repeat(150).trim());
        let (vectors, built, _) = build(&[&long, "bear"], &Vectors::default());
        assert_eq!(built.embedded, 4);
        let axis = |n: usize| (0..26).map(|i| if i == n { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
        assert_eq!((vectors.cosines(&axis(0)), vectors.cosines(&axis(1))), (vec![1.0, 0.0], vec![0.5, 1.0]));
        assert_eq!(vectors.similarity(0, 1), 1.0);
    }

    #[test]
    fn products_are_those_of_the_formula_at_any_length() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..length).map(|n| n as f32).collect();
            let expected: f32 = a.iter().map(|x| x * 2.0).sum();
            assert_eq!(dot(&a, &vec![2.0; length]), expected);
        }
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        let from = |width, values: usize, ends: &[u32], hashes: usize| {
            Vectors::from_parts(width, vec![0.0; values], ends.into(), vec![[0, 0]; hashes])
        };
        assert!(from(2, 4, &[1, 2], 2).is_ok());
        assert!(from(2, 5, &[1, 2], 2).is_err());
        assert!(from(2, 4, &[2, 1], 2).is_err());
        assert!(from(2, 4, &[1, 3], 2).is_err());
        assert!(from(usize::MAX, 4, &[1, 2], 2).is_err());
        assert!(Vectors::from_parts(1, vec![f32::NAN], vec![1], vec![[0, 0]]).is_err());
    }
}
