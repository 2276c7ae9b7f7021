//! Whether what a schema says of a value that is still being written is settled: whether it will hold, or fail, however the value
//! goes on. A "no" may mean that it is not known here: the answer is judged at its end all the same.

use serde_json::Value;

/// References that are followed one after the other.
const MOST_REFERENCES: usize = 16;
/// What says nothing of a value.
const NOTES: [&str; 9] =
    ["title", "description", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly", "$defs"];
/// A schema, and the answer so far.
#[derive(Clone, Copy)]
pub(super) struct Progress<'a> {
    /// The whole schema, which references and locations point into.
    pub(super) schema: &'a Value,
    /// The answer, closed where it stands.
    pub(super) answer: &'a Value,
    /// JSON Pointers to the values that are not at their end, the whole first. The last one may be a stand-in for a value that is
    /// not begun.
    pub(super) open: &'a [String],
}

impl<'a> Progress<'a> {
    pub(super) fn is_open(&self, place: &str) -> bool {
        self.open.iter().any(|open| open == place)
    }

    /// Whether the kind of the value at a place is known: it is at its end, or it has something within it.
    pub(super) fn has_begun(&self, place: &str) -> bool {
        self.open.last().is_none_or(|last| last != place)
    }

    /// The part of the schema at a location.
    pub(super) fn at(&self, location: &str) -> Option<&'a Value> {
        self.schema.pointer(location)
    }

    /// The schema itself, or what it refers to within the whole.
    fn resolved(&self, schema: &'a Value, depth: usize) -> Option<&'a Value> {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return Some(schema) };
        let alone = schema.as_object().is_some_and(|object| object.len() == 1);
        if depth == MOST_REFERENCES || !alone {
            return None;
        }
        let pointer = reference.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))?;
        self.resolved(self.schema.pointer(pointer)?, depth + 1)
    }

    /// Whether a schema that holds of the value at a place will hold of it at its end.
    pub(super) fn stays(&self, schema: &'a Value, place: &str) -> bool {
        if !self.is_open(place) {
            return true;
        }
        let Some(Value::Object(keywords)) = self.resolved(schema, 0) else { return schema == &Value::Bool(true) };
        keywords.iter().all(|(keyword, says)| match keyword.as_str() {
            "required" | "minProperties" | "minItems" => true,
            "type" => self.has_begun(place),
            "properties" => says.as_object().is_some_and(|members| {
                members.iter().all(|(name, schema)| {
                    let (place, there) = self.member(place, name);
                    there && self.stays(schema, &place)
                })
            }),
            "allOf" => says.as_array().is_some_and(|all| all.iter().all(|schema| self.stays(schema, place))),
            other => NOTES.contains(&other),
        })
    }

    /// Whether a schema will not hold of the value at a place, whatever comes.
    pub(super) fn fails(&self, schema: &'a Value, place: &str) -> bool {
        let Some(value) = self.answer.pointer(place) else { return false };
        let Some(Value::Object(keywords)) = self.resolved(schema, 0) else { return schema == &Value::Bool(false) };
        let at_end = !self.is_open(place);
        keywords.iter().any(|(keyword, says)| match keyword.as_str() {
            "type" => self.has_begun(place) && !is_of(value, says),
            "const" => at_end && value != says,
            "enum" => at_end && says.as_array().is_some_and(|values| !values.contains(value)),
            "required" => {
                let there = |name: &Value| name.as_str().is_none_or(|name| value.get(name).is_some());
                at_end && value.is_object() && says.as_array().is_some_and(|names| !names.iter().all(there))
            }
            "properties" => says.as_object().is_some_and(|members| {
                members.iter().any(|(name, schema)| {
                    let (place, there) = self.member(place, name);
                    there && self.fails(schema, &place)
                })
            }),
            "allOf" => says.as_array().is_some_and(|all| all.iter().any(|schema| self.fails(schema, place))),
            "anyOf" => says.as_array().is_some_and(|any| any.iter().all(|schema| self.fails(schema, place))),
            _ => false,
        })
    }

    /// The place of a member, and whether it is there.
    fn member(&self, place: &str, name: &str) -> (String, bool) {
        let object = self.answer.pointer(place).and_then(Value::as_object);
        (inward(place, name), object.is_some_and(|object| object.contains_key(name)))
    }
}

/// The JSON Pointer to a member of the object at a place.
pub(super) fn inward(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn is_of(value: &Value, says: &Value) -> bool {
    let is = |name: &str| match (name, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_))
        | ("number" | "integer", Value::Number(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        // A name that is unknown here says nothing.
        (name, _) => !["null", "boolean", "string", "number", "integer", "array", "object"].contains(&name),
    };
    match says {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}
