//! A reader of almost-JSON: what small models write when they mean JSON. Every liberty that it takes is named, so that a
//! mended answer is counted as a repair and never passes as one that was right to begin with.

use super::extract::DEEPEST;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::collections::BTreeSet;

/// A liberty that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mend {
    /// A comma before a closing bracket was left out.
    TrailingComma,
    /// A comma between two members was put in.
    MissingComma,
    /// A text in single quotes was read as one in double quotes.
    SingleQuotes,
    /// A key without quotes was given them.
    BareKey,
    /// `True`, `False` or `None` was read as JSON's word.
    PythonWord,
    /// A comment was left out.
    Comment,
    /// A line break or another control character within a text was kept as if it were escaped.
    RawControl,
    /// Brackets that were open at the end were closed.
    OpenEnd,
    /// Half of a surrogate pair, which is no character, was read as the replacement character.
    LoneSurrogate,
}

/// Reads the object that begins at the first `{`; `None` where it cannot be made out what was meant.
pub(super) fn mend(text: &str) -> Option<(Value, Vec<Mend>)> {
    let start = text.find('{')?;
    // A number or a word at the very end may have been cut.
    let whole_end = text.trim_end().ends_with(['"', '\'', '}', ']', ',']);
    let mut reader = Reader { rest: text.get(start..)?, whole_end, mends: BTreeSet::new() };
    let value = reader.value(0)?;
    Some((value, reader.mends.into_iter().collect()))
}

struct Reader<'a> {
    rest: &'a str,
    whole_end: bool,
    mends: BTreeSet<Mend>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = self.rest.get(next.len_utf8()..)?;
        Some(next)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.take();
        }
        found
    }

    /// The text up to what does not belong to a word.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || "_$+-.".contains(c))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Skips blanks and comments.
    fn skip(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            let after = if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.rest.split_once('\n').map_or("", |(_, after)| after)
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                comment.split_once("*/")?.1
            } else {
                return Some(());
            };
            self.rest = after;
            self.mends.insert(Mend::Comment);
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.list(depth),
            '"' | '\'' => self.text().map(Value::String),
            _ => match self.word() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                "null" => Some(Value::Null),
                word @ ("True" | "False" | "None") => {
                    self.mends.insert(Mend::PythonWord);
                    Some(match word {
                        "True" => Value::Bool(true),
                        "False" => Value::Bool(false),
                        _ => Value::Null,
                    })
                }
                number => serde_json::from_str::<Number>(number).ok().map(Value::Number),
            },
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take();
        let mut object = Map::new();
        while self.goes_on('}', object.is_empty())? {
            let key = match self.peek()? {
                '"' | '\'' => self.text()?,
                _ => {
                    let key = self.word();
                    if key.is_empty() {
                        return None;
                    }
                    self.mends.insert(Mend::BareKey);
                    key.to_owned()
                }
            };
            self.skip()?;
            if !self.take_if(':') {
                return None;
            }
            self.skip()?;
            // Which of two is meant cannot be known.
            if object.insert(key, self.value(depth + 1)?).is_some() {
                return None;
            }
        }
        Some(Value::Object(object))
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.take();
        let mut list = Vec::new();
        while self.goes_on(']', list.is_empty())? {
            list.push(self.value(depth + 1)?);
        }
        Some(Value::Array(list))
    }

    /// Whether another member follows; takes the comma before it, or the bracket that closes.
    fn goes_on(&mut self, close: char, first: bool) -> Option<bool> {
        self.skip()?;
        let comma = !first && self.take_if(',');
        self.skip()?;
        let Some(next) = self.peek() else {
            if !self.whole_end {
                return None;
            }
            self.mends.insert(Mend::OpenEnd);
            return Some(false);
        };
        if next == close {
            self.take();
            if comma {
                self.mends.insert(Mend::TrailingComma);
            }
            return Some(false);
        }
        if !first && !comma {
            self.mends.insert(Mend::MissingComma);
        }
        Some(true)
    }

    /// A text in quotes; one that does not end was cut, and what it was to say is not known.
    fn text(&mut self) -> Option<String> {
        let quote = self.take()?;
        if quote == '\'' {
            self.mends.insert(Mend::SingleQuotes);
        }
        let mut text = String::new();
        loop {
            match self.take()? {
                c if c == quote => return Some(text),
                '\\' => match self.take()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => text.push(self.escaped()?),
                    c @ ('"' | '\'' | '\\' | '/') => text.push(c),
                    _ => return None,
                },
                c => {
                    if c.is_control() {
                        self.mends.insert(Mend::RawControl);
                    }
                    text.push(c);
                }
            }
        }
    }

    /// The character of `\u` escapes; half a pair becomes the replacement character.
    fn escaped(&mut self) -> Option<char> {
        let mut unit = || -> Option<u16> {
            let (digits, rest) = self.rest.split_at_checked(4)?;
            let unit =
                digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())??;
            self.rest = rest;
            Some(unit)
        };
        let first = unit()?;
        if !(0xD800..0xDC00).contains(&first) || !self.rest.starts_with("\\u") {
            return Some(char::from_u32(u32::from(first)).unwrap_or('\u{FFFD}'));
        }
        let before = self.rest;
        self.rest = self.rest.get(2..)?;
        let second = self.rest.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
        self.rest = if pair.is_some() { self.rest.get(4..)? } else { before };
        Some(pair.unwrap_or('\u{FFFD}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_models_write_is_read_and_every_liberty_is_named() {
        for (text, value, mends) in [
            ("Sure: {\"a\": [1, 2,], }", json!({"a": [1, 2]}), vec![Mend::TrailingComma]),
            ("{'a': 'it\\'s'}", json!({"a": "it's"}), vec![Mend::SingleQuotes]),
            ("{a: 1, b_2: -2.5e3}", json!({"a": 1, "b_2": -2500.0}), vec![Mend::BareKey]),
            ("{\"a\": True, \"b\": None}", json!({"a": true, "b": null}), vec![Mend::PythonWord]),
            ("{\"a\": 1 // one\n, /* two */ \"b\": 2}", json!({"a": 1, "b": 2}), vec![Mend::Comment]),
            ("{\"a\": \"x\ny\"}", json!({"a": "x\ny"}), vec![Mend::RawControl]),
            ("{\"a\": 1 \"b\": [1 2]}", json!({"a": 1, "b": [1, 2]}), vec![Mend::MissingComma]),
            ("{\"a\": {\"b\": [1]", json!({"a": {"b": [1]}}), vec![Mend::OpenEnd]),
            ("{\"a\": \"\\ud83d\\ude00\\ud800\\u0041\"}", json!({"a": "😀\u{FFFD}A"}), vec![]),
        ] {
            assert_eq!(mend(text), Some((value, mends)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_made_out_is_left() {
        for text in [
            "",
            "no",
            "{\"a\": \"cut",
            "{\"a\"}",
            "{: 1}",
            "{\"a\": 1, \"a\": 2}",
            "{\"a\": nope}",
            "{\"a\": 12",
            "{\"a\": \"\\q\"}",
        ] {
            assert_eq!(mend(text), None, "{text}");
        }
        assert_eq!(mend(&"{\"a\":".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn json_is_read_as_what_it_is(text in "[a-z\"\\\\\n é😀]{0,12}", number in any::<i64>(), float in -1e9f64..1e9) {
            let value = json!({"text": text, "list": [number, float, null, {"x": true}]});
            prop_assert_eq!(mend(&value.to_string()), Some((value, vec![])));
        }

        #[test]
        fn anything_ends(text in "[{}\\[\\]\"',:a1\\\\ \n/*#]{0,60}") {
            let _ = mend(&text);
        }
    }
}
