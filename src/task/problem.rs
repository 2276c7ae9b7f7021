//! What is wrong with a task: every bad row or file, with its place and its mend.

use crate::error::{Error, usage};
use std::fmt;
use std::path::{Path, PathBuf};

/// Problems that an error shows; `tasks check` shows them all.
const SHOWN: usize = 20;
/// Problems that are kept: a wrong file of millions of rows shall not fill the memory with complaints.
const KEPT: usize = 10_000;

/// One bad row or file of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong and how to mend it.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.reason)
    }
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    total: usize,
}

impl Problems {
    pub(super) fn push(&mut self, file: &Path, line: Option<usize>, reason: impl Into<String>) {
        self.add(Problem { file: file.to_owned(), line, reason: reason.into() });
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.total += 1;
        if self.kept.len() < KEPT {
            self.kept.push(problem);
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// All of them; beyond a bound, the last one counts those left out.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        if self.total > self.kept.len()
            && let Some(last) = self.kept.last()
        {
            let reason = format!("{} more problems are not listed", self.total - self.kept.len());
            self.kept.push(Problem { file: last.file.clone(), line: None, reason });
        }
        self.kept
    }

    /// One error with the first few.
    pub(super) fn into_error(self, spec: &Path) -> Error {
        let count = if self.total == 1 { "1 problem".to_owned() } else { format!("{} problems", self.total) };
        let mut text = format!("the task {} has {count}:", spec.display());
        for problem in self.kept.iter().take(SHOWN) {
            text.push_str("\n  ");
            text.push_str(&problem.to_string().replace('\n', "\n    "));
        }
        if self.total > SHOWN {
            let folder = spec.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            text.push_str(&format!(
                "\n  and {} more; `routergym-local tasks check {}` lists them all",
                self.total - SHOWN,
                folder.display()
            ));
        }
        usage(text)
    }
}

/// A user's text as it may stand in a message: quoted, control characters escaped, not too long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Names as they may stand in a message: quoted, the first few.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 16;
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names.iter().take(MOST).map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A hint that names what was probably meant, or else everything that could have been.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .map(|name| (distance(&lower, &name.to_lowercase()), *name))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort_unstable();
    if near.is_empty() {
        format!("known are: {}", listed(known))
    } else {
        let near = near.into_iter().take(3).map(|(_, name)| quoted(name)).collect::<Vec<_>>();
        format!("did you mean {}?", near.join(" or "))
    }
}

/// Edits between two words, of which only the beginnings count.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(LONGEST).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let up = *cell;
            left = (diagonal + usize::from(x != *y)).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;

    #[test]
    fn edit_distances_are_right() {
        for (a, b, edits) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("kitten", "sitting", 3), ("access", "acces", 1)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn a_suggestion_names_what_is_near_or_else_what_there_is() {
        assert_eq!(suggestion("acess", ["Access", "Storage"]), "did you mean \"Access\"?");
        assert_eq!(suggestion("zebra", ["Access", "Storage"]), "known are: \"Access\", \"Storage\"");
        assert_eq!(suggestion("zebra", []), "known are: none");
    }

    #[test]
    fn an_error_shows_the_first_problems_and_counts_the_rest() {
        let mut problems = Problems::default();
        for line in 1..=30 {
            problems.push(Path::new("d/a.csv"), Some(line), "empty text");
        }
        let error = problems.into_error(Path::new("d/task.toml"));
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        let text = error.to_string();
        assert!(text.starts_with("the task d/task.toml has 30 problems:\n  d/a.csv:1: empty text\n"), "{text}");
        assert!(text.ends_with("and 10 more; `routergym-local tasks check d` lists them all"), "{text}");
    }

    #[test]
    fn a_flood_of_problems_is_cut_and_counted() {
        let mut problems = Problems::default();
        for line in 0..KEPT + 5 {
            problems.push(Path::new("a.csv"), Some(line), "x");
        }
        let list = problems.into_list();
        assert_eq!(list.len(), KEPT + 1);
        assert_eq!(list[KEPT].reason, "5 more problems are not listed");
    }

    #[test]
    fn control_characters_of_the_data_do_not_reach_the_terminal() {
        assert_eq!(quoted("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert!(quoted(&"x".repeat(100)).ends_with("…\""));
    }
}
