//! A JSON Schema, made ready for the grammar's compiler: written as it wants it, and without what it cannot express.

use super::narrower::narrow;
use super::pattern::{all_of, for_grammar};
use super::rewrite::rewritten;
use crate::error::{Error, Result, usage};
use llguidance::{JsonCompileOptions, Matcher};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Keywords that only narrow what is allowed, so that a grammar without them allows more, and the check finds out.
const DISPENSABLE: [&str; 16] = [
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
    "maxLength",
    "maxItems",
    // What multiplies, as the last resort.
    "oneOf",
    "anyOf",
    "if",
    "allOf",
];

/// The same for one schema's own texts and numbers, by the type that they narrow.
const NARROWING: [(&str, &[&str]); 3] = [
    ("string", &["pattern"]),
    ("string", &["format"]),
    ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
];

/// Bytes of schemas that are compiled for one grammar, at most, and what each adds beside its own.
const MOST_WORK: usize = 4 << 20;
const EACH_WORK: usize = 2 << 10;

/// Values of an enum that are objects or lists, at most, and values of any kind.
const MOST_NESTED: usize = 1_000;
const MOST_VALUES: usize = 60_000;

/// What makes a grammar of a schema.
pub(super) struct Maker<'a> {
    /// Compiles a schema, or says why it cannot.
    pub(super) make: &'a dyn Fn(&Value) -> Result<Matcher>,
    /// Whether texts of a grammar can be written to some length within its limits.
    pub(super) lasts: &'a dyn Fn(&Matcher) -> bool,
    /// Whether the grammar is not wanted any more.
    pub(super) stopped: &'a dyn Fn() -> bool,
    /// The work that was done.
    work: Cell<usize>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(
        make: &'a dyn Fn(&Value) -> Result<Matcher>,
        lasts: &'a dyn Fn(&Matcher) -> bool,
        stopped: &'a dyn Fn() -> bool,
    ) -> Self {
        Self { make, lasts, stopped, work: Cell::new(0) }
    }

    fn made(&self, schema: &Value) -> Result<Matcher> {
        if (self.stopped)() {
            return Err(usage("interrupted before the grammar was made"));
        }
        let schema = with_options(schema)?;
        // The first is always tried.
        if self.work.get() > MOST_WORK {
            return Err(usage(
                "the grammar cannot be used for constrained decoding: it takes too much work to find one",
            ));
        }
        self.work.set(self.work.get() + EACH_WORK + schema.to_string().len());
        (self.make)(&schema)
    }
}

/// Refuses what would become a grammar of so many branches that no answer could be begun.
fn refuse_large_enums(schema: &Value, place: &str) -> Result<()> {
    let inner: Box<dyn Iterator<Item = (String, &Value)>> = match schema {
        Value::Object(keywords) => Box::new(keywords.iter().map(|(keyword, says)| (keyword.clone(), says))),
        Value::Array(list) => Box::new(list.iter().enumerate().map(|(at, one)| (at.to_string(), one))),
        _ => return Ok(()),
    };
    for (step, says) in inner {
        let place = format!("{place}/{step}");
        match (step.as_str(), says) {
            ("enum", Value::Array(values)) if schema.is_object() => {
                let nested = values.iter().filter(|value| value.is_object() || value.is_array()).count();
                for (count, most, what) in
                    [(nested, MOST_NESTED, "objects and lists"), (values.len(), MOST_VALUES, "values")]
                {
                    if count > most {
                        return Err(usage(format!(
                            "the grammar cannot be used for constrained decoding: the enum at {place} has {count} {what}, and it \
                             can follow {most} of them"
                        )));
                    }
                }
            }
            // What stands there are values, not schemas.
            ("const" | "default" | "examples", _) => {}
            _ => refuse_large_enums(says, &place)?,
        }
    }
    Ok(())
}

/// The grammar of a schema, and what it leaves out: one that cannot be made with all keywords is made without some.
pub(super) fn grammar(schema: &Value, maker: &Maker<'_>) -> Result<(Matcher, Vec<String>)> {
    refuse_large_enums(schema, "")?;
    let mut schema = rewritten(schema);
    let mut left_out = with_patterns(&mut schema, &|alone| maker.made(alone).is_ok_and(|made| (maker.lasts)(&made)));
    // What only a narrower grammar keeps is tried first.
    let mut narrower = schema.clone();
    if narrow(&mut narrower)
        && let Ok(start) = maker.made(&narrower)
    {
        return Ok((start, left_out));
    }
    let mut start = maker.made(&schema);
    if start.as_ref().is_err_and(is_unsatisfiable) {
        return Ok((start?, left_out));
    }
    if start.is_err() {
        // First what cannot be expressed where it stands: the other patterns and numbers stay.
        let taken = without_inexpressible(&mut schema, maker);
        start = if taken.is_empty() { start } else { maker.made(&schema).or(start) };
        left_out.extend(taken);
    }
    if start.is_err() {
        // Then one keyword throughout; then more of them.
        let alone = DISPENSABLE.into_iter().find_map(|keyword| {
            let mut lesser = schema.clone();
            without(&mut lesser, keyword).then(|| maker.made(&lesser).ok().map(|start| (keyword, start))).flatten()
        });
        if let Some((keyword, made)) = alone {
            left_out.push(format!("{keyword} is left out"));
            start = Ok(made);
        }
    }
    for keyword in DISPENSABLE {
        if start.is_err() && without(&mut schema, keyword) {
            left_out.push(format!("{keyword} is left out"));
            start = maker.made(&schema).or(start);
        }
    }
    Ok((start?, left_out))
}

/// Whether a schema allows nothing, which is no weakness of the grammar. Of an object with few members that need not be there
/// the compiler says so too, and errs.
fn is_unsatisfiable(error: &Error) -> bool {
    let told = format!("{error:#}");
    told.contains("Unsatisfiable schema") && !told.contains("minProperties (")
}

/// Takes patterns, bounds of numbers and formats out of the schemas whose own cannot be expressed. Returns what was taken.
fn without_inexpressible(schema: &mut Value, maker: &Maker<'_>) -> Vec<String> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    each_schema(schema, &mut |object| {
        for (kind, keywords) in NARROWING {
            let mut alone: Map<String, Value> = object
                .iter()
                .filter(|(key, _)| keywords.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if alone.is_empty() || maker.work.get() > MOST_WORK / 2 {
                continue;
            }
            let integer = kind == "number" && object.get("type").is_some_and(|named| named == "integer");
            alone.insert("type".to_owned(), Value::from(if integer { "integer" } else { kind }));
            if maker.made(&alone.into()).is_err_and(|error| !is_unsatisfiable(&error)) {
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

/// Takes a keyword out of a schema and all schemas in it, and tells whether it was there. What stands under the name of a
/// property or a definition is a schema, not a keyword.
fn without(schema: &mut Value, keyword: &str) -> bool {
    let mut found = false;
    each_schema(schema, &mut |object| {
        if object.remove(keyword).is_some() {
            found = true;
            // What it allowed must not be forbidden now.
            if keyword == "patternProperties" {
                object.remove("additionalProperties");
            }
            if ["patternProperties", "oneOf", "anyOf", "if", "allOf"].contains(&keyword) {
                for other in ["unevaluatedProperties", "unevaluatedItems", "then", "else"] {
                    object.remove(other);
                }
            }
        }
    });
    found
}

/// Writes patterns as the grammar takes them, those of names among them. `lasts` tells of a schema of texts whether its
/// grammar keeps within its limits. Returns what is said of patterns that allow more then.
fn with_patterns(schema: &mut Value, lasts: &dyn Fn(&Value) -> bool) -> Vec<String> {
    let mut widened = 0;
    let mut said = |pattern: &str| {
        let (said, wider) = for_grammar(pattern);
        widened += usize::from(wider);
        said
    };
    each_schema(schema, &mut |object| {
        if let Some(Value::String(pattern)) = object.get("pattern") {
            let mut parts: Vec<Value> = all_of(pattern).iter().map(|part| said(part).into()).collect();
            let last = parts.pop().unwrap_or_default();
            let parts: Vec<Value> = parts.into_iter().map(|part| json!({"pattern": part})).collect();
            // Several patterns at once may be more than the grammar's compiler follows.
            let most = object.get("maxLength").cloned().unwrap_or(Value::from(100));
            if parts.is_empty() || lasts(&json!({"type": "string", "maxLength": most, "pattern": last, "allOf": parts}))
            {
                if let Value::Array(all) = object.entry("allOf").or_insert(Value::Array(Vec::new())) {
                    all.extend(parts);
                    if all.is_empty() {
                        object.remove("allOf");
                    }
                }
                object.insert("pattern".to_owned(), last);
            } else {
                let pattern = said(pattern);
                object.insert("pattern".to_owned(), pattern.into());
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
    // A definition may be called `default`, and what is only a note takes no harm. One that is called `enum` is no list.
    let is_data = |key: &str, value: &Value| key == "const" || (key == "enum" && value.is_array());
    match schema {
        Value::Object(object) => {
            visit(object);
            for (key, value) in object.iter_mut().filter(|(key, value)| !is_data(key, value)) {
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
    fn an_enum_that_no_grammar_can_follow_is_refused_by_its_place() {
        let listed = |values: Vec<Value>| json!({"properties": {"enum": {"enum": values}}});
        let objects = |count: usize| listed((0..count).map(|a| json!({ "a": a })).collect());
        assert!(refuse_large_enums(&objects(MOST_NESTED), "").is_ok());
        let error = refuse_large_enums(&objects(MOST_NESTED + 1), "").unwrap_err().to_string();
        assert!(error.contains("/properties/enum/enum has 1001 objects and lists"), "{error}");
        let texts = listed((0..=MOST_VALUES).map(|a| json!(a.to_string())).collect());
        let error = refuse_large_enums(&texts, "").unwrap_err().to_string();
        assert!(error.contains("60001 values"), "{error}");
        assert!(refuse_large_enums(&json!({"const": objects(MOST_NESTED + 1)}), "").is_ok(), "a value is no schema");
    }

    #[test]
    fn patterns_are_written_as_the_grammar_takes_them_and_those_of_names_become_members() {
        let mut schema = json!({
            "properties": {"pattern": {"pattern": r"^(?!x)[a-z]+$"}, "p": {"pattern": r"^(?=.*\d)(?=.*a)[a-z\d]+$"}},
            "propertyNames": {"pattern": "^[a-z]+$"},
            "items": {"propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}},
            "contains": {"properties": {"a": true}, "propertyNames": {"pattern": "^b"}, "additionalProperties": false},
            "components": {"schemas": {"default": {"pattern": "^(?!x)a$"}}}, "const": [{"pattern": "(?=a)"}]
        });
        assert_eq!(with_patterns(&mut schema, &|_| true), ["pattern is widened in 2 places"]);
        let expected = json!({
            "properties": {"pattern": {"pattern": "^[a-z]+$"},
                           "p": {"pattern": r"^[a-z\d]+$", "allOf": [{"pattern": r"^(?:.*\d)"}, {"pattern": "^(?:.*a)"}]}},
            "patternProperties": {"^[a-z]+$": true}, "additionalProperties": false,
            "items": {"patternProperties": {"^[a-z]+$": {"type": "integer"}}, "additionalProperties": false},
            "contains": {"properties": {"a": true}, "propertyNames": {"pattern": "^b"}, "additionalProperties": false},
            "components": {"schemas": {"default": {"pattern": "^a$"}}}, "const": [{"pattern": "(?=a)"}]
        });
        assert_eq!(schema, expected);
        let mut one = json!({"patternProperties": {"^(?!x)a": {"type": "string"}, "^a": {"type": "integer"}}});
        let before = one.clone();
        with_patterns(&mut one, &|_| true);
        assert_eq!(one, before, "two patterns that would become one stay");
        let mut many = json!({"pattern": r"^(?=.*\d)[a-z\d]+$"});
        assert_eq!(with_patterns(&mut many, &|_| false), ["pattern is widened in 1 places"]);
        assert_eq!(many, json!({"pattern": r"^[a-z\d]+$"}), "what is too much at once is looked for by the check");
    }
}
