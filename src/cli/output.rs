//! The only two functions that print.

use std::io::Write;

/// Data, on stdout. A closed pipe is not an error: the reader has seen enough.
pub(super) fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A note, on stderr.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How many columns a table may take: the terminal's, or a width that fits a wide page.
pub(super) fn width() -> usize {
    const OFF_TERMINAL: usize = 160;
    terminal_size::terminal_size().map_or(OFF_TERMINAL, |(columns, _)| usize::from(columns.0).max(80))
}
