//! What a schema may cost: bounds that hold before it is compiled.
//!
//! Validators follow references and combinations without keeping count, so that a short schema can ask for more work than
//! any machine does: `allOf` of twice the same reference, thirty levels deep, is a thousand million checks of one value.

use super::message::shorten;
use serde_json::Value;
use std::collections::HashMap;

/// Schemas that are applied to one and the same value, at most.
const MOST_CHECKS: u64 = 100_000;
/// Patterns of one schema, at most.
const MOST_PATTERNS: usize = 1_000;
/// Bytes of one compiled pattern, at most, and of all together.
const LARGEST_PATTERN: usize = 4 << 20;
const LARGEST_PATTERNS: usize = 256 << 20;

/// Keywords that apply one schema to the same value.
const ONE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords that apply a list of schemas to the same value.
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords whose values are data, not schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Schemas that are applied within one another to the same value, at most: validators recurse.
const DEEPEST: usize = 256;

/// The bytes that each compiled pattern of the schema may take; or why the schema asks for too much.
pub(super) fn check(schema: &Value) -> Result<usize, String> {
    let patterns = count_patterns(schema);
    if patterns > MOST_PATTERNS {
        return Err(format!("it has {patterns} patterns, and at most {MOST_PATTERNS} are compiled"));
    }
    Walk::default().all(schema, schema)?;
    Ok(LARGEST_PATTERN.min(LARGEST_PATTERNS / patterns.max(1)))
}

fn count_patterns(value: &Value) -> usize {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let own = match (key.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(patterns)) => patterns.len(),
                    _ => 0,
                };
                own + count_patterns(value)
            })
            .sum(),
        Value::Array(list) => list.iter().map(count_patterns).sum(),
        _ => 0,
    }
}

/// How many schemas are applied to one value, counted once for each schema. References to a place in the same document
/// are followed; those by other names count as one schema.
#[derive(Default)]
struct Walk {
    /// By the address of the schema in memory; `None` while it is being counted.
    checks: HashMap<*const Value, Option<u64>>,
}

impl Walk {
    /// Counts for every value that can be a schema, wherever it stands in `document`.
    fn all<'a>(&mut self, value: &'a Value, document: &'a Value) -> Result<(), String> {
        match value {
            Value::Object(object) => {
                let document = document_of(value, document);
                self.count(value, document, 0)?;
                let inner = object.iter().filter(|(key, _)| !DATA.contains(&key.as_str()));
                inner.map(|(_, value)| value).try_for_each(|value| self.all(value, document))
            }
            Value::Array(list) => list.iter().try_for_each(|value| self.all(value, document)),
            _ => Ok(()),
        }
    }

    fn count<'a>(&mut self, schema: &'a Value, document: &'a Value, depth: usize) -> Result<u64, String> {
        let Value::Object(object) = schema else { return Ok(1) };
        match self.checks.get(&std::ptr::from_ref(schema)) {
            Some(Some(known)) => return Ok(*known),
            // A schema that comes back to itself before it looks into the value would never end.
            Some(None) => return Err("it refers back to itself for the same value, without end".to_owned()),
            None => {}
        }
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} of its schemas refer to one another for the same value"));
        }
        self.checks.insert(schema, None);
        let document = document_of(schema, document);
        let mut inner: Vec<&Value> = Vec::new();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("$ref", Value::String(reference)) => {
                    inner.extend(reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer)));
                }
                ("dependentSchemas", Value::Object(schemas)) => inner.extend(schemas.values()),
                (key, Value::Array(list)) if LISTS.contains(&key) => inner.extend(list),
                (key, value) if ONE.contains(&key) => inner.push(value),
                _ => {}
            }
        }
        let mut checks: u64 = 1;
        for value in inner {
            checks = checks.saturating_add(self.count(value, document, depth + 1)?);
        }
        if checks > MOST_CHECKS {
            let start = shorten(&schema.to_string(), 80);
            return Err(format!(
                "its references and combinations multiply to more than {MOST_CHECKS} schemas for one value, at {start}"
            ));
        }
        self.checks.insert(schema, Some(checks));
        Ok(checks)
    }
}

/// The document that `#` means within a schema: one with an `$id` is a document of its own.
fn document_of<'a>(schema: &'a Value, document: &'a Value) -> &'a Value {
    let own = schema.get("$id").and_then(Value::as_str).is_some_and(|id| !id.starts_with('#'));
    if own { schema } else { document }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Schemas named `s0`, `s1`, … of which each combines the one before it twice.
    fn doubled(levels: usize) -> Value {
        let mut schemas = serde_json::Map::new();
        schemas.insert("s0".to_owned(), json!({"type": "integer"}));
        for level in 1..=levels {
            let before = json!({"$ref": format!("#/$defs/s{}", level - 1)});
            schemas.insert(format!("s{level}"), json!({"allOf": [before, before]}));
        }
        json!({"$defs": schemas, "$ref": format!("#/$defs/s{levels}")})
    }

    #[test]
    fn combinations_that_multiply_are_refused() {
        assert!(check(&doubled(10)).is_ok());
        assert!(check(&doubled(60)).unwrap_err().contains("multiply"));
    }

    #[test]
    fn a_schema_that_never_looks_into_its_value_is_refused() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"anyOf": [{"type": "string"}, {"$ref": "#"}]}),
            json!({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"not": {"$ref": "#/$defs/x"}}}}),
        ] {
            assert!(check(&schema).unwrap_err().contains("without end"), "{schema}");
        }
        let mut chain = serde_json::Map::new();
        for link in 0..10_000 {
            chain.insert(format!("c{link}"), json!({"$ref": format!("#/$defs/c{}", link + 1)}));
        }
        assert!(check(&json!({"$defs": chain})).unwrap_err().contains("refer to one another"));
    }

    #[test]
    fn recursion_into_the_value_and_data_that_look_like_references_are_fine() {
        for schema in [
            json!({"properties": {"child": {"$ref": "#"}, "not": {"$ref": "#"}}, "items": {"$ref": "#"}}),
            json!({"const": {"$ref": "#/const"}, "examples": [{"$ref": "#/examples/0"}]}),
            json!({"$defs": {"inner": {"$id": "inner", "items": {"allOf": [{"$ref": "#"}]}}}, "allOf": [{"$ref": "#/$defs/inner"}]}),
        ] {
            assert_eq!(check(&schema), Ok(LARGEST_PATTERN), "{schema}");
        }
    }

    #[test]
    fn patterns_are_bounded_in_number_and_share_their_memory() {
        let with = |count: usize| {
            let patterns: serde_json::Map<_, _> = (0..count).map(|i| (format!("^p{i}$"), json!(true))).collect();
            json!({"patternProperties": patterns})
        };
        assert_eq!(check(&with(256)), Ok(LARGEST_PATTERNS / 256));
        assert!(check(&with(1001)).unwrap_err().contains("1001 patterns"));
    }
}
