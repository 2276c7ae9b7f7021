//! What can go wrong, and what the program's exit status says about it.
//!
//! Errors are `anyhow` chains. A message says what was attempted, on what, and how to mend it. [`usage`] marks an error
//! as the caller's (wrong arguments, configuration or data), which exits with status 2 instead of 1.

use std::fmt::Write as _;

pub use anyhow::{Context, Error, Result, anyhow, bail, ensure};

/// Marks a chain as wrong usage or configuration: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Marks a chain as cut short by the user: exit status 130.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub String);

/// An error in what the user asked for or gave: arguments, configuration, task data.
pub fn usage(message: impl Into<String>) -> Error {
    Error::new(UsageError(message.into()))
}

/// A text as a terminal may get it: messages hold texts of files and endpoints, and none of them may steer a terminal.
/// Control characters but newline and tab are written out, such as `\x1b`.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

/// Longest line of a TOML file that an error shows, and longest message of its parser, in characters.
const LONGEST_SHOWN: usize = 240;
const LONGEST_MESSAGE: usize = 800;

/// Why a text is no TOML of the form asked for, with a picture of the place unless the line is too long for one: a fitted router
/// has lines of megabytes.
#[must_use]
pub fn toml_reason(error: &toml::de::Error, text: &str) -> String {
    let shown = error.to_string();
    let shown = shown.trim_end();
    if shown.lines().all(|line| line.chars().nth(LONGEST_SHOWN).is_none()) {
        return shown.to_owned();
    }
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut message: String = error.message().chars().take(LONGEST_MESSAGE).collect();
    if message.len() < error.message().len() {
        message.push('…');
    }
    format!("line {}, column {column}: {message}", before.matches('\n').count() + 1)
}

/// The program's exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The work is done.
    Done = 0,
    /// The run failed.
    Failed = 1,
    /// Wrong usage, configuration or input data.
    Usage = 2,
    /// A threshold or a regression check failed.
    Threshold = 100,
    /// Interrupted by the user; everything measured so far is on disk.
    Interrupted = 130,
}

impl ExitStatus {
    /// The status that an error chain asks for: the first marker found in it, else [`ExitStatus::Failed`].
    #[must_use]
    pub fn of(error: &Error) -> Self {
        if error.downcast_ref::<Interrupted>().is_some() {
            Self::Interrupted
        } else if error.downcast_ref::<UsageError>().is_some() {
            Self::Usage
        } else {
            Self::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_keeps_its_status_under_context() {
        let error = usage("no such label").context("reading task.toml");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        assert_eq!(format!("{error:#}"), "reading task.toml: no such label");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_but_newline_and_tab() {
        assert_eq!(escaped("a\tb\n\u{1b}[31m\u{9b}2J\u{7}\r\u{7f}ü"), "a\tb\n\\x1b[31m\\x9b2J\\x07\\x0d\\x7fü");
    }

    #[test]
    fn a_long_line_of_toml_is_not_shown_and_its_place_is_told() {
        let reason = |text: &str| toml_reason(&toml::from_str::<toml::Table>(text).unwrap_err(), text);
        assert!(reason("a = 1\nb = oops\n").contains("2 | b = oops"), "{}", reason("a = 1\nb = oops\n"));
        let long = format!("a = 1\nb = [{}oops]\n", "0.5, ".repeat(100_000));
        assert!(reason(&long).starts_with("line 2, column 500006: "), "{}", reason(&long));
        assert!(reason(&long).len() < 1000);
        let key = format!("a = 1\n{0} = 1\n{0} = 2\n", "k".repeat(100_000));
        assert!(reason(&key).len() < 5000 && reason(&key).starts_with("line 3"), "{}", reason(&key).len());
    }

    #[test]
    fn any_other_error_is_a_failure() {
        assert_eq!(ExitStatus::of(&anyhow!("disk full")), ExitStatus::Failed);
    }
}
