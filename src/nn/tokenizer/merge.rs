//! The merge loop of both kinds of BPE: join the best neighbouring pair until no pair can be joined.
//!
//! A heap keeps the candidate pairs, so that a word of n symbols takes O(n log n) whatever it is made of. In a long one, such as
//! megabytes of spaces, most of the time is the heap's memory: hence the small candidates.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

const NONE: usize = usize::MAX;

/// A stretch of the text, and its token if it has one.
pub(super) struct Symbol {
    pub(super) span: Range<usize>,
    pub(super) id: Option<u32>,
}

/// A stretch with its neighbours.
struct Link {
    symbol: Symbol,
    previous: usize,
    next: usize,
}

/// A candidate: lower rank first, then further left. `middle` and `end` tell whether the pair is still what it was. Words
/// have less than 2^32 bytes: their links would take a hundred gigabytes before.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    middle: u32,
    end: u32,
    id: u32,
}

/// A text while its symbols are being joined.
pub(super) struct Merger {
    links: Vec<Link>,
}

impl Merger {
    /// Starts from symbols that follow one another without a gap.
    pub(super) fn new(symbols: impl Iterator<Item = Symbol>) -> Self {
        let mut links: Vec<Link> = symbols
            .enumerate()
            .map(|(at, symbol)| Link { symbol, previous: at.checked_sub(1).unwrap_or(NONE), next: at + 1 })
            .collect();
        if let Some(last) = links.last_mut() {
            last.next = NONE;
        }
        Self { links }
    }

    /// Joins pairs, lowest rank first and leftmost among equals. `pair` gives the rank and the token of a joined pair,
    /// or none where the pair does not join.
    pub(super) fn run(&mut self, pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let mut heap = BinaryHeap::with_capacity(self.links.len());
        for left in 0..self.links.len().saturating_sub(1) {
            heap.extend(self.candidate(left, left + 1, &pair).map(Reverse));
        }
        while let Some(Reverse(best)) = heap.pop() {
            let at = best.left as usize;
            let Some(right) = self.right_of(&best) else { continue };
            let (end, next) = (self.links[right].symbol.span.end, self.links[right].next);
            self.links[right].symbol.span = end..end;
            let left = &mut self.links[at];
            left.symbol = Symbol { span: left.symbol.span.start..end, id: Some(best.id) };
            left.next = next;
            let previous = left.previous;
            if next != NONE {
                self.links[next].previous = at;
                heap.extend(self.candidate(at, next, &pair).map(Reverse));
            }
            if previous != NONE {
                heap.extend(self.candidate(previous, at, &pair).map(Reverse));
            }
        }
    }

    /// The symbols that remain, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.links.iter().map(|link| &link.symbol).filter(|symbol| !symbol.span.is_empty())
    }

    fn candidate(
        &self,
        left: usize,
        right: usize,
        pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>,
    ) -> Option<Candidate> {
        let (a, b) = (&self.links[left].symbol, &self.links[right].symbol);
        let (rank, id) = pair(a, b)?;
        Some(Candidate { rank, left: left as u32, middle: a.span.end as u32, end: b.span.end as u32, id })
    }

    /// The right side, where both are as they were when the candidate was made: a symbol only ever grows or disappears.
    fn right_of(&self, candidate: &Candidate) -> Option<usize> {
        let left = &self.links[candidate.left as usize];
        let right = self.links.get(left.next)?;
        let stands = !left.symbol.span.is_empty()
            && left.symbol.span.end == candidate.middle as usize
            && right.symbol.span.end == candidate.end as usize;
        stands.then_some(left.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str, pair: impl Fn(&str) -> Option<u32>) -> Vec<&str> {
        let mut merger = Merger::new((0..text.len()).map(|at| Symbol { span: at..at + 1, id: None }));
        merger.run(|a, b| Some((pair(&text[a.span.start..b.span.end])?, 0)));
        merger.symbols().map(|symbol| &text[symbol.span.clone()]).collect()
    }

    #[test]
    fn the_lowest_rank_goes_first() {
        let rank = |pair: &str| ["bc", "ab"].iter().position(|&known| known == pair).map(|at| at as u32);
        assert_eq!(merged("abc", rank), ["a", "bc"]);
    }

    #[test]
    fn among_equal_ranks_the_leftmost_goes_first() {
        assert_eq!(merged("aaa", |pair| (pair == "aa").then_some(0)), ["aa", "a"]);
    }

    #[test]
    fn an_empty_text_has_no_symbols() {
        assert!(merged("", |_| Some(0)).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn the_heap_joins_what_a_plain_search_for_the_best_pair_joins(text in "[ab]{0,40}") {
            let rank = |pair: &str| ["ab", "aab", "ba", "bb", "abab", "abba"].iter().position(|&k| k == pair).map(|at| at as u32);
            let mut plain: Vec<String> = text.chars().map(String::from).collect();
            while let Some((_, at)) =
                (1..plain.len()).filter_map(|at| Some((rank(&format!("{}{}", plain[at - 1], plain[at]))?, at))).min()
            {
                let right = plain.remove(at);
                plain[at - 1].push_str(&right);
            }
            proptest::prop_assert_eq!(merged(&text, rank), plain);
        }
    }
}
