//! Short texts that match the patterns of a schema: where nothing shorter is found, one of them brings an open text to where it can
//! be closed.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;
use std::collections::BTreeSet;

/// Patterns of a schema that are looked at, and bytes of a text that is kept.
const MOST_PATTERNS: usize = 64;
const LONGEST: usize = 64;

/// A text for each pattern that has a short one, the shortest first.
pub(super) fn witnesses(schema: &Value) -> Vec<Vec<u8>> {
    let mut patterns = BTreeSet::new();
    collect(schema, &mut patterns);
    let texts = patterns.iter().filter_map(|pattern| {
        let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
        // A quote would end the text, and a backslash begin something else.
        witness(&hir).filter(|text| !text.is_empty() && !text.iter().any(|byte| matches!(byte, b'"' | b'\\' | ..0x20)))
    });
    let mut texts: Vec<Vec<u8>> = texts.collect::<BTreeSet<_>>().into_iter().collect();
    texts.sort_by_key(Vec::len);
    texts
}

fn collect<'a>(schema: &'a Value, patterns: &mut BTreeSet<&'a str>) {
    if patterns.len() >= MOST_PATTERNS {
        return;
    }
    match schema {
        Value::Object(keywords) => {
            patterns.extend(keywords.get("pattern").and_then(Value::as_str));
            let names = keywords.get("patternProperties").and_then(Value::as_object);
            patterns.extend(names.into_iter().flat_map(|names| names.keys().map(String::as_str)));
            keywords.values().for_each(|says| collect(says, patterns));
        }
        Value::Array(list) => list.iter().for_each(|says| collect(says, patterns)),
        _ => {}
    }
}

/// A short text that an expression matches; `None` where there is none, or it is long.
fn witness(hir: &Hir) -> Option<Vec<u8>> {
    let text = match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Vec::new(),
        HirKind::Literal(literal) => literal.0.to_vec(),
        HirKind::Class(class) => character(class)?,
        HirKind::Capture(group) => witness(&group.sub)?,
        HirKind::Repetition(repetition) => {
            let once = if repetition.min == 0 { Vec::new() } else { witness(&repetition.sub)? };
            let times = usize::try_from(repetition.min).ok()?;
            if once.len().checked_mul(times)? > LONGEST {
                return None;
            }
            once.repeat(times)
        }
        HirKind::Concat(parts) => parts.iter().map(witness).collect::<Option<Vec<_>>>()?.concat(),
        HirKind::Alternation(branches) => branches.iter().filter_map(witness).min_by_key(Vec::len)?,
    };
    (text.len() <= LONGEST).then_some(text)
}

/// A character of a class, a plain one where it has one: not all of them may stand in a text as they are.
fn character(class: &Class) -> Option<Vec<u8>> {
    let Class::Unicode(class) = class else { return None };
    let has = |wanted: char| class.iter().any(|range| (range.start()..=range.end()).contains(&wanted));
    let plain = ['a', '0', 'A', '-', '_', '.', '/', ' ', '+', ':'].into_iter().find(|&one| has(one));
    let first = || class.iter().map(regex_syntax::hir::ClassUnicodeRange::start).find(|one| !one.is_control());
    plain.or_else(first).map(|one| one.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;
    use serde_json::json;

    #[test]
    fn each_pattern_has_a_text_that_it_matches() {
        for pattern in [
            r"\.json$",
            "foo",
            "ing$",
            r"^(.+\/)+(.+)\.(ya?ml)(@.+)?$",
            r"^[A-Z]{2}\d{3,}(?:-x|-yy)?$",
            r"[^a-z0-9A-Z._/ +:-]",
            "^(é|ü)+$",
        ] {
            let texts = witnesses(&json!({"items": {"pattern": pattern}}));
            let text = String::from_utf8(texts[0].clone()).unwrap();
            assert!(Regex::new(pattern).unwrap().is_match(&text), "{pattern}: {text}");
        }
        for none in ["^a{1000}$", "(?=a)", "^$"] {
            assert!(witnesses(&json!({ "pattern": none })).is_empty(), "{none}");
        }
    }

    #[test]
    fn the_shortest_comes_first_and_names_count_too() {
        let schema = json!({"patternProperties": {"^abc$": {"pattern": "xy"}}, "anyOf": [{"pattern": "xy"}]});
        assert_eq!(witnesses(&schema), [b"xy".to_vec(), b"abc".to_vec()]);
    }
}
