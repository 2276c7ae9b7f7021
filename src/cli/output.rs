//! The only two functions that print.

use std::io::{IsTerminal, Write};

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
    if !std::io::stdout().is_terminal() {
        return OFF_TERMINAL;
    }
    let columns = indicatif::TermLike::width(&console_term());
    usize::from(columns).max(80)
}

fn console_term() -> indicatif::console::Term {
    indicatif::console::Term::stdout()
}
