//! From tokens to text, as they come.

/// Joins the bytes of tokens into text, never splitting a character, and watches for stop texts.
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    stops: Vec<String>,
    /// Bytes of an unfinished character.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop text.
    held: String,
}

/// What a token's bytes added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Whether a stop text was completed; it is not part of the text.
    pub(crate) stopped: bool,
}

impl TextStream {
    pub(crate) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, ..Self::default() }
    }

    /// Adds a token's bytes; returns the text that is now certain.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Piece {
        self.bytes.extend_from_slice(bytes);
        self.held.push_str(&take_characters(&mut self.bytes));
        let first_stop = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first_stop {
            let text = self.held[..at].to_owned();
            self.held.clear();
            return Piece { text, stopped: true };
        }
        let certain = self.held.len() - self.longest_beginning_of_a_stop();
        let rest = self.held.split_off(certain);
        Piece { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What was held back, when nothing more comes. An unfinished character is dropped.
    pub(crate) fn finish(&mut self) -> String {
        self.bytes.clear();
        std::mem::take(&mut self.held)
    }

    fn longest_beginning_of_a_stop(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).filter(|&at| at > 0);
            ends.filter(|&at| self.held.ends_with(&stop[..at])).max()
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

/// Takes all finished characters off the front; bytes that can never become one turn into U+FFFD.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let (valid, _) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(broken) = error.error_len() else {
                    bytes.drain(..error.valid_up_to());
                    return text;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..error.valid_up_to() + broken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(stops: &[&str]) -> TextStream {
        TextStream::new(&stops.iter().map(|&s| s.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_character_split_over_tokens_comes_whole() {
        let mut stream = stream(&[]);
        let grin = "😀".as_bytes();
        assert_eq!(stream.push(&grin[..1]).text, "");
        assert_eq!(stream.push(&grin[1..3]).text, "");
        assert_eq!(stream.push(&grin[3..]).text, "😀");
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced() {
        let mut stream = stream(&[]);
        assert_eq!(stream.push(b"a\xff\xe2\x82").text, "a\u{fffd}");
        assert_eq!(stream.push(b"b").text, "\u{fffd}b");
    }

    #[test]
    fn a_stop_text_over_several_tokens_is_never_shown() {
        let mut stream = stream(&["\n\nQ:", "END"]);
        assert_eq!(stream.push(b"yes\n"), Piece { text: "yes".into(), stopped: false });
        assert_eq!(stream.push(b"\nno\n"), Piece { text: "\n\nno".into(), stopped: false });
        assert_eq!(stream.push(b"\nQ: more END"), Piece { text: String::new(), stopped: true });
    }

    #[test]
    fn text_held_back_comes_at_the_end() {
        let mut stream = stream(&["END"]);
        assert_eq!(stream.push(b"the EN").text, "the ");
        assert_eq!(stream.finish(), "EN");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn however_it_is_cut_the_text_is_the_same(text in "[ab€😀]{0,12}", cuts in proptest::collection::vec(0usize..40, 0..6)) {
            let stop = "ab".to_owned();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let mut stream = TextStream::new(std::slice::from_ref(&stop));
            let mut seen = String::new();
            let mut stopped = false;
            for pair in cuts.windows(2) {
                let piece = stream.push(&bytes[pair[0]..pair[1]]);
                seen.push_str(&piece.text);
                if piece.stopped {
                    stopped = true;
                    break;
                }
            }
            if !stopped {
                seen.push_str(&stream.finish());
            }
            prop_assert_eq!(stopped, text.contains(&stop));
            prop_assert_eq!(seen, text.split(&stop).next().unwrap_or_default());
        }
    }
}
