//! Labelled rows to try a scorer on: JSONL with contexts, an answer and a grade.

use crate::error::{Context, Result, bail, usage};
use crate::files;
use crate::memory::Passage;
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of one line at most.
const LONGEST_LINE: u64 = 8 << 20;
/// Bytes of all rows at most.
const MOST_BYTES: u64 = 1 << 30;
/// Rows at most.
const MOST_ROWS: usize = 200_000;
/// Problems that are told one by one.
const MOST_TOLD: usize = 10;

/// One labelled row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What the answer may rest on; none is allowed.
    pub contexts: Vec<Passage>,
    /// The answer.
    pub answer: String,
    /// How grounded it is, 0..1, by people or by construction; `None` where nobody said.
    pub label: Option<f64>,
    /// Whether the contexts answer the question; `None` where nobody said.
    pub answerable: Option<bool>,
    /// Where it stands: file:line.
    pub place: String,
}

#[derive(Deserialize)]
struct Written {
    contexts: Vec<WrittenContext>,
    answer: String,
    #[serde(default)]
    label: Option<Value>,
    #[serde(default)]
    answerable: Option<bool>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a context is a text, or an object with a \"text\" and, if you like, an \"id\" and a \"title\""
)]
enum WrittenContext {
    Text(String),
    Passage {
        text: String,
        #[serde(default, alias = "_id", alias = "document_id")]
        id: Option<String>,
        #[serde(default)]
        title: Option<String>,
    },
}

/// Reads a file of rows. All rows are read before anything is judged: an error lists the first lines that are wrong.
pub fn read_rows(path: &Path) -> Result<Vec<Row>> {
    read_up_to(path, MOST_BYTES)
}

fn read_up_to(path: &Path, most_bytes: u64) -> Result<Vec<Row>> {
    let shown = path.display().to_string();
    let file = files::open(path).map_err(|error| usage(format!("{error:#}")))?;
    let mut reader = BufReader::new(file);
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    let (mut wrong, mut bytes) = (0, 0);
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        if read.with_context(|| format!("reading {shown}"))? == 0 {
            break;
        }
        let place = format!("{shown}:{number}");
        bytes += line.len() as u64;
        if bytes > most_bytes {
            return Err(usage(format!("{place}: the rows have more than {most_bytes} bytes; split the file")));
        }
        if line.len() as u64 > LONGEST_LINE {
            wrong += 1;
            problems.push(format!("{place}: the line is longer than {} MiB", LONGEST_LINE >> 20));
            // A file of one endless line would be read to its end for nothing.
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(&line, place.clone()) {
            Ok(row) if rows.len() < MOST_ROWS => rows.push(row),
            Ok(_) => return Err(usage(format!("{place}: more than {MOST_ROWS} rows; split the file"))),
            Err(error) => {
                wrong += 1;
                if problems.len() < MOST_TOLD {
                    problems.push(format!("{place}: {error:#}"));
                }
            }
        }
    }
    if problems.is_empty() && rows.is_empty() {
        return Err(usage(format!("{shown} holds no row: there is nothing to judge")));
    }
    if problems.is_empty() {
        return Ok(rows);
    }
    let more =
        if wrong > problems.len() { format!("\n… and {} more", wrong - problems.len()) } else { String::new() };
    Err(usage(format!(
        "rows that cannot be read; a row is {{\"contexts\": […], \"answer\": \"…\", \"label\": 0..1}} on a line of its own:\n{}{more}",
        problems.join("\n")
    )))
}

fn parse(line: &[u8], place: String) -> Result<Row> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let text = std::str::from_utf8(line).context("not UTF-8")?;
    let written: Written = serde_json::from_str(text)?;
    let label = match written.label {
        None | Some(Value::Null) => None,
        Some(Value::Bool(yes)) => Some(f64::from(u8::from(yes))),
        Some(value) => match value.as_f64() {
            Some(label) if (0.0..=1.0).contains(&label) => Some(label),
            _ => bail!("the label {value} is no number from 0 to 1"),
        },
    };
    let contexts = written.contexts.into_iter().enumerate().map(|(index, context)| {
        let (text, id, title) = match context {
            WrittenContext::Text(text) => (text, None, None),
            WrittenContext::Passage { text, id, title } => (text, id, title),
        };
        let id = id.unwrap_or_else(|| (index + 1).to_string());
        Passage { id, title: title.unwrap_or_default(), text, score: 1.0 }
    });
    Ok(Row { contexts: contexts.collect(), answer: written.answer, label, answerable: written.answerable, place })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;
    use std::fs;

    fn read(text: &[u8]) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, text).unwrap();
        read_rows(&path)
    }

    #[test]
    fn contexts_are_texts_or_objects() {
        let rows = read(
            br#"{"contexts": ["a", {"text": "b", "id": "x", "title": "T"}, {"text": "c", "document_id": "d"}], "answer": "z", "label": 1, "answerable": false}

{"contexts": [], "answer": "", "extra": 3}"#,
        )
        .unwrap();
        let ids: Vec<_> = rows[0].contexts.iter().map(|context| &*context.id).collect();
        assert_eq!((ids, rows[0].label, rows[0].answerable), (vec!["1", "x", "d"], Some(1.0), Some(false)));
        assert_eq!((rows[1].contexts.len(), rows[1].label, rows[1].answerable), (0, None, None));
        assert!(rows[1].place.ends_with("rows.jsonl:3"));
    }

    #[test]
    fn a_file_without_rows_and_one_with_too_many_bytes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        for (text, most, told) in
            [("\n", 100, "holds no row"), ("\n{\"contexts\"", 5, "rows.jsonl:2: the rows have more")]
        {
            fs::write(&path, text).unwrap();
            let error = read_up_to(&path, most).unwrap_err();
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
            assert!(format!("{error:#}").contains(told), "{error:#}");
        }
    }

    #[test]
    fn every_wrong_row_is_told_with_its_line() {
        for (bad, told) in [
            (&br#"{"contexts": ["a"], "answer": "b", "label": 1.5}"#[..], "rows.jsonl:2: the label 1.5"),
            (br#"{"contexts": ["a"], "answer": "b", "label": NaN}"#, "rows.jsonl:2: expected"),
            (br#"{"contexts": ["a"], "answer": "b", "label": "good"}"#, "no number from 0 to 1"),
            (br#"{"contexts": "a", "answer": "b"}"#, "rows.jsonl:2: invalid type"),
            (br#"{"contexts": [3], "answer": "b"}"#, "a context is a text"),
            (br#"{"answer": "b"}"#, "missing field `contexts`"),
            (b"\xff\xfe", "not UTF-8"),
        ] {
            let mut text = br#"{"contexts": ["a"], "answer": "b", "label": 0.5}"#.to_vec();
            text.push(b'\n');
            text.extend(bad);
            let error = read(&text).unwrap_err();
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
            assert!(format!("{error:#}").contains(told), "{error:#} has no {told:?}");
        }
        let error = read(&vec![b' '; 9 << 20]).unwrap_err();
        assert!(format!("{error:#}").contains("rows.jsonl:1: the line is longer than 8 MiB"), "{error:#}");
    }
}
