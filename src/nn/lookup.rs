//! Prompt lookup decoding: answers often repeat what their prompt says, so what followed the same words before is a good
//! guess at what comes next (Saxena, Prompt Lookup Decoding, 2023).
//!
//! A guess costs little where reading the weights takes longer than multiplying with them, for several tokens are
//! multiplied with one reading. It changes no result: a guess counts only where it is what would have been chosen.

/// Guesses by how many of the last tokens stood before them earlier: none after one token, then what fills a kernel's rows.
const GUESSES: [usize; 5] = [0, 0, 1, 3, MOST];
/// Most guesses at once: with the token before them they fill the largest panel of a kernel.
pub(super) const MOST: usize = 7;

/// What followed the longest repetition of the last tokens, the latest of equals, and at most `most` tokens.
pub(super) fn draft(tokens: &[u32], most: usize) -> &[u32] {
    let mut best = (0, 0);
    for end in (1..tokens.len()).rev() {
        let earlier = tokens[..end].iter().rev().zip(tokens.iter().rev());
        let length = earlier.take(GUESSES.len() - 1).take_while(|(a, b)| a == b).count();
        if length > best.0 {
            best = (length, end);
            if length == GUESSES.len() - 1 {
                break;
            }
        }
    }
    let (length, end) = best;
    let count = GUESSES[length].min(most).min(tokens.len() - end);
    &tokens[end..end + count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_same_tokens_is_guessed() {
        let tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3, 4];
        assert_eq!(draft(&tokens, 10), [5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(draft(&tokens, 2), [5, 6]);
        assert_eq!(draft(&tokens[..15], 10), [4, 5, 6]);
        assert_eq!(draft(&tokens[..14], 10), [3]);
        assert!(draft(&tokens[..13], 10).is_empty(), "one token says too little");
    }

    #[test]
    fn the_longest_repetition_counts_and_of_equals_the_latest() {
        assert_eq!(draft(&[7, 1, 2, 8, 3, 1, 2, 9, 1, 2], 10), [9]);
        assert_eq!(draft(&[5, 1, 2, 8, 3, 1, 2, 9, 5, 1, 2], 10), [8, 3, 1]);
        assert_eq!(draft(&[4, 4, 4, 4], 10), [4]);
        assert!(draft(&[], 10).is_empty() && draft(&[1], 10).is_empty());
    }
}
