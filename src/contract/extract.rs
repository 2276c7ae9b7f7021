//! Finding the JSON of an answer that may also hold prose, fences or trailing text.
//!
//! Every step is bounded: answers beyond [`LONGEST`] are not read, an object nested beyond [`DEEPEST`] is none, nor is
//! anything within it, and no more than [`WORK`] bytes are read in search of embedded objects.

use super::mend::{Mend, mend};
use crate::nn::DEEPEST_JSON;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// A longer answer is not read, in bytes.
pub(super) const LONGEST: usize = 1 << 20;
/// Brackets within one another, at most.
pub(super) const DEEPEST: usize = DEEPEST_JSON;
/// Bytes read in all while looking for embedded objects: each `{` may begin one, so that text of braces could be read
/// over and over.
const WORK: usize = 8 << 20;
/// Objects of one answer that are looked at, the last ones.
const MOST_OBJECTS: usize = 512;

/// Which rule found the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extraction {
    /// The whole answer is JSON.
    Whole,
    /// A fenced code block.
    Fence,
    /// A balanced object within other text.
    Embedded,
    /// Almost-JSON, mended.
    Mended,
    /// Nothing was found.
    None,
}

/// The JSON value of an answer, and the rule that found it.
#[must_use]
pub fn extract(text: &str) -> (Option<Value>, Extraction) {
    match find(text, &[]) {
        Ok(found) => (Some(found.value), found.extraction),
        Err(_) => (None, Extraction::None),
    }
}

/// A value that was found in an answer.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) extraction: Extraction,
    /// The text that it was read from.
    pub(super) source: String,
    /// What was mended to read it.
    pub(super) mended: Vec<Mend>,
    /// How many different objects could be meant as well as this one, itself among them.
    pub(super) candidates: usize,
}

/// Why there is no value in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Miss {
    /// Nothing but blanks (or thoughts).
    Empty,
    /// Longer than is read.
    TooLong,
    /// No `{` at all.
    NoObject,
    /// An object begins and the answer ends within it.
    Truncated,
    /// More brackets within one another than are read.
    TooDeep,
    /// An object begins and is not JSON; the reader's reason.
    Broken(String),
}

/// Finds the value; of several objects, the last of those that hold the most of the `required` keys: models correct
/// themselves. Fenced ones come before those in prose.
pub(super) fn find(text: &str, required: &[String]) -> Result<Found, Miss> {
    if text.len() > LONGEST {
        return Err(Miss::TooLong);
    }
    let whole = mend_surrogates(text);
    let mut found = search(&whole, required)?;
    // One that stands beside the object is none of its own.
    if matches!(whole, Cow::Owned(_)) && !text.contains(&found.source) {
        found.mended.push(Mend::LoneSurrogate);
    }
    if depth(&found.value) > DEEPEST {
        return Err(Miss::TooDeep);
    }
    Ok(found)
}

/// Brackets within one another.
pub(super) fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(list) => list.iter().map(depth).max(),
        Value::Object(object) => object.values().map(depth).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

fn search(text: &str, required: &[String]) -> Result<Found, Miss> {
    // Before thoughts are cut off: an answer that is JSON as a whole may speak of their tags.
    if let Some(found) = whole(text.trim())? {
        return Ok(found);
    }
    let text = without_thoughts(text);
    let text = text.trim();
    if text.is_empty() {
        return Err(Miss::Empty);
    }
    if let Some(found) = whole(text)? {
        return Ok(found);
    }
    let held = |found: &Found| required.iter().filter(|key| found.value.get(key.as_str()).is_some()).count();
    let (embedded, miss) = embedded_objects(text);
    let mut best = last_of_best(fenced_objects(text), &held);
    for other in [last_of_best(embedded, &held), mended(text)].into_iter().flatten() {
        // An object within almost-JSON is a part of the answer, not the answer, where the whole holds more of what is required.
        if best.as_ref().is_none_or(|best| held(&other) > held(best)) {
            best = Some(other);
        }
    }
    best.ok_or(miss)
}

/// The last of those that hold the most, and how many others could be meant.
fn last_of_best(all: Vec<Found>, held: &dyn Fn(&Found) -> usize) -> Option<Found> {
    let most = all.iter().map(held).max()?;
    let mut best: Vec<Found> = all.into_iter().filter(|found| held(found) == most).collect();
    let last = best.pop()?;
    let mut others: Vec<&Value> = Vec::new();
    for found in &best {
        if found.value != last.value && !others.contains(&&found.value) {
            others.push(&found.value);
        }
    }
    Some(Found { candidates: 1 + others.len(), ..last })
}

fn mended(text: &str) -> Option<Found> {
    let (value, mended) = mend(text)?;
    Some(Found { source: value.to_string(), value, extraction: Extraction::Mended, mended, candidates: 1 })
}

fn whole(text: &str) -> Result<Option<Found>, Miss> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(Some(Found {
            value,
            extraction: Extraction::Whole,
            source: text.to_owned(),
            mended: Vec::new(),
            candidates: 1,
        })),
        Err(error) if is_too_deep(&error) => Err(Miss::TooDeep),
        Err(_) => Ok(None),
    }
}

/// The reader has no other sign for it than its words.
fn is_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit exceeded")
}

/// How thoughts begin and end, in small letters.
const THOUGHTS: [(&str, &str); 10] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("<|channel|>analysis", "<|end|>"),
    ("[think]", "[/think]"),
];
/// What stands before the answer of a model that writes in channels.
const FINAL: &str = "<|channel|>final<|message|>";

/// The text without a model's thoughts, wherever they stand; what looks like them within an object is a part of it. A
/// template may open them itself, so that only their end stands in the answer.
fn without_thoughts(text: &str) -> String {
    // Of one length with the text, byte by byte.
    let small = text.to_ascii_lowercase();
    let begin = small.rfind(FINAL).map_or(0, |at| at + FINAL.len());
    let mut kept = String::with_capacity(text.len());
    // Whether anything but blanks was kept.
    let mut said = false;
    let last_object = text.rfind('{');
    // Thoughts that end nowhere are looked for once.
    let mut endless = [false; THOUGHTS.len()];
    let (mut at, mut work) = (begin, 0);
    while let Some(skip) = text[at..].find(['{', '<', '[']) {
        kept.push_str(&text[at..at + skip]);
        said |= !text[at..at + skip].trim().is_empty();
        at += skip;
        let rest = &small[at..];
        let mut taken = 0;
        if rest.starts_with('{') && work < WORK {
            let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            let read = values.next();
            let length = if let Some(Ok(_)) = read { values.byte_offset() } else { 1 };
            work += match read {
                Some(Err(error)) => bytes_before(&text[at..], &error),
                _ => length,
            };
            taken = length;
        } else if let Some(kind) = THOUGHTS.iter().position(|(open, _)| rest.starts_with(open)) {
            let (open, close) = THOUGHTS[kind];
            let end = if endless[kind] { None } else { rest[open.len()..].find(close) };
            endless[kind] = end.is_none();
            match end {
                Some(inside) => at += open.len() + inside + close.len(),
                // Cut off while still thinking: nothing was answered.
                None if !said => return kept,
                None => taken = open.len(),
            }
        } else if let Some((_, close)) = THOUGHTS.iter().find(|(_, close)| rest.starts_with(close)) {
            if last_object.is_some_and(|last| last > at) {
                kept.clear();
                said = false;
                at += close.len();
            } else {
                taken = close.len();
            }
        } else {
            taken = 1;
        }
        kept.push_str(&text[at..at + taken]);
        said |= taken > 0;
        at += taken;
    }
    kept.push_str(&text[at..]);
    kept
}

/// The objects that are the whole content of a fenced block; a last block may lack its closing fence.
fn fenced_objects(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let next = offset + line.len();
        if line.trim_start().starts_with("```") {
            match start.take() {
                Some(start) => {
                    forget_first(&mut found);
                    found.extend(fenced_object(text.get(start..offset)));
                }
                None => start = Some(next),
            }
        }
        offset = next;
    }
    if let Some(start) = start {
        found.extend(fenced_object(text.get(start..)));
    }
    found
}

/// Makes room for one object more: the last one is taken, so that the first can be spared.
fn forget_first(found: &mut Vec<Found>) {
    if found.len() == MOST_OBJECTS {
        found.remove(0);
    }
}

fn fenced_object(content: Option<&str>) -> Option<Found> {
    let source = content?.trim();
    let value = serde_json::from_str(source).ok().filter(Value::is_object)?;
    Some(Found { value, extraction: Extraction::Fence, source: source.to_owned(), mended: Vec::new(), candidates: 1 })
}

/// Every outermost object within the text, and why there is none when there is none.
fn embedded_objects(text: &str) -> (Vec<Found>, Miss) {
    let mut found = Vec::new();
    let mut miss = Miss::NoObject;
    let mut position = 0;
    let mut work = 0;
    while work < WORK {
        let Some(brace) = text.get(position..).and_then(|rest| rest.find('{')) else { break };
        let start = position + brace;
        let Some(rest) = text.get(start..) else { break };
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let length = values.byte_offset();
                let source = rest[..length].to_owned();
                forget_first(&mut found);
                found.push(Found {
                    value,
                    extraction: Extraction::Embedded,
                    source,
                    mended: Vec::new(),
                    candidates: 1,
                });
                position = start + length;
                work += length;
            }
            // What lies within an object that is too deep is a part of it.
            Some(Err(error)) if is_too_deep(&error) => {
                miss = Miss::TooDeep;
                break;
            }
            // The object goes on to the end of the text, so whatever lies within it is a part of it, not the answer.
            Some(Err(error)) if error.is_eof() => {
                miss = Miss::Truncated;
                break;
            }
            failure => {
                if miss == Miss::NoObject
                    && let Some(Err(error)) = &failure
                {
                    miss = Miss::Broken(error.to_string());
                }
                let read = failure.and_then(Result::err).map_or(rest.len(), |error| bytes_before(rest, &error));
                work += read + 1;
                position = start + 1;
            }
        }
    }
    (found, miss)
}

/// How far a reader came: an upper bound that costs no second reading where the text is one line.
fn bytes_before(text: &str, error: &serde_json::Error) -> usize {
    if error.line() <= 1 {
        return error.column();
    }
    text.split_inclusive('\n').take(error.line() - 1).map(str::len).sum::<usize>() + error.column()
}

/// Replaces escaped halves of surrogate pairs, which are JSON but no text, by the replacement character's escape.
pub(crate) fn mend_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let unit = |at: usize| -> Option<u16> {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        escape.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(escape, 16).ok())?
    };
    let mut mended = String::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    while let Some(skip) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += skip;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(text.get(copied..at).unwrap_or_default());
                mended.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // The backslash and what it escapes, which may be another backslash.
            _ => at += 1 + text.get(at + 1..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8),
        }
    }
    if mended.is_empty() {
        return Cow::Borrowed(text);
    }
    mended.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(mended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;
    use serde_json::json;

    fn found(text: &str) -> (Value, Extraction) {
        let (value, extraction) = extract(text);
        (value.unwrap_or(Value::Null), extraction)
    }

    #[test]
    fn a_whole_answer_is_taken_as_it_is() {
        assert_eq!(found(" {\"a\": 1}\n"), (json!({"a": 1}), Extraction::Whole));
        assert_eq!(found("[1]"), (json!([1]), Extraction::Whole));
        assert_eq!(
            found("{\"a\": \"</think> and ``` too\"}"),
            (json!({"a": "</think> and ``` too"}), Extraction::Whole)
        );
    }

    #[test]
    fn a_fenced_block_is_found_with_or_without_language_and_end() {
        for text in ["```json\n{\"a\": 1}\n```", "Sure:\n```\n{\"a\": 1}\n```\nDone.", "```json\n{\n\"a\": 1}\n"] {
            assert_eq!(found(text), (json!({"a": 1}), Extraction::Fence), "{text}");
        }
    }

    #[test]
    fn an_object_in_prose_is_found_past_braces_that_are_none() {
        for text in [
            "Answer: {\"a\": 1}.",
            "{not json} then {\"a\": 1}",
            "{ {\"a\": 1} }",
            "it's {\"a\": 1} \"quoted",
            "```python\nx = {\"a\": 1}\n```",
            "{{\"a\": 1}}",
        ] {
            assert_eq!(found(text), (json!({"a": 1}), Extraction::Embedded), "{text}");
        }
    }

    #[test]
    fn thoughts_are_skipped() {
        assert_eq!(found("<think>maybe {\"a\": 0}</think>{\"a\": 1}").0, json!({"a": 1}));
        assert_eq!(found("maybe {\"a\": 0}\n</think>\n\n{\"a\": 1}").0, json!({"a": 1}));
        assert_eq!(found("<think></think>\n<think>x</think> so {\"a\": 1}").0, json!({"a": 1}));
        assert_eq!(find("<think>maybe {\"a\": 0}", &[]).unwrap_err(), Miss::Empty);
        for text in [
            "Let me see. <think>maybe {\"a\": 0}</think> {\"a\": 1}",
            "<thinking>maybe {\"a\": 0}</thinking>{\"a\": 1}",
            "<Reasoning>{\"a\": 0} {\"a\": 2}</reasoning>\n{\"a\": 1}",
            "[THINK]{\"a\": 0}[/THINK]{\"a\": 1}",
            "{\"a\": 1} <think>or rather {\"a\": 0}?</think>",
            "<|channel|>analysis<|message|>{\"a\": 0}<|end|><|start|>assistant<|channel|>final<|message|>{\"a\": 1}",
            "<|channel|>analysis<|message|>{\"a\": 0}<|end|>{\"a\": 1}",
        ] {
            assert_eq!(found(text).0, json!({"a": 1}), "{text}");
        }
        let quoted = "So: {\"a\": \"<think>x</think> {}\"}.";
        assert_eq!(found(quoted).0, json!({"a": "<think>x</think> {}"}));
        assert_eq!(found("Write <think> first: {\"a\": 1}").0, json!({"a": 1}));
    }

    #[test]
    fn of_several_objects_the_last_with_the_required_keys_is_taken() {
        let required = ["category".to_owned(), "answer".to_owned()];
        let value = |text| find(text, &required).unwrap().value;
        assert_eq!(
            value("{\"x\": 1} {\"category\": 1, \"answer\": 2} No: {\"category\": 3, \"answer\": 4}")["category"],
            3
        );
        let fenced = "```\n{\"category\": 1, \"answer\": 2}\n```\nNo:\n```\n{\"category\": 3, \"answer\": 4}\n```";
        let corrected = find(fenced, &required).unwrap();
        assert_eq!((&corrected.value["category"], corrected.candidates), (&json!(3), 2));
        assert_eq!(find("{\"x\": 1} {\"x\": 1}", &[]).unwrap().candidates, 1, "one that is repeated is one");
        assert_eq!(value("```\n{\"x\": 1}\n```\nFinal: {\"category\": 1, \"answer\": 2}")["category"], 1);
        assert_eq!(value("{\"x\": 1} {\"category\": 2}")["category"], 2);
        assert_eq!(value("{\"x\": 1} {\"y\": 2}")["y"], 2);
        let many: Vec<String> = (0..MOST_OBJECTS + 10).map(|x| format!("{{\"x\": {x}}}")).collect();
        let last = find(&format!("{}\n{{\"category\": 5}}", many.join("\n")), &required).unwrap();
        assert_eq!(last.value["category"], 5);
        assert_eq!(value("{\"category\": 6, \"answer\": 7} {\"x\": 1}")["category"], 6);
        // A part of almost-JSON is not the answer.
        assert_eq!(value("{\"category\": 1, \"answer\": {\"x\": 1},}")["category"], 1);
    }

    #[test]
    fn the_reason_for_a_miss_is_told() {
        let miss = |text: &str| find(text, &[]).unwrap_err();
        assert_eq!(miss("  \n"), Miss::Empty);
        assert_eq!(miss("I cannot help."), Miss::NoObject);
        assert_eq!(miss("{\"a\": {\"b\": 1"), Miss::Truncated);
        assert_eq!(miss("```json\n{\"a\": \"b"), Miss::Truncated);
        assert!(matches!(miss("{nope}"), Miss::Broken(_)));
        assert_eq!(miss(&" ".repeat(LONGEST + 1)), Miss::TooLong);
    }

    #[test]
    fn halves_of_surrogate_pairs_do_not_lose_the_answer() {
        assert_eq!(found(r#"{"a": "x\ud83dy"}"#).0, json!({"a": "x\u{fffd}y"}));
        assert_eq!(found(r#"{"a": "\ud83d\ude00 \\ud83d"}"#).0, json!({"a": "😀 \\ud83d"}));
        assert_eq!(found(r#"so {"a": "\uDC00\ud800"}"#).0, json!({"a": "\u{fffd}\u{fffd}"}));
        assert_eq!(found("\\ud8é").1, Extraction::None);
        let path = find(r#"{"path": "C:\\udata"}"#, &[]).unwrap();
        assert!(path.mended.is_empty(), "an escaped backslash is no half of a pair");
        let beside = find(r#"Write \ud800 so: {"a": 1}"#, &[]).unwrap();
        assert!(beside.mended.is_empty(), "what stands beside the object was not mended in it");
    }

    #[test]
    fn hostile_answers_take_no_long_time() {
        let clock = Clock::real();
        let deep = |unit: &str| unit.repeat(LONGEST / unit.len());
        let nest = "{\"a\":".repeat(120);
        let tail = format!("{nest}[{}", "1,".repeat((LONGEST - 700) / 2));
        for text in [
            deep("{"),
            deep("{\"a\":"),
            deep("[{"),
            deep("{\""),
            deep("```\n{"),
            deep("{}"),
            deep("x<think>"),
            deep("</think>{"),
            deep("<think></think>"),
            format!("{tail}x"),
            tail,
        ] {
            let start = clock.now();
            let _ = extract(&text);
            assert!(clock.since(start).0 < 5.0, "{} …", &text[..8]);
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_makes_it_panic(text in "(.|\\\\u[dD][89a-f]|[{}\\[\\]\",:`\\\\\n]|</?think>|```){0,60}") {
            let _ = extract(&text);
        }

        #[test]
        fn an_object_in_prose_without_braces_is_always_found(
            before in "[^{}<]{0,40}", after in "[^{}<]{0,40}", pretty: bool,
            object in prop::collection::btree_map(".{0,6}", json_value(), 0..5),
        ) {
            let object: Value = object.into_iter().collect();
            let text = if pretty { format!("{object:#}") } else { object.to_string() };
            let (value, _) = extract(&format!("{before}{text}{after}"));
            prop_assert_eq!(value, Some(object));
        }
    }
}
