//! Reading memory as the kernels do, to find out how fast that can be.

use super::isa::for_each_isa;
use super::pool::each_range;

/// Words of a cache line.
const LINE: usize = 8;
/// Places that a thread reads from in turn: one alone does not keep the memory busy.
const STREAMS: usize = 4;
/// Lines to ask memory for before they are needed, as the kernels do.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 32;

/// The sum of all words, read by all threads of the engine.
pub(crate) fn sum_of(isa: super::Isa, words: &[u64]) -> u64 {
    let total = std::sync::atomic::AtomicU64::new(0);
    let (lines, rest) = words.as_chunks::<LINE>();
    each_range(lines.len(), 0, |range| {
        total.fetch_add(sum(isa, &lines[range]), std::sync::atomic::Ordering::Relaxed);
    });
    rest.iter().fold(total.into_inner(), |sum, &word| sum.wrapping_add(word))
}

for_each_isa! {
    fn sum(lines: &[[u64; LINE]]) -> u64 {
        let length = lines.len() / STREAMS;
        let streams: [&[[u64; LINE]]; STREAMS] = std::array::from_fn(|stream| &lines[stream * length..][..length]);
        let mut sums = [[0u64; LINE]; STREAMS];
        for at in 0..length {
            for (sums, stream) in sums.iter_mut().zip(streams) {
                let line = &stream[at];
                ask_ahead(line);
                for (sum, word) in sums.iter_mut().zip(line) {
                    *sum = sum.wrapping_add(*word);
                }
            }
        }
        let rest = &lines[STREAMS * length..];
        sums.iter().chain(rest).flatten().fold(0, |sum, &word| sum.wrapping_add(word))
    }
}

/// The processor's own prefetching stops at the end of each page.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an intrinsic")]
#[inline(always)]
fn ask_ahead(line: &[u64; LINE]) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: every x86-64 processor has the instruction; it reads nothing, so that any address may be given.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).wrapping_add(AHEAD).cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_ahead(_line: &[u64; LINE]) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernels::Isa;

    #[test]
    fn every_word_is_read_once() {
        for count in [0, 1, 7, 8, 9, 16, 1000, 1003] {
            let words: Vec<u64> = (0..count).map(|word| word * word).collect();
            for isa in Isa::available() {
                assert_eq!(sum_of(isa, &words), words.iter().sum::<u64>(), "{count} words, {isa:?}");
            }
        }
    }
}
