//! The only place that prints.

use crate::error::{Error, Result};
use std::io::{ErrorKind, StdoutLock, Write};

/// Data, on stdout. A result that cannot be written is lost, which is a failure; a closed pipe is none: the reader has
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
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How many columns a table may take: the terminal's, or a width that fits a wide page.
pub(super) fn width() -> usize {
    const OFF_TERMINAL: usize = 160;
    terminal_size::terminal_size().map_or(OFF_TERMINAL, |(columns, _)| usize::from(columns.0).max(80))
}
