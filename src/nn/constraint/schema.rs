//! A JSON Schema, made ready for the grammar's compiler: written as it wants it, and without what it cannot express.

use super::narrower::narrow;
use super::pattern::{all_of, for_grammar};
use crate::error::{Result, usage};
use llguidance::{JsonCompileOptions, Matcher};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Keywords that only narrow what is allowed, so that a grammar without them allows more, and the check finds out.
const DISPENSABLE: [&str; 10] = [
    "patternProperties",
    "multipleOf",
    "minProperties",
    "maxProperties",
    // Before patterns: a format may be a note alone.
    "format",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
];

/// The same for one schema's own texts and numbers, by the type that they narrow.
const NARROWING: [(&str, &[&str]); 3] = [
    ("string", &["pattern"]),
    ("string", &["format"]),
    ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
];

/// Of the keywords of numbers, those that bound them.
const BOUNDS_OF_NUMBERS: [&str; 4] = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];

/// Schemas whose own keywords are tried one by one, at most.
const MOST_TRIES: usize = 2_000;

/// The grammar of a schema, and what it leaves out: one that cannot be made with all keywords is made without some. `made`
/// compiles a schema, or says why it cannot.
pub(super) fn grammar(schema: &Value, made: &dyn Fn(&Value) -> Result<Matcher>) -> Result<(Matcher, Vec<String>)> {
    let mut schema = with_whole_bounds(schema);
    with_plain_references(&mut schema);
    let mut left_out = with_patterns(&mut schema);
    let made = |schema: &Value| made(&with_options(schema)?);
    // What only a narrower grammar keeps is tried first.
    let mut narrower = schema.clone();
    let mut start = if narrow(&mut narrower) { made(&narrower).or_else(|_| made(&schema)) } else { made(&schema) };
    if start.is_err() {
        // First what cannot be expressed where it stands: the other patterns and numbers stay.
        let taken = without_inexpressible(&mut schema, &made);
        start = if taken.is_empty() { start } else { made(&schema) };
        left_out.extend(taken);
    }
    // Bounds that no number keeps are no weakness of the grammar.
    let mut impossible = false;
    each_schema(&mut schema, &mut |object| impossible |= contradicts(object));
    let dispensable = || DISPENSABLE.into_iter().filter(|keyword| !(impossible && BOUNDS_OF_NUMBERS.contains(keyword)));
    if start.is_err() {
        // Then one keyword throughout; then more of them.
        let alone = dispensable().find_map(|keyword| {
            let mut lesser = schema.clone();
            without(&mut lesser, keyword).then(|| made(&lesser).ok().map(|start| (keyword, start))).flatten()
        });
        if let Some((keyword, made)) = alone {
            left_out.push(format!("{keyword} is left out"));
            start = Ok(made);
        }
    }
    for keyword in dispensable() {
        if start.is_err() && without(&mut schema, keyword) {
            left_out.push(format!("{keyword} is left out"));
            start = made(&schema).or(start);
        }
    }
    Ok((start?, left_out))
}

/// Takes patterns, bounds of numbers and formats out of the schemas whose own cannot be expressed. Returns what was taken.
fn without_inexpressible(schema: &mut Value, made: &dyn Fn(&Value) -> Result<Matcher>) -> Vec<String> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tries = 0;
    each_schema(schema, &mut |object| {
        for (kind, keywords) in NARROWING {
            let mut alone: Map<String, Value> = object
                .iter()
                .filter(|(key, _)| keywords.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if alone.is_empty() || tries == MOST_TRIES {
                continue;
            }
            tries += 1;
            if kind == "number" && contradicts(object) {
                continue;
            }
            let integer = kind == "number" && object.get("type").is_some_and(|named| named == "integer");
            alone.insert("type".to_owned(), Value::from(if integer { "integer" } else { kind }));
            if made(&alone.into()).is_err() {
                for keyword in keywords {
                    if object.remove(*keyword).is_some() {
                        *taken.entry(keyword).or_default() += 1;
                    }
                }
            }
        }
    });
    taken.into_iter().map(|(keyword, times)| format!("{keyword} is left out in {times} places")).collect()
}

/// Whether the least that a number may be is more than the most.
fn contradicts(object: &Map<String, Value>) -> bool {
    let [low, above, high, below] = BOUNDS_OF_NUMBERS.map(|keyword| object.get(keyword).and_then(Value::as_f64));
    let least = low.into_iter().chain(above).fold(f64::NEG_INFINITY, f64::max);
    high.into_iter().chain(below).any(|most| most < least)
}

/// Takes a keyword out of a schema and all schemas in it, and tells whether it was there. What stands under the name of a
/// property or a definition is a schema, not a keyword.
fn without(schema: &mut Value, keyword: &str) -> bool {
    let mut found = false;
    each_schema(schema, &mut |object| {
        if object.remove(keyword).is_some() {
            found = true;
            if keyword == "patternProperties" {
                // What the patterns allowed must not be forbidden now.
                object.remove("additionalProperties");
                object.remove("unevaluatedProperties");
            }
        }
    });
    found
}

/// The schema with bounds of lengths and counts written as the grammar's compiler wants them: 2 for 2.0.
fn with_whole_bounds(schema: &Value) -> Value {
    const BOUNDS: [&str; 8] = [
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
    ];
    let mut schema = schema.clone();
    each_schema(&mut schema, &mut |object| {
        for bound in BOUNDS {
            if let Some(value) = object.get_mut(bound)
                && let Some(number) =
                    value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))
            {
                *value = Value::from(number as u64);
            }
        }
    });
    schema
}

/// A dynamic reference means what a plain one does where only one schema has the anchor that it names.
fn with_plain_references(schema: &mut Value) {
    let mut anchors: BTreeMap<String, usize> = BTreeMap::new();
    let mut recursive = 0;
    each_schema(schema, &mut |object| {
        recursive += usize::from(object.contains_key("$recursiveAnchor"));
        if let Some(Value::String(anchor)) = object.get("$dynamicAnchor") {
            *anchors.entry(format!("#{anchor}")).or_default() += 1;
        }
    });
    let mut root = true;
    each_schema(schema, &mut |object| {
        let alone = |reference: &Value| reference.as_str().is_some_and(|reference| anchors.get(reference) == Some(&1));
        if let Some(reference) = object.get("$dynamicRef").filter(|reference| alone(reference)).cloned() {
            object.remove("$dynamicRef");
            object.entry("$ref").or_insert(reference);
        }
        if let Some(anchor) = object.get("$dynamicAnchor").filter(|_| !object.contains_key("$anchor")).cloned() {
            object.remove("$dynamicAnchor");
            object.insert("$anchor".to_owned(), anchor);
        }
        // The one anchor must be that of the whole, which `#` means.
        let only_the_whole = recursive == 1 && std::mem::take(&mut root) && object.remove("$recursiveAnchor").is_some();
        recursive = if only_the_whole { 0 } else { recursive };
        if recursive == 0
            && let Some(reference) = object.remove("$recursiveRef")
        {
            object.entry("$ref").or_insert(reference);
        }
    });
}

/// Writes patterns as the grammar takes them, those of names among them. Returns what is said of those that allow more then.
fn with_patterns(schema: &mut Value) -> Vec<String> {
    let mut widened = 0;
    let mut said = |pattern: &str| {
        let (said, wider) = for_grammar(pattern);
        widened += usize::from(wider);
        said
    };
    each_schema(schema, &mut |object| {
        if let Some(Value::String(pattern)) = object.get("pattern") {
            let mut parts: Vec<Value> = all_of(pattern).iter().map(|part| said(part).into()).collect();
            object.insert("pattern".to_owned(), parts.pop().unwrap_or_default());
            let parts = parts.into_iter().map(|part| json!({"pattern": part}));
            if let Value::Array(all) = object.entry("allOf").or_insert(Value::Array(Vec::new())) {
                all.extend(parts);
                if all.is_empty() {
                    object.remove("allOf");
                }
            }
        }
        with_pattern_of_names(object);
        if let Some(Value::Object(named)) = object.get_mut("patternProperties") {
            let patterns: Vec<String> = named.keys().map(|pattern| said(pattern)).collect();
            // Two that have become one would lose a schema.
            if patterns.iter().collect::<BTreeSet<_>>().len() == patterns.len() {
                let schemas = std::mem::take(named).into_iter().map(|(_, schema)| schema);
                *named = patterns.into_iter().zip(schemas).collect();
            }
        }
    });
    if widened == 0 { Vec::new() } else { vec![format!("pattern is widened in {widened} places")] }
}

/// A pattern that all names must match says which other members there may be.
fn with_pattern_of_names(object: &mut Map<String, Value>) {
    let pattern = object.get("propertyNames").and_then(|names| names.get("pattern")).and_then(Value::as_str);
    let Some(pattern) = pattern.map(str::to_owned) else { return };
    let others = object.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
    // What is said of the others is not said of the members that are named.
    let named = object.get("properties").and_then(Value::as_object).is_some_and(|named| !named.is_empty());
    if object.contains_key("patternProperties") || (named && others != Value::Bool(true)) {
        return;
    }
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    object.insert("patternProperties".to_owned(), json!({pattern: others}));
    if let Some(Value::Object(names)) = object.get_mut("propertyNames")
        && names.len() == 1
    {
        object.remove("propertyNames");
    }
}

/// Visits a schema and all schemas in it.
pub(super) fn each_schema(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    const NAMED: [&str; 6] =
        ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
    const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
    match schema {
        Value::Object(object) => {
            visit(object);
            for (key, value) in object.iter_mut().filter(|(key, _)| !DATA.contains(&key.as_str())) {
                match value {
                    Value::Object(named) if NAMED.contains(&key.as_str()) => {
                        named.values_mut().for_each(|value| each_schema(value, visit));
                    }
                    value => each_schema(value, visit),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| each_schema(value, visit)),
        _ => {}
    }
}

/// The schema with how its JSON is to be written: as the models were taught to write it, and on one line, because blanks
/// are allowed without end otherwise.
fn with_options(schema: &Value) -> Result<Value> {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::Bool(true) => Value::Object(Map::new()),
        Value::Bool(false) => return Err(usage("no answer can keep the schema `false`")),
        _ => return Err(usage("a schema is an object, true or false")),
    };
    let options = JsonCompileOptions {
        item_separator: ", ".to_owned(),
        key_separator: ": ".to_owned(),
        whitespace_flexible: false,
        lenient: true,
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_written_as_the_grammar_takes_them_and_those_of_names_become_members() {
        let mut schema = json!({
            "properties": {"pattern": {"pattern": r"^(?!x)[a-z]+$"}, "p": {"pattern": r"^(?=.*\d)(?=.*a)[a-z\d]+$"}},
            "propertyNames": {"pattern": "^[a-z]+$"},
            "items": {"propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}},
            "contains": {"properties": {"a": true}, "propertyNames": {"pattern": "^b"}, "additionalProperties": false},
            "examples": [{"pattern": "(?=a)"}]
        });
        assert_eq!(with_patterns(&mut schema), ["pattern is widened in 1 places"]);
        let expected = json!({
            "properties": {"pattern": {"pattern": "^[a-z]+$"},
                           "p": {"pattern": r"^[a-z\d]+$", "allOf": [{"pattern": r"^(?:.*\d)"}, {"pattern": "^(?:.*a)"}]}},
            "patternProperties": {"^[a-z]+$": true}, "additionalProperties": false,
            "items": {"patternProperties": {"^[a-z]+$": {"type": "integer"}}, "additionalProperties": false},
            "contains": {"properties": {"a": true}, "propertyNames": {"pattern": "^b"}, "additionalProperties": false},
            "examples": [{"pattern": "(?=a)"}]
        });
        assert_eq!(schema, expected);
        let mut one = json!({"patternProperties": {"^(?!x)a": {"type": "string"}, "^a": {"type": "integer"}}});
        let before = one.clone();
        with_patterns(&mut one);
        assert_eq!(one, before, "two patterns that would become one stay");
    }

    #[test]
    fn bounds_that_no_number_keeps_are_told_apart() {
        let object = |schema: Value| schema.as_object().cloned().expect("an object");
        assert!(contradicts(&object(json!({"minimum": 5, "maximum": 3}))));
        assert!(contradicts(&object(json!({"exclusiveMinimum": 5, "minimum": 0, "exclusiveMaximum": 4.5}))));
        assert!(!contradicts(&object(json!({"minimum": 3, "maximum": 3, "exclusiveMaximum": true}))));
        assert!(!contradicts(&object(json!({"minimum": 3}))));
    }

    #[test]
    fn a_dynamic_reference_to_the_only_anchor_is_a_plain_one() {
        let plain = |mut schema: Value| {
            with_plain_references(&mut schema);
            schema
        };
        assert_eq!(
            plain(json!({"$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}})),
            json!({"items": {"$ref": "#n"}, "$anchor": "n"})
        );
        assert_eq!(
            plain(json!({"$recursiveAnchor": true, "items": {"$recursiveRef": "#"}})),
            json!({"items": {"$ref": "#"}})
        );
        for several in [
            json!({"$defs": {"a": {"$anchor": "a", "$dynamicAnchor": "n"}, "b": {"$anchor": "b", "$dynamicAnchor": "n"}},
                   "$dynamicRef": "#n"}),
            json!({"$defs": {"a": {"$recursiveAnchor": true}}, "items": {"$recursiveRef": "#"}}),
        ] {
            assert_eq!(plain(several.clone()), several);
        }
    }
}
