//! A JSON Schema written as the grammar's compiler takes it: what is rewritten means the same.
//!
//! The compiler ignores some keywords and cannot express others; where the same can be said in words that it knows, it is.
//! Types of which no value is left are taken out, so that a schema that nothing keeps is refused and not begun.

use super::schema::each_schema;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Object = Map<String, Value>;

/// All types; `number` holds the integers.
const TYPES: [&str; 6] = ["null", "boolean", "object", "array", "number", "string"];

/// The schema, rewritten.
pub(super) fn rewritten(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let old = schema
        .get("$schema")
        .and_then(Value::as_str)
        .is_some_and(|draft| ["draft-04", "draft-06", "draft-07"].iter().any(|old| draft.contains(old)));
    with_plain_references(&mut schema);
    let root = schema.clone();
    each_schema(&mut schema, &mut |object| {
        if old && object.contains_key("$ref") {
            only_the_reference(object);
        }
        with_whole_bounds(object);
        with_other_types(object);
        with_what_follows_anyway(
            object,
            if old { &["dependencies"] } else { &["dependentRequired", "dependentSchemas"] },
        );
        with_names_as_members(object);
        if !old {
            with_known_members(object, &root);
        }
        with_enough_members(object);
        without_impossible_types(object);
    });
    schema
}

/// Makes a schema one that nothing keeps.
fn never(object: &mut Object) {
    object.retain(|keyword, _| ["$schema", "$id", "$defs", "definitions"].contains(&keyword.as_str()));
    object.insert("enum".to_owned(), json!([]));
}

/// Up to draft 7 nothing counts beside a reference.
fn only_the_reference(object: &mut Object) {
    const COUNTS_NOT: &str = "type enum const properties patternProperties additionalProperties required propertyNames \
        minProperties maxProperties dependencies items additionalItems contains minItems maxItems uniqueItems allOf anyOf oneOf \
        not if then else pattern format minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf id $id";
    object.retain(|keyword, _| COUNTS_NOT.split(' ').all(|other| other != keyword));
}

/// Bounds of lengths and counts as whole numbers: 2 for 2.0. One beyond all answers is as good as none.
fn with_whole_bounds(object: &mut Object) {
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
    /// Longer than any answer.
    const ENDLESS: f64 = 1e7;
    for bound in BOUNDS {
        let number = object.get(bound).and_then(Value::as_f64).filter(|number| number.fract() == 0.0 && *number >= 0.0);
        match number {
            Some(number) if number >= ENDLESS && bound.starts_with("max") => drop(object.remove(bound)),
            Some(number) => drop(object.insert(bound.to_owned(), Value::from(number as u64))),
            None => {}
        }
    }
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

/// The types that a schema allows, `integer` beside `number` where it is named alone.
fn types(object: &Object) -> Vec<String> {
    match object.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => TYPES.map(str::to_owned).to_vec(),
    }
}

fn set_types(object: &mut Object, left: &[String]) {
    match left {
        [] => never(object),
        [one] => drop(object.insert("type".to_owned(), Value::from(one.as_str()))),
        several => drop(object.insert("type".to_owned(), several.into())),
    }
}

/// What must not be of some types is of the others; what must not be anything is nothing.
fn with_other_types(object: &mut Object) {
    let Some(not) = object.get("not") else { return };
    if *not == Value::Bool(true) || not.as_object().is_some_and(Map::is_empty) {
        return never(object);
    }
    let Some(not) = not.as_object().filter(|not| not.len() == 1 && not.contains_key("type")) else { return };
    let forbidden = types(not);
    // What is a number and no integer has no name.
    if forbidden.iter().any(|kind| kind == "integer") && !forbidden.iter().any(|kind| kind == "number") {
        return;
    }
    let is_number = |kind: &str| kind == "integer" && forbidden.iter().any(|kind| kind == "number");
    let left: Vec<String> =
        types(object).into_iter().filter(|kind| !forbidden.contains(kind) && !is_number(kind)).collect();
    object.remove("not");
    set_types(object, &left);
}

fn names(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn require(object: &mut Object, more: impl IntoIterator<Item = String>) {
    let mut required = names(object.get("required")).unwrap_or_default();
    for name in more {
        if !required.contains(&name) {
            required.push(name);
        }
    }
    object.insert("required".to_owned(), required.into());
}

/// What follows from a member that must be there follows anyway.
fn with_what_follows_anyway(object: &mut Object, keywords: &[&str]) {
    for &keyword in keywords {
        loop {
            let required = names(object.get("required")).unwrap_or_default();
            let Some(Value::Object(follows)) = object.get_mut(keyword) else { break };
            let Some(name) = required.iter().find(|name| follows.contains_key(*name)) else { break };
            let Some(what) = follows.remove(name) else { break };
            if follows.is_empty() {
                object.remove(keyword);
            }
            if let Some(more) = names(Some(&what)) {
                require(object, more);
            } else if let Value::Array(all) = object.entry("allOf").or_insert(Value::Array(Vec::new())) {
                all.push(what);
            }
        }
    }
}

/// Names that are listed are members, and there are no others.
fn with_names_as_members(object: &mut Object) {
    /// Names at most.
    const MOST: usize = 1_000;
    let listed = object.get("propertyNames").and_then(Value::as_object);
    let alone = |listed: &&Object| listed.keys().all(|keyword| ["enum", "type"].contains(&keyword.as_str()));
    let Some(listed) = listed.filter(alone).and_then(|listed| names(listed.get("enum"))) else { return };
    if listed.len() > MOST || object.contains_key("patternProperties") || object.contains_key("unevaluatedProperties") {
        return;
    }
    let others = object.insert("additionalProperties".to_owned(), Value::Bool(false)).unwrap_or(Value::Bool(true));
    object.remove("propertyNames");
    if let Value::Object(members) = object.entry("properties").or_insert(Value::Object(Map::new())) {
        for (name, member) in members.iter_mut() {
            if !listed.contains(name) {
                *member = Value::Bool(false);
            }
        }
        for name in listed {
            members.entry(name).or_insert(others.clone());
        }
    }
}

/// Members that all of several schemas know are known to the whole, where it forbids those that none of them knows.
fn with_known_members(object: &mut Object, root: &Value) {
    if object.get("unevaluatedProperties") != Some(&Value::Bool(false)) {
        return;
    }
    let mut known = Known::default();
    if !known.add(object, root, 0) {
        return;
    }
    for keyword in ["allOf", "$ref", "unevaluatedProperties"] {
        object.remove(keyword);
    }
    object.insert("properties".to_owned(), known.members.into());
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    if known.is_object {
        object.insert("type".to_owned(), Value::from("object"));
    }
    require(object, known.required);
}

/// What some schemas say together of an object.
#[derive(Default)]
struct Known {
    members: Object,
    required: Vec<String>,
    is_object: bool,
}

impl Known {
    /// Whether a schema says no more than this can hold.
    fn add(&mut self, object: &Object, root: &Value, depth: usize) -> bool {
        const NOTES: [&str; 10] = [
            "$schema",
            "$id",
            "$defs",
            "definitions",
            "$comment",
            "title",
            "description",
            "default",
            "examples",
            "$anchor",
        ];
        /// Schemas within one another at most.
        const DEEPEST: usize = 8;
        if depth > DEEPEST {
            return false;
        }
        object.iter().all(|(keyword, value)| match (keyword.as_str(), value) {
            ("type", value) if value == "object" => {
                self.is_object = true;
                true
            }
            ("properties", Value::Object(members)) => {
                for (name, member) in members {
                    let both = match self.members.remove(name) {
                        Some(other) if other != *member => json!({"allOf": [other, member]}),
                        _ => member.clone(),
                    };
                    self.members.insert(name.clone(), both);
                }
                true
            }
            ("required", value) => names(Some(value)).is_some_and(|names| {
                self.required.extend(names);
                true
            }),
            ("allOf", Value::Array(all)) => {
                all.iter().all(|branch| branch.as_object().is_some_and(|branch| self.add(branch, root, depth + 1)))
            }
            ("$ref", Value::String(reference)) => reference
                .strip_prefix('#')
                .and_then(|pointer| root.pointer(pointer))
                .and_then(Value::as_object)
                .is_some_and(|target| !target.contains_key("$id") && self.add(target, root, depth + 1)),
            ("unevaluatedProperties" | "minProperties" | "maxProperties", _) => depth == 0,
            (note, _) => NOTES.contains(&note),
        })
    }
}

/// As many members as there can be are all of them.
fn with_enough_members(object: &mut Object) {
    let Some(least) = object.get("minProperties").and_then(Value::as_u64) else { return };
    let Some(members) = only_members(object) else { return };
    if members.len() as u64 == least {
        object.remove("minProperties");
        require(object, members);
    }
}

/// The members of an object that has no others.
pub(super) fn only_members(object: &Object) -> Option<Vec<String>> {
    let closed =
        object.get("additionalProperties") == Some(&Value::Bool(false)) && !object.contains_key("patternProperties");
    let members = object.get("properties").and_then(Value::as_object);
    let possible = |members: &Object| {
        members.iter().filter(|(_, member)| **member != Value::Bool(false)).map(|(name, _)| name.clone()).collect()
    };
    closed.then(|| members.map_or_else(Vec::new, possible))
}

/// Takes the types away of which no value keeps the schema's own bounds.
fn without_impossible_types(object: &mut Object) {
    let number = |keyword: &str| object.get(keyword).and_then(Value::as_u64);
    let over = |least: &str, most: &str| number(least).zip(number(most)).is_some_and(|(least, most)| least > most);
    let required = object.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let most = only_members(object).map(|members| members.len() as u64);
    let too_few = most.is_some_and(|most| number("minProperties").is_some_and(|least| least > most));
    let distinct = distinct_items(object);
    let impossible = |kind: &str| match kind {
        "string" => over("minLength", "maxLength"),
        "object" => {
            over("minProperties", "maxProperties")
                || too_few
                || number("maxProperties").is_some_and(|most| required > most)
        }
        "array" => {
            over("minItems", "maxItems")
                || distinct.is_some_and(|most| number("minItems").is_some_and(|least| least > most))
        }
        "integer" => !has_number(object, true),
        "number" => !has_number(object, false),
        _ => false,
    };
    let all = types(object);
    let left: Vec<String> = all.iter().filter(|kind| !impossible(kind)).cloned().collect();
    if let Some(most) = distinct {
        let most = number("maxItems").map_or(most, |given| given.min(most));
        object.insert("maxItems".to_owned(), Value::from(most));
    }
    if left.len() < all.len() {
        set_types(object, &left);
    }
}

/// How many items a list can have that must differ, where they are of a few values.
fn distinct_items(object: &Object) -> Option<u64> {
    if object.get("uniqueItems") != Some(&Value::Bool(true)) || object.contains_key("prefixItems") {
        return None;
    }
    let items = object.get("items")?.as_object()?;
    let listed = match (items.get("enum"), items.get("const"), items.get("type").and_then(Value::as_str)) {
        (Some(Value::Array(values)), ..) => values.len(),
        (None, Some(_), _) | (None, None, Some("null")) => 1,
        (None, None, Some("boolean")) => 2,
        _ => return None,
    };
    Some(listed as u64)
}

/// Whether a number, or a whole one, keeps the bounds of a schema.
fn has_number(object: &Object, whole: bool) -> bool {
    /// Beyond it not every whole number can be told from its neighbours.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = |keyword: &str| object.get(keyword).and_then(Value::as_f64);
    // Up to draft 4 `exclusiveMinimum` says of `minimum` that it is exclusive.
    let is = |keyword: &str| object.get(keyword) == Some(&Value::Bool(true));
    let (low, above) = (number("minimum"), number("exclusiveMinimum"));
    let (high, below) = (number("maximum"), number("exclusiveMaximum"));
    let (Some(least), Some(most)) =
        (low.into_iter().chain(above).reduce(f64::max), high.into_iter().chain(below).reduce(f64::min))
    else {
        return true;
    };
    let open_below = is("exclusiveMinimum") || above == Some(least);
    let open_above = is("exclusiveMaximum") || below == Some(most);
    if least > most || (least == most && (open_below || open_above)) {
        return false;
    }
    let step = match number("multipleOf") {
        Some(step) if step > 0.0 && (!whole || step.fract() == 0.0) => step,
        None if whole => 1.0,
        _ => return true,
    };
    // Steps that are no whole numbers are not exact: those are left to the check.
    if step.fract() != 0.0 || least.abs().max(most.abs()) > EXACT {
        return true;
    }
    let mut first = (least / step).ceil() * step;
    if open_below && first == least {
        first += step;
    }
    first < most || (first == most && !open_above)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_never(schema: &Value) -> bool {
        rewritten(schema).get("enum") == Some(&json!([]))
    }

    #[test]
    fn what_no_value_keeps_is_known() {
        for schema in [
            json!({"type": "integer", "minimum": 1.2, "maximum": 1.8}),
            json!({"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 3}),
            json!({"type": "number", "minimum": 3, "exclusiveMinimum": true, "maximum": 3}),
            json!({"type": "integer", "minimum": 10, "maximum": 12, "multipleOf": 7}),
            json!({"type": "object", "minProperties": 3, "maxProperties": 1}),
            json!({"type": "object", "minProperties": 2, "properties": {"a": true}, "additionalProperties": false}),
            json!({"not": {}}),
            json!({"not": true}),
            json!({"type": "string", "not": {"type": ["string", "null"]}}),
            json!({"type": "array", "uniqueItems": true, "items": {"type": "boolean"}, "minItems": 3}),
            json!({"type": ["string", "array"], "minLength": 3, "maxLength": 2, "minItems": 2, "maxItems": 1}),
        ] {
            assert!(is_never(&schema), "{schema}");
        }
        for schema in [
            json!({"type": "integer", "minimum": 1.2, "maximum": 2}),
            json!({"type": "number", "minimum": 3, "maximum": 3}),
            json!({"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.3}),
            json!({"type": "integer", "minimum": 14, "maximum": 14, "multipleOf": 7}),
            json!({"minimum": 5, "maximum": 3}),
            json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}}),
            json!({"type": ["integer", "string"], "minimum": 5, "maximum": 3}),
        ] {
            assert!(!is_never(&schema), "{schema}");
        }
        assert_eq!(rewritten(&json!({"type": ["integer", "string"], "minimum": 5, "maximum": 3}))["type"], "string");
    }

    #[test]
    fn what_can_be_said_in_other_words_is() {
        for (schema, expected) in [
            (json!({"not": {"type": ["string", "object", "array"]}}), json!({"type": ["null", "boolean", "number"]})),
            (json!({"not": {"type": "integer"}}), json!({"not": {"type": "integer"}})),
            (json!({"maxLength": 1e12, "minItems": 2.0}), json!({"minItems": 2})),
            (
                json!({"required": ["a"], "dependentRequired": {"a": ["b"], "b": ["c"], "x": ["y"]}}),
                json!({"required": ["a", "b", "c"], "dependentRequired": {"x": ["y"]}}),
            ),
            (
                json!({"propertyNames": {"enum": ["yes", "no"]}, "additionalProperties": {"type": "integer"}, "minProperties": 2}),
                json!({"additionalProperties": false, "properties": {"yes": {"type": "integer"}, "no": {"type": "integer"}},
                       "required": ["yes", "no"]}),
            ),
            (
                json!({"allOf": [{"$ref": "#/$defs/named"}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}],
                       "unevaluatedProperties": false, "$defs": {"named": {"type": "object", "properties": {"a": true}, "required": ["a"]}}}),
                json!({"type": "object", "properties": {"a": true, "b": {"type": "integer"}}, "required": ["a", "b"],
                       "additionalProperties": false, "$defs": {"named": {"type": "object", "properties": {"a": true}, "required": ["a"]}}}),
            ),
            (
                json!({"items": {"enum": ["a", "b"]}, "uniqueItems": true}),
                json!({"items": {"enum": ["a", "b"]}, "uniqueItems": true, "maxItems": 2}),
            ),
        ] {
            assert_eq!(rewritten(&schema), expected);
        }
        let open = json!({"anyOf": [{"properties": {"a": true}}], "unevaluatedProperties": false});
        assert_eq!(rewritten(&open), open);
    }

    #[test]
    fn up_to_draft_7_nothing_counts_beside_a_reference() {
        let schema = |draft: &str| {
            json!({"$schema": draft, "definitions": {"s": {"type": "string"}},
            "properties": {"a": {"$ref": "#/definitions/s", "type": "integer"}}})
        };
        let old = rewritten(&schema("http://json-schema.org/draft-07/schema#"));
        assert_eq!(old["properties"]["a"], json!({"$ref": "#/definitions/s"}));
        let new = schema("https://json-schema.org/draft/2020-12/schema");
        assert_eq!(rewritten(&new), new);
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
