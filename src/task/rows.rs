//! Rows of a data file, from CSV, TSV or JSON lines, each with the line that it starts on.

use super::files;
use super::problem::{Problems, listed, quoted, suggestion};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A line of JSON may not be longer, in bytes.
const LONGEST_LINE: u64 = 8 << 20;

/// One row: the cells of the columns that the task names.
#[derive(Debug)]
pub(super) struct Row {
    /// The line that it starts on, from 1.
    pub(super) line: usize,
    /// Its number among the file's rows, from 1.
    pub(super) number: usize,
    /// Cells by column; text where the file is CSV.
    pub(super) cells: Map<String, Value>,
}

/// Reads a file row by row. What cannot be read is a problem; the rows around it are still read.
pub(super) fn read(
    file: &Path,
    columns: &[(&'static str, &str)],
    problems: &mut Problems,
    each: &mut dyn FnMut(Row, &mut Problems),
) {
    let extension = file.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase();
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) => return problems.push(file, None, format!("cannot be opened: {error}")),
    };
    match extension.as_str() {
        "csv" => read_csv(file, opened, b',', columns, problems, each),
        "tsv" => read_csv(file, opened, b'\t', columns, problems, each),
        "jsonl" | "ndjson" => read_json_lines(file, opened, columns, problems, each),
        _ => problems.push(file, None, "is of an unknown kind; data files end in .csv, .tsv or .jsonl"),
    }
}

fn read_csv(
    file: &Path,
    opened: File,
    delimiter: u8,
    columns: &[(&'static str, &str)],
    problems: &mut Problems,
    each: &mut dyn FnMut(Row, &mut Problems),
) {
    let mut bytes = Vec::new();
    if let Err(error) = opened.take(files::LARGEST_DATA).read_to_end(&mut bytes) {
        return problems.push(file, None, format!("cannot be read: {error}"));
    }
    let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(content);
    let header = match reader.byte_headers() {
        Ok(header) => header.clone(),
        Err(error) => return problems.push(file, None, format!("cannot be read: {error}")),
    };
    if header.as_slice().starts_with(&[0xff, 0xfe]) || header.as_slice().starts_with(&[0xfe, 0xff]) {
        return problems.push(file, Some(1), "is UTF-16; save it as UTF-8");
    }
    let mut names = Vec::new();
    for field in &header {
        match std::str::from_utf8(field) {
            Ok(name) => names.push(name.trim()),
            Err(_) => return problems.push(file, Some(1), "the header is not valid UTF-8; save the file as UTF-8"),
        }
    }
    let Some(places) = find_columns(file, &names, columns, problems) else { return };

    let mut record = csv::ByteRecord::new();
    let mut number = 0;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => number += 1,
            Ok(false) => return,
            Err(error) => return problems.push(file, None, format!("cannot be read further: {error}")),
        }
        let line = record.position().map_or(0, |position| first_line(content, position));
        if record.len() != header.len() {
            let reason = format!(
                "the row has {} fields where the header has {}; put text that holds a comma or a quote in quotes",
                record.len(),
                header.len()
            );
            problems.push(file, Some(line), reason);
            continue;
        }
        match cells(&record, &names, &places) {
            Ok(cells) => each(Row { line, number, cells }, problems),
            Err((lines_below, column)) => {
                let reason = format!("the column {} is not valid UTF-8; save the file as UTF-8", quoted(column));
                problems.push(file, Some(line + lines_below), reason);
            }
        }
    }
}

/// The line that a record's text starts on. The reader's position may lie before it, at the end of the line above or
/// at blank lines.
fn first_line(content: &[u8], position: &csv::Position) -> usize {
    let rest = content.get(position.byte() as usize..).unwrap_or_default();
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() as usize + blank.filter(|&&byte| byte == b'\n').count()
}

/// Where in a record each column stands; `None`, and a problem for each, when one is missing or stands there twice.
fn find_columns<'a>(
    file: &Path,
    names: &[&str],
    columns: &[(&'static str, &'a str)],
    problems: &mut Problems,
) -> Option<Vec<(usize, &'a str)>> {
    let before = problems.total();
    let mut places = Vec::new();
    for (key, column) in columns {
        let mut found = names.iter().enumerate().filter(|(_, name)| *name == column);
        match (found.next(), found.next()) {
            (Some((place, _)), None) => places.push((place, *column)),
            (Some(_), Some(_)) => {
                problems.push(file, Some(1), format!("the column {} stands in the header twice", quoted(column)));
            }
            (None, _) => {
                let mut reason = format!(
                    "no column {}{}; the header has: {}",
                    quoted(column),
                    named_by(key),
                    listed(names.iter().copied())
                );
                if let [only] = names
                    && let Some(separator) = [';', '\t', '|'].into_iter().find(|c| only.contains(*c))
                {
                    let _ = write!(
                        reason,
                        "; the file seems to be separated by {separator:?}: use commas, or tabs in a .tsv"
                    );
                }
                problems.push(file, Some(1), reason);
            }
        }
    }
    (problems.total() == before).then_some(places)
}

/// The cells of the named columns; an error says how many lines below the row's first, and in which column, a byte
/// is wrong.
fn cells<'a>(
    record: &csv::ByteRecord,
    names: &[&'a str],
    places: &[(usize, &str)],
) -> Result<Map<String, Value>, (usize, &'a str)> {
    let mut lines_below = 0;
    for (field, name) in record.iter().zip(names) {
        let valid_up_to = std::str::from_utf8(field).map_or_else(|error| error.valid_up_to(), str::len);
        lines_below += field.iter().take(valid_up_to).filter(|&&byte| byte == b'\n').count();
        if valid_up_to < field.len() {
            return Err((lines_below, name));
        }
    }
    let text = |place| String::from_utf8_lossy(record.get(place).unwrap_or_default()).into_owned();
    Ok(places.iter().map(|(place, column)| ((*column).to_owned(), Value::String(text(*place)))).collect())
}

fn read_json_lines(
    file: &Path,
    opened: File,
    columns: &[(&'static str, &str)],
    problems: &mut Problems,
    each: &mut dyn FnMut(Row, &mut Problems),
) {
    // A row must have these, and is reported where it has not; the others may be absent from some rows, not from all.
    let mut unseen: Vec<(&str, &str)> =
        columns.iter().filter(|(key, _)| !["", "id", "input", "target", "split"].contains(key)).copied().collect();
    let mut reader = BufReader::new(opened);
    let mut bytes = Vec::new();
    let mut number = 0;
    for line in 1.. {
        bytes.clear();
        match reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return problems.push(file, Some(line), format!("cannot be read further: {error}")),
        }
        if bytes.len() as u64 > LONGEST_LINE {
            problems.push(file, Some(line), "the line is longer than 8 MiB and is left out");
            number += 1;
            match skip_line(&mut reader, &bytes) {
                Ok(()) => continue,
                Err(error) => return problems.push(file, Some(line), format!("cannot be read further: {error}")),
            }
        }
        if line == 1 && (bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff])) {
            return problems.push(file, Some(1), "is UTF-16; save it as UTF-8");
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            problems.push(file, Some(line), "the line is not valid UTF-8; save the file as UTF-8");
            number += 1;
            continue;
        };
        let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { text }.trim();
        if text.is_empty() {
            continue;
        }
        number += 1;
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(cells)) => {
                unseen.retain(|(_, column)| !cells.contains_key(*column));
                each(Row { line, number, cells }, problems);
            }
            Err(_) if line == 1 && text.starts_with('[') => {
                return problems.push(file, Some(1), "is one JSON array; write one JSON object on each line instead");
            }
            Ok(_) => problems.push(file, Some(line), "the line is not a JSON object"),
            Err(error) => problems.push(file, Some(line), format!("the line is not JSON: {error}")),
        }
    }
    for (key, column) in unseen.into_iter().filter(|_| number > 0) {
        problems.push(file, None, format!("no row has a key {}{}", quoted(column), named_by(key)));
    }
}

/// Goes to the end of a line of which `read` was read.
pub(super) fn skip_line(reader: &mut impl BufRead, read: &[u8]) -> std::io::Result<()> {
    if read.ends_with(b"\n") { Ok(()) } else { reader.skip_until(b'\n').map(drop) }
}

impl Row {
    /// The text of a cell, without blanks around it; `None` where it is absent or empty. Numbers and truth values
    /// count as their text.
    pub(super) fn name(&self, column: &str) -> Result<Option<String>, String> {
        Ok(match self.cells.get(column) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.trim().to_owned()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            Some(value) => return Err(wrong_type(column, "text", value)),
        }
        .filter(|text| !text.is_empty()))
    }

    /// The text of a cell as it stands there; `None` where it is absent or blank.
    pub(super) fn text(&self, column: &str) -> Result<Option<String>, String> {
        match self.cells.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.trim().is_empty())),
            Some(value) => Err(wrong_type(column, "text", value)),
        }
    }

    /// Yes or no; `None` where it is absent or empty.
    pub(super) fn truth(&self, column: &str) -> Result<Option<bool>, String> {
        match self.cells.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
                "" => Ok(None),
                "true" | "yes" | "1" => Ok(Some(true)),
                "false" | "no" | "0" => Ok(Some(false)),
                _ => Err(format!("{} must be true or false, not {}", quoted(column), quoted(text))),
            },
            Some(value) => Err(wrong_type(column, "true or false", value)),
        }
    }

    /// A list of names: a JSON array, or text separated by `;`. Empty where it is absent.
    pub(super) fn names(&self, column: &str) -> Result<Vec<String>, String> {
        let value = match self.cells.get(column) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::String(text)) if text.trim_start().starts_with('[') => parse(column, text)?,
            Some(Value::String(text)) => {
                return Ok(text.split(';').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect());
            }
            Some(value) => value.clone(),
        };
        let Value::Array(items) = &value else { return Err(wrong_type(column, "a list of texts", &value)) };
        items
            .iter()
            .map(|item| match item {
                Value::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
                _ => Err(wrong_type(column, "a list of texts", item)),
            })
            .collect()
    }

    /// Facts: a JSON array, each fact a text or an array of accepted spellings. Empty where it is absent.
    pub(super) fn facts(&self, column: &str) -> Result<Vec<Vec<String>>, String> {
        const FORM: &str = "a list of facts, each a list of spellings";
        let value = match self.cells.get(column) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
            Some(Value::String(text)) => parse(column, text)?,
            Some(value) => value.clone(),
        };
        let Value::Array(facts) = &value else { return Err(wrong_type(column, FORM, &value)) };
        let spelling = |value: &Value| match value {
            Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
            _ => Err(wrong_type(column, FORM, value)),
        };
        facts
            .iter()
            .map(|fact| match fact {
                Value::Array(spellings) if !spellings.is_empty() => spellings.iter().map(spelling).collect(),
                Value::String(_) => Ok(vec![spelling(fact)?]),
                _ => Err(wrong_type(column, FORM, fact)),
            })
            .collect()
    }

    /// Why a cell that must be there is not.
    pub(super) fn missing(&self, key: &str, column: &str) -> String {
        if self.cells.contains_key(column) {
            return format!("{} is empty", quoted(column));
        }
        let there = self.cells.keys().map(String::as_str);
        let near = suggestion(column, there.clone());
        let near = if near.starts_with("known") { String::new() } else { format!(" ({near})") };
        format!("no key {}{}; the row has: {}{near}", quoted(column), named_by(key), listed(there))
    }
}

/// Where a column's name comes from; nowhere, where it has no key.
fn named_by(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" (data.columns.{key} in task.toml)") }
}

fn parse(column: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{} is not a JSON array: {error}", quoted(column)))
}

fn wrong_type(column: &str, wanted: &str, value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{} must be {wanted}, not {kind}: {}", quoted(column), quoted(&value.to_string()))
}
