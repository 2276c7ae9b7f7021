//! Server-sent events, read byte by byte.
//!
//! [`SseParser`] takes the body in whatever pieces the network gives, also such that split a UTF-8 character, and returns
//! the data of each event. Line and event length are bounded, so that an endpoint cannot exhaust memory.

/// Longest line that is accepted: an endpoint may send a whole answer as one, and one of megabytes is the model's own fault.
pub(super) const MAX_LINE: usize = 16 << 20;

/// Longest event (several `data:` lines) that is accepted.
pub(super) const MAX_EVENT: usize = 16 << 20;

/// Why a stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamFault {
    /// A line longer than [`MAX_LINE`].
    LineTooLong,
    /// An event longer than [`MAX_EVENT`].
    EventTooLong,
    /// An event whose data is not UTF-8.
    NotUtf8,
}

impl StreamFault {
    /// Completes "the stream holds …".
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::LineTooLong => "a line longer than 16 MiB",
            Self::EventTooLong => "an event longer than 16 MiB",
            Self::NotUtf8 => "bytes that are not UTF-8",
        }
    }
}

/// An incremental parser of `text/event-stream`.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Whether the first line is still to come, which may start with a byte order mark.
    begun: bool,
}

impl SseParser {
    /// Takes the next bytes and appends the data of every event that they complete to `events`.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<(), StreamFault> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
                return self.extend_line(rest);
            };
            let (line, tail) = rest.split_at(end);
            self.extend_line(line)?;
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.end_line(events)?;
        }
        Ok(())
    }

    /// Ends the stream: a last event that lacks its blank line, or its line end, is still returned.
    pub(super) fn finish(mut self, events: &mut Vec<String>) -> Result<(), StreamFault> {
        if !self.line.is_empty() {
            self.end_line(events)?;
        }
        self.dispatch(events)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), StreamFault> {
        if self.line.len() + bytes.len() > MAX_LINE {
            return Err(StreamFault::LineTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<(), StreamFault> {
        let line = std::mem::take(&mut self.line);
        let line = if self.begun { &line[..] } else { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line) };
        self.begun = true;
        if line.is_empty() {
            return self.dispatch(events);
        }
        // Comments (`: ping`) and the fields `event`, `id` and `retry` carry nothing that a completion needs.
        let Some(value) = field(line, b"data") else { return Ok(()) };
        if self.data.len() + value.len() > MAX_EVENT {
            return Err(StreamFault::EventTooLong);
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<String>) -> Result<(), StreamFault> {
        if std::mem::take(&mut self.has_data) {
            let data = std::mem::take(&mut self.data);
            events.push(String::from_utf8(data).map_err(|_| StreamFault::NotUtf8)?);
        }
        Ok(())
    }
}

/// The value of a line `name: value`, one space after the colon left out.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(b""),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(pieces: &[&[u8]]) -> Result<Vec<String>, StreamFault> {
        let (mut parser, mut events) = (SseParser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, &mut events)?;
        }
        parser.finish(&mut events)?;
        Ok(events)
    }

    #[test]
    fn events_are_read_with_any_line_end_and_without_a_last_blank_line() {
        for text in
            ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata:b\r\n\r\n", "data: a\r\rdata: b\r", "data: a\n\ndata: b"]
        {
            assert_eq!(parse(&[text.as_bytes()]).unwrap(), ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn comments_other_fields_and_a_byte_order_mark_are_skipped_and_data_lines_are_joined() {
        let text = "\u{feff}data: a\n: ping\n\nevent: x\nid: 1\ndata: b\ndata:  c\ndata\n\n\n\ndatabase: no\n\n";
        assert_eq!(parse(&[text.as_bytes()]).unwrap(), ["a", "b\n c\n"]);
    }

    #[test]
    fn endless_lines_and_events_and_broken_text_are_named() {
        let long = vec![b'a'; MAX_LINE + 1];
        assert_eq!(parse(&[&long]), Err(StreamFault::LineTooLong));
        let line = [b"data: ".as_slice(), &vec![b'a'; MAX_LINE - 10], b"\n"].concat();
        assert_eq!(parse(&[&line, &line]), Err(StreamFault::EventTooLong));
        assert_eq!(parse(&[b"data: \xFF\n\n"]), Err(StreamFault::NotUtf8));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_split_of_the_bytes_gives_the_same_events(
            lines in prop::collection::vec(("(data: ?|: |event: |)[a-zé☃𝄞{}\": ]{0,12}", "(\n|\r\n|\r|\n\n|\r\n\r\n)"), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let bytes: Vec<u8> = lines.iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect();
            let whole = parse(&[&bytes]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(parse(&pieces), whole.clone());
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(parse(&single), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&[&bytes]);
        }
    }
}
