//! Texts in which other people marked what there is to find: whether a text attacks, or where its personal data stands.
//!
//! Read are a JSON array, or one JSON object to a line. A row is `{"text", "label": "malicious" | "benign"}`, or
//! `{"text", "spans": [{"type", "start", "end"}]}` where the keys of Presidio's data sets (`full_text`, `entity_type`,
//! `entity_value`, `start_position`, `end_position`) do as well. Offsets count characters (Unicode code points), the end is
//! exclusive.

use super::canonical;
use crate::error::{Context, Result, anyhow, usage};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of a file at most.
const LARGEST: u64 = 256 << 20;

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands: the file and the line, or the number of the row in an array.
    pub place: String,
    /// The text.
    pub text: String,
    /// Whether it is an attack, where the row says so.
    pub malicious: Option<bool>,
    /// The personal data in it, where the row says so.
    pub spans: Option<Vec<Span>>,
}

/// A marked place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its type: ours where we have one, else as the data name it.
    pub entity: String,
    /// Byte offset of its start.
    pub start: usize,
    /// Byte offset of its end, exclusive.
    pub end: usize,
    /// Whether the row gives the value as well and it is not what stands there.
    pub misplaced: bool,
}

/// Reads a file of labelled rows. A row that is not one is an error that names its line.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| usage(format!("cannot open {shown}: {error}")))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| usage(format!("cannot read {shown}: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(usage(format!("{shown} has more than {} MiB; split it", LARGEST >> 20)));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows = if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let values: Vec<Value> = serde_json::from_slice(bytes)
            .map_err(|error| usage(format!("{shown} is not a JSON array of rows: {error}")))?;
        let of = |(index, value)| row(value, format!("{shown}: row {}", index + 1));
        values.into_iter().enumerate().map(of).collect::<Result<Vec<_>>>()?
    } else {
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let filled = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
        filled
            .map(|(index, line)| {
                let place = format!("{shown}:{}", index + 1);
                let value = serde_json::from_slice(line)
                    .map_err(|error| usage(format!("{place} is not a JSON object: {}", without_place(&error))))?;
                row(value, place)
            })
            .collect::<Result<Vec<_>>>()?
    };
    if rows.is_empty() {
        return Err(usage(format!("{shown} holds no rows")));
    }
    Ok(rows)
}

/// The parser's message without its own line, which counts within the row.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().map_or(text.clone(), |what| format!("{what} (column {})", error.column()))
}

fn row(value: Value, place: String) -> Result<Row> {
    let told = |error: crate::error::Error| usage(format!("{place}: {error:#}"));
    let Value::Object(mut object) = value else {
        return Err(usage(format!("{place} is not a JSON object")));
    };
    let text = match object.remove("text").or_else(|| object.remove("full_text")) {
        Some(Value::String(text)) => text,
        Some(_) => return Err(usage(format!("{place}: `text` must be a text"))),
        None => return Err(usage(format!("{place}: there is no `text`"))),
    };
    let malicious = match object.get("label") {
        None | Some(Value::Null) => None,
        Some(Value::String(label)) if label == "malicious" => Some(true),
        Some(Value::String(label)) if label == "benign" => Some(false),
        Some(other) => {
            return Err(usage(format!("{place}: `label` is {other}, but must be \"malicious\" or \"benign\"")));
        }
    };
    let spans = match object.get("spans") {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) => Some(spans(&text, items).map_err(told)?),
        Some(_) => return Err(usage(format!("{place}: `spans` must be a list"))),
    };
    if malicious.is_none() && spans.is_none() {
        return Err(usage(format!("{place}: there is neither `label` nor `spans`, so there is nothing to judge by")));
    }
    Ok(Row { place, text, malicious, spans })
}

fn spans(text: &str, items: &[Value]) -> Result<Vec<Span>> {
    let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len())).collect();
    items
        .iter()
        .enumerate()
        .map(|(index, item)| span(text, &offsets, item).with_context(|| format!("span {}", index + 1)))
        .collect()
}

fn span(text: &str, offsets: &[usize], item: &Value) -> Result<Span> {
    let object = item.as_object().ok_or_else(|| anyhow!("is not a JSON object"))?;
    let name = either(object, ["type", "entity_type"])?.as_str().ok_or_else(|| anyhow!("`type` must be a text"))?;
    let number = |names: [&str; 2]| {
        let value = either(object, names)?;
        let whole = value.as_u64().and_then(|number| usize::try_from(number).ok());
        whole.ok_or_else(|| anyhow!("`{}` is {value}, but must be a whole number from 0", names[0]))
    };
    let (first, last) = (number(["start", "start_position"])?, number(["end", "end_position"])?);
    let (Some(&start), Some(&end), true) = (offsets.get(first), offsets.get(last), first < last) else {
        let chars = offsets.len() - 1;
        return Err(anyhow!("goes from {first} to {last}, but the text has {chars} characters"));
    };
    let value = ["entity_value", "value"].iter().find_map(|key| object.get(*key)).and_then(Value::as_str);
    Ok(Span {
        entity: canonical(name).map_or_else(|| name.to_owned(), str::to_owned),
        start,
        end,
        misplaced: value.is_some_and(|value| text.get(start..end) != Some(value)),
    })
}

fn either<'a>(object: &'a Map<String, Value>, names: [&str; 2]) -> Result<&'a Value> {
    names.iter().find_map(|name| object.get(*name)).ok_or_else(|| anyhow!("has no `{}`", names[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8]) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn both_layouts_are_read_and_offsets_count_characters() {
        let ours = read_text("{\"text\": \"é a@b.de\", \"spans\": [{\"type\": \"email\", \"start\": 2, \"end\": 8}]}\n\n{\"text\": \"x\", \"label\": \"benign\"}".as_bytes()).unwrap();
        let spans = ours[0].spans.as_ref().unwrap();
        assert_eq!((&*spans[0].entity, &ours[0].text[spans[0].start..spans[0].end]), ("EMAIL_ADDRESS", "a@b.de"));
        assert_eq!((ours[1].malicious, ours[1].place.ends_with("rows.jsonl:3")), (Some(false), true));
        let array = read_text(br#" [{"full_text": "Call 12", "spans": [{"entity_type": "ODD", "entity_value": "13", "start_position": 5, "end_position": 7}]}]"#).unwrap();
        assert_eq!(
            array[0].spans.as_ref().unwrap()[0],
            Span { entity: "ODD".into(), start: 5, end: 7, misplaced: true }
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, told) in [
            (&b""[..], "no rows"),
            (b"\n \n", "no rows"),
            (b"[]", "no rows"),
            (
                b"{\"text\": \"a\", \"label\": \"benign\"}\n{\"text\": \"a\", \"label\": \"evil\"}",
                ":2: `label` is \"evil\"",
            ),
            (b"{\"text\": \"\\ud800\", \"label\": \"benign\"}", ":1 is not a JSON object"),
            (b"{\"text\": NaN}", ":1 is not a JSON object"),
            (b"\x00\xff\xfe\x80", ":1 is not a JSON object"),
            (b"{\"text\": \"\xff\", \"label\": \"benign\"}", ":1 is not a JSON object"),
            (b"{\"label\": \"benign\"}", ":1: there is no `text`"),
            (b"{\"text\": 3, \"label\": \"benign\"}", "must be a text"),
            (b"{\"text\": \"a\"}", "neither `label` nor `spans`"),
            (
                b"{\"text\": \"ab\", \"spans\": [{\"type\": \"X\", \"start\": 0, \"end\": 3}]}",
                "the text has 2 characters",
            ),
            (b"{\"text\": \"ab\", \"spans\": [{\"type\": \"X\", \"start\": 1, \"end\": 1}]}", "goes from 1 to 1"),
            (b"{\"text\": \"ab\", \"spans\": [{\"type\": \"X\", \"start\": -1, \"end\": 1}]}", "`start` is -1"),
            (b"{\"text\": \"ab\", \"spans\": [{\"type\": \"X\", \"start\": 0.5, \"end\": 1}]}", "`start` is 0.5"),
            (b"{\"text\": \"ab\", \"spans\": [{\"start\": 0, \"end\": 1}]}", "span 1: has no `type`"),
            (b"{\"text\": \"ab\", \"spans\": {}}", "`spans` must be a list"),
            (b"[{\"text\": \"ab\", \"label\": \"benign\"}, 3]", "row 2 is not a JSON object"),
            (b"[{\"text\": ", "is not a JSON array of rows"),
        ] {
            let error = format!("{:#}", read_text(text).unwrap_err());
            assert!(error.contains(told), "{error} should tell {told}");
        }
    }
}
