//! Where in JSON a text that is being written ends.

use std::collections::HashSet;

/// Where in JSON a text ends.
#[derive(Clone, Default)]
pub(super) struct Place {
    /// Within a text.
    pub(super) inside: bool,
    escaped: bool,
    /// The text that is open, as it was written.
    text: Vec<u8>,
    /// What is open.
    pub(super) open: Vec<Open>,
}

/// An open bracket.
#[derive(Clone)]
pub(super) enum Open {
    List,
    /// An object: its names so far, and whether another may come next.
    Object {
        names: HashSet<Vec<u8>>,
        at_name: bool,
    },
}

/// What some bytes did.
#[derive(Default)]
pub(super) struct Added {
    /// An object was given a name that it had already.
    pub(super) repeats: bool,
    /// The last place among them where a value or a name came to its end while something is still open.
    pub(super) mark: Option<Mark>,
}

/// A place where JSON can be read as if what is open were closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// How many of the added bytes stand before it.
    pub(super) length: usize,
    /// What closes what is open.
    pub(super) rest: String,
    /// How many values, from the whole inwards along the last elements, are not at their end.
    pub(super) unfinished: usize,
}

impl Place {
    /// Whether the next character is escaped.
    pub(super) fn escapes(&self) -> bool {
        self.escaped
    }

    /// Goes on.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Added {
        let mut added = Added::default();
        for (index, &byte) in bytes.iter().enumerate() {
            if self.inside {
                // Whatever stands behind a backslash is a part of the text.
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.inside = false;
                        let text = std::mem::take(&mut self.text);
                        let mut is_name = false;
                        if let Some(Open::Object { names, at_name }) = self.open.last_mut()
                            && *at_name
                        {
                            *at_name = false;
                            is_name = true;
                            added.repeats |= !names.insert(text);
                        }
                        added.mark = self.mark(index + 1, is_name).or(added.mark);
                        continue;
                    }
                    _ => {}
                }
                self.text.push(byte);
                continue;
            }
            match (byte, self.open.last_mut()) {
                (b'"', _) => self.inside = true,
                (b'{', _) => self.open.push(Open::Object { names: HashSet::new(), at_name: true }),
                (b'[', _) => self.open.push(Open::List),
                (b'}' | b']', _) => {
                    self.open.pop();
                    added.mark = self.mark(index + 1, false).or(added.mark);
                }
                (b',', open) => {
                    if let Some(Open::Object { at_name, .. }) = open {
                        *at_name = true;
                    }
                    added.mark = self.mark(index, false).or(added.mark);
                }
                _ => {}
            }
        }
        added
    }

    fn mark(&self, length: usize, after_name: bool) -> Option<Mark> {
        if self.open.is_empty() {
            return None;
        }
        let brackets = self.open.iter().rev().map(|open| if matches!(open, Open::List) { ']' } else { '}' });
        let rest = if after_name { ": null" } else { "" }.chars().chain(brackets).collect();
        Some(Mark { length, rest, unfinished: self.open.len() + usize::from(after_name) })
    }
}
