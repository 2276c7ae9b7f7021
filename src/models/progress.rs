//! What a person at the terminal sees of a download: a bar on stderr, or plain lines where stderr is not a terminal.

use crate::error::escaped;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// How progress is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    bars: bool,
    notes: bool,
}

/// A progress bar that clears itself when it is dropped.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Progress {
    /// Bars on a terminal, notes elsewhere, nothing when `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        Self { bars: !quiet && std::io::stderr().is_terminal(), notes: !quiet }
    }

    /// Tells nothing.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self { bars: false, notes: false }
    }

    /// One line, unless quiet.
    pub(super) fn note(self, text: &str) {
        if self.notes {
            tell(text);
        }
    }

    /// One line, even when quiet: what a person must know to trust the files.
    pub(super) fn warn(text: &str) {
        tell(text);
    }

    /// A bar over bytes; with no total it shows bytes and rate.
    pub(super) fn bytes(self, total: Option<u64>, message: &str) -> Bar {
        if !self.bars {
            return Bar::hidden();
        }
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_message(escaped(message));
        let template = "{msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} ETA {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }
}

impl Bar {
    /// A bar that is never drawn.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// So many more bytes.
    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// So many bytes in all.
    pub(super) fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// What is going on now.
    pub(super) fn message(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[expect(clippy::print_stderr, reason = "the one place of this room that writes to stderr, beside the bars")]
fn tell(text: &str) {
    eprintln!("{}", escaped(text));
}
