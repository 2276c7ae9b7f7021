//! The list of queries that are not to be judged, because a model may have seen them.

use crate::error::{Context, Result, usage};
use crate::files;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A longer line is none of such a list, in bytes.
const LONGEST_LINE: u64 = 8 << 20;
/// More lines are none, too.
const MOST_LINES: usize = 10_000_000;

/// Texts of queries to leave out, from JSON lines.
#[derive(Debug, Clone)]
pub struct Exclusion {
    file: PathBuf,
    field: String,
    texts: BTreeSet<String>,
}

impl Exclusion {
    /// Reads one field of every row of a file of JSON lines. Blanks around a text do not count.
    pub fn read(file: &Path, field: &str) -> Result<Self> {
        let opened = files::open(file).map_err(|error| usage(format!("reading the list of exclusions: {error:#}")))?;
        let mut reader = BufReader::new(opened);
        let mut texts = BTreeSet::new();
        for number in 1.. {
            let mut line = Vec::new();
            let place = || format!("{}:{number}", file.display());
            (&mut reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut line).with_context(place)?;
            if line.is_empty() {
                break;
            }
            if line.len() as u64 > LONGEST_LINE || number > MOST_LINES {
                return Err(usage(format!(
                    "{}: the list of exclusions is too large: at most {MOST_LINES} lines of {LONGEST_LINE} bytes are read",
                    place()
                )));
            }
            let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            let row: Map<String, Value> = serde_json::from_slice(text)
                .map_err(|error| usage(format!("{}: the line is no JSON object: {error}", place())))?;
            match row.get(field) {
                Some(Value::String(text)) => texts.insert(text.trim().to_owned()),
                Some(_) => return Err(usage(format!("{}: the field {field:?} is no text", place()))),
                None => {
                    let known: Vec<String> = row.keys().map(|key| format!("{key:?}")).collect();
                    return Err(usage(format!(
                        "{}: the row has no field {field:?}; it has {}: name one by --exclude-field",
                        place(),
                        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                    )));
                }
            };
        }
        if texts.is_empty() {
            return Err(usage(format!("the list of exclusions {} holds no rows", file.display())));
        }
        Ok(Self { file: file.to_owned(), field: field.to_owned(), texts })
    }

    /// Whether a query is to be left out.
    pub(super) fn holds(&self, query: &str) -> bool {
        self.texts.contains(query.trim())
    }

    /// How many texts the list holds.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The list as it stands in a message.
    pub(super) fn name(&self) -> String {
        format!("the field {:?} of {}", self.field, self.file.display())
    }
}
