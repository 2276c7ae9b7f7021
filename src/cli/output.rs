//! The only place that prints.

use crate::error::{Error, Result, escaped};
use std::io::{ErrorKind, StdoutLock, Write};

/// Longest note, in characters. A longer one holds a text of somebody else's, of whatever length.
const LONGEST_NOTE: usize = 8_000;
/// Longest text of a file that is shown on a line, in characters.
const LONGEST_LINE: usize = 160;

/// Data for people, on stdout: tables and texts.
pub(super) fn text(text: &str) -> Result<()> {
    data(&escaped(text))
}

/// Data, on stdout, as it is. A result that cannot be written is lost, which is a failure; a closed pipe is none: the reader has
/// seen enough.
pub(super) fn data(text: &str) -> Result<()> {
    let mut out = Stdout::lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(_) if out.closed => Ok(()),
        written => written.map_err(Error::new),
    }
}

/// Standard output, whose errors say what was lost.
pub(super) struct Stdout {
    out: StdoutLock<'static>,
    /// Whether the reader has gone away.
    pub(super) closed: bool,
}

impl Stdout {
    /// Keeps everybody else from writing to it.
    pub(super) fn lock() -> Self {
        Self { out: std::io::stdout().lock(), closed: false }
    }

    fn explain(&mut self, error: std::io::Error) -> std::io::Error {
        self.closed |= error.kind() == ErrorKind::BrokenPipe;
        let what = "cannot write the result to standard output";
        std::io::Error::new(error.kind(), format!("{what}: {error}; make room there, or send the output elsewhere"))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes).map_err(|error| self.explain(error))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush().map_err(|error| self.explain(error))
    }
}

/// A note, on stderr.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", escaped(&bounded(text)));
}

/// The beginning and the end of a note that is too long: its end says how to mend what happened.
fn bounded(text: &str) -> String {
    let length = text.chars().count();
    if length <= LONGEST_NOTE {
        return text.to_owned();
    }
    let (first, last) = (LONGEST_NOTE / 4 * 3, LONGEST_NOTE / 4);
    let beginning: String = text.chars().take(first).collect();
    let end: String = text.chars().skip(length - last).collect();
    format!("{beginning} [… {} characters …] {end}", length - first - last)
}

/// A text of a file on one line, shortened.
pub(super) fn one_line(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = flat.chars().take(LONGEST_LINE).collect();
    if flat.chars().nth(LONGEST_LINE).is_some() {
        short.push('…');
    }
    escaped(&short)
}

/// How many columns a table may take: the terminal's, or a width that fits a wide page.
pub(super) fn width() -> usize {
    const OFF_TERMINAL: usize = 160;
    terminal_size::terminal_size().map_or(OFF_TERMINAL, |(columns, _)| usize::from(columns.0).max(80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_keeps_its_beginning_and_its_end() {
        assert_eq!(bounded("short"), "short");
        let note = bounded(&format!("error: {}: take another model", "x".repeat(100_000)));
        assert!(note.starts_with("error: xx") && note.ends_with("xx: take another model") && note.len() < 9_000);
        assert!(note.contains("[… 92027 characters …]"), "{}", &note[5_990..6_040]);
    }

    #[test]
    fn a_text_of_a_file_takes_one_short_line() {
        assert_eq!(one_line(" a\n\tb \u{1b}]0;c\u{7}"), "a b \\x1b]0;c\\x07");
        assert_eq!(one_line(&"ü".repeat(100_000)), format!("{}…", "ü".repeat(160)));
    }
}
