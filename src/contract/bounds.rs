//! What a schema may cost, found out before and beside validation.
//!
//! Validators follow references and combinations without keeping count, so that a short schema can ask for more work than
//! any machine does: `allOf` of twice the same reference, thirty levels deep, is a thousand million checks of one value. Here a
//! schema is a graph of what the validator will compile, followed from the root by the validator's own resolver: which schemas
//! it applies to the same value, and which to what is in the value. A value's cost is counted along that graph.

use super::message::shorten;
use jsonschema::{Draft, ReferencingError, Registry};
use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};

/// Schemas within one, at most: each takes some four kilobytes when it is compiled.
const MOST_SCHEMAS: usize = 60_000;
/// Schemas that are applied to one and the same value, at most.
const MOST_CHECKS: u64 = 100_000;
/// Schemas that are applied to an answer and all values in it, at most.
const MOST_WORK: u64 = 50_000_000;
/// Schemas that are applied within one another to the same value, at most: validators recurse.
const DEEPEST: usize = 256;
/// The same along one path into a value.
const DEEPEST_PATH: usize = 1_000;
/// Patterns of one schema, at most.
const MOST_PATTERNS: usize = 2_000;
/// Bytes of one compiled pattern, at most, and of all together.
const LARGEST_PATTERN: usize = 4 << 20;
const LARGEST_PATTERNS: usize = 256 << 20;

/// One schema: others by their numbers.
#[derive(Debug, Default)]
struct Node {
    /// What is applied to the same value.
    same: Vec<usize>,
    /// Whether all of that is asked once more, for what it says about members or elements.
    again: bool,
    /// What is applied to each element of a list.
    elements: Vec<usize>,
    /// What is applied to elements in their places.
    places: HashMap<usize, usize>,
    /// What is applied to members by their names.
    members: HashMap<String, usize>,
    /// What is applied to members by patterns and to the others: taken to be all of them.
    others: Vec<usize>,
    /// What is applied to the names of members.
    names: Vec<usize>,
}

/// How a schema applies another one.
#[derive(Debug, Clone, Copy)]
enum To<'a> {
    Same,
    Elements,
    Place(usize),
    Member(&'a str),
    Others,
    Names,
}

impl Node {
    fn apply(&mut self, to: To<'_>, other: usize) {
        match to {
            To::Same => self.same.push(other),
            To::Elements => self.elements.push(other),
            To::Place(place) => drop(self.places.insert(place, other)),
            To::Member(name) => drop(self.members.insert(name.to_owned(), other)),
            To::Others => self.others.push(other),
            To::Names => self.names.push(other),
        }
    }
}

/// How many schemas are applied to one value: to judge it, and to find out once more what is known of its members.
#[derive(Debug, Clone, Copy)]
struct Checks {
    all: u64,
    again: u64,
}

#[derive(Clone, Copy)]
enum Count {
    Unknown,
    Begun,
    Known(Checks),
}

/// The graph of what is compiled of a schema.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// The schema itself is the first; one that is true or false is none.
    nodes: Vec<Node>,
    checks: Vec<Checks>,
    patterns: usize,
    /// A reference that leads nowhere: the validator must refuse it.
    pub(super) unresolved: Option<String>,
}

/// Why a schema is not compiled.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It asks for too much, whatever the value.
    TooMuch(String),
    /// It refers to what is not there, or its address is none.
    Reference(ReferencingError),
}

impl From<ReferencingError> for Refusal {
    fn from(error: ReferencingError) -> Self {
        Self::Reference(error)
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::TooMuch(reason)
    }
}

impl Bounds {
    /// The bounds of a schema beside those that it may refer to. `draft` is set where the schema names none.
    pub(super) fn of(schema: &Value, draft: Option<Draft>, others: &Registry<'_>) -> Result<Self, Refusal> {
        let set = draft.is_some();
        let draft = draft.unwrap_or_else(|| Draft::default().detect(schema));
        let root = draft.create_resource_ref(schema);
        let address = jsonschema::uri::from_str(root.id().unwrap_or("json-schema:///"))?;
        let registry =
            others.add(address.as_str(), root)?.draft(draft).retrieve_known_draft_meta_schemas(!set).prepare()?;
        let mut bounds = Self::default();
        // Which schema a dynamic anchor means depends on the documents that led to it.
        let dynamic = has_dynamic_anchors(schema);
        let mut numbers = HashMap::new();
        let mut starts = Vec::new();
        let mut waiting = VecDeque::new();
        if schema.is_object() {
            waiting.push_back((schema, registry.resolver(address), draft));
            starts.push(schema);
        }
        while let Some((schema, resolver, draft)) = waiting.pop_front() {
            let Value::Object(object) = schema else { continue };
            let mut node = Node::default();
            let mut applied = Vec::new();
            let old = matches!(draft, Draft::Draft4 | Draft::Draft6 | Draft::Draft7);
            let older = old || draft == Draft::Draft201909;
            // Up to draft 7 nothing counts beside a reference.
            let alone = old && object.contains_key("$ref");
            for (keyword, value) in object {
                let found = match (keyword.as_str(), value) {
                    ("$ref", Value::String(reference)) => {
                        let found = resolver.lookup(reference);
                        if found.is_err() {
                            bounds.unresolved.get_or_insert_with(|| reference.clone());
                        }
                        found.ok()
                    }
                    ("$dynamicRef", Value::String(reference)) if !older => resolver.lookup(reference).ok(),
                    ("$recursiveRef", _) if draft == Draft::Draft201909 => resolver.lookup_recursive_ref().ok(),
                    _ => None,
                };
                if let Some(found) = found {
                    let (schema, resolver, draft) = found.into_inner();
                    applied.push((To::Same, schema, resolver, draft));
                }
                if alone {
                    continue;
                }
                node.again |= matches!(keyword.as_str(), "unevaluatedProperties" | "unevaluatedItems");
                bounds.patterns += match (keyword.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(named)) => named.len(),
                    _ => 0,
                };
                for (to, schema) in applied_by(keyword, value) {
                    let draft = draft.detect(schema);
                    let inner = resolver.in_subresource(draft.create_resource_ref(schema));
                    applied.push((to, schema, inner?, draft));
                }
            }
            for (to, schema, resolver, draft) in applied.into_iter().filter(|(_, schema, _, _)| schema.is_object()) {
                let mut scope: Vec<String> = Vec::new();
                if dynamic {
                    let listed: Vec<String> =
                        resolver.dynamic_scope().iter().map(|uri| uri.as_str().to_owned()).collect();
                    // The outermost counts; one that is met again adds nothing.
                    for address in listed.into_iter().rev() {
                        if !scope.contains(&address) {
                            scope.push(address);
                        }
                    }
                }
                let key = (std::ptr::from_ref(schema), resolver.base_uri().as_str().to_owned(), scope);
                let number = *numbers.entry(key).or_insert_with(|| {
                    starts.push(schema);
                    waiting.push_back((schema, resolver, draft));
                    starts.len() - 1
                });
                node.apply(to, number);
            }
            bounds.nodes.push(node);
            if starts.len() > MOST_SCHEMAS {
                return Err(
                    format!("it has more than {MOST_SCHEMAS} schemas within it, and no more are compiled").into()
                );
            }
        }
        if bounds.patterns > MOST_PATTERNS {
            return Err(format!("it has {} patterns, and at most {MOST_PATTERNS} are compiled", bounds.patterns).into());
        }
        let mut counts = vec![Count::Unknown; bounds.nodes.len()];
        for (node, start) in starts.iter().enumerate() {
            let checks = bounds.count(node, 0, &mut counts)?;
            if checks.all > MOST_CHECKS {
                let start = shorten(&start.to_string(), 80);
                return Err(format!(
                    "its references and combinations multiply to more than {MOST_CHECKS} schemas for one value, at {start}"
                )
                .into());
            }
            bounds.checks.push(checks);
        }
        Ok(bounds)
    }

    /// Bytes that each compiled pattern may take.
    pub(super) fn largest_pattern(&self) -> usize {
        LARGEST_PATTERN.min(LARGEST_PATTERNS / self.patterns.max(1))
    }

    /// How many schemas are applied to a value and to all in it; `None` where they are too many to be applied in bounded time
    /// and depth.
    pub(super) fn cost(&self, value: &Value) -> Option<u64> {
        let mut left = MOST_WORK;
        if !self.nodes.is_empty() {
            self.spend(0, value, 0, &mut left)?;
        }
        Some(MOST_WORK - left)
    }

    fn spend(&self, node: usize, value: &Value, depth: usize, left: &mut u64) -> Option<()> {
        let (checks, node) = (self.checks[node], &self.nodes[node]);
        if depth > DEEPEST_PATH {
            return None;
        }
        if !value.is_array() && !value.is_object() {
            *left = left.checked_sub(checks.all)?;
            return Some(());
        }
        *left = left.checked_sub(1)?;
        for &other in &node.same {
            self.spend(other, value, depth + 1, left)?;
        }
        if node.again {
            self.spend_again(node, value, depth, left)?;
        }
        let mut inner = |other: usize, value: &Value| self.spend(other, value, depth + 1, left);
        match value {
            Value::Array(list) => {
                for (place, value) in list.iter().enumerate() {
                    for &other in node.elements.iter().chain(node.places.get(&place)) {
                        inner(other, value)?;
                    }
                }
            }
            Value::Object(object) => {
                for (name, value) in object {
                    for &other in node.others.iter().chain(node.members.get(name)) {
                        inner(other, value)?;
                    }
                    for &other in &node.names {
                        inner(other, &Value::Null)?;
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    fn spend_again(&self, node: &Node, value: &Value, depth: usize, left: &mut u64) -> Option<()> {
        for &other in &node.same {
            self.spend(other, value, depth + 1, left)?;
            self.spend_again(&self.nodes[other], value, depth + 1, left)?;
        }
        Some(())
    }

    /// How many schemas are applied to one value.
    fn count(&self, node: usize, depth: usize, counts: &mut [Count]) -> Result<Checks, String> {
        match counts[node] {
            Count::Known(checks) => return Ok(checks),
            Count::Begun => return Err("it refers back to itself for the same value, without end".to_owned()),
            Count::Unknown => {}
        }
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} of its schemas refer to one another for the same value"));
        }
        counts[node] = Count::Begun;
        let (mut all, mut again) = (1_u64, 0_u64);
        for &other in &self.nodes[node].same {
            let checks = self.count(other, depth + 1, counts)?;
            all = all.saturating_add(checks.all);
            again = again.saturating_add(checks.all).saturating_add(checks.again);
        }
        if self.nodes[node].again {
            all = all.saturating_add(again);
        }
        let checks = Checks { all, again };
        counts[node] = Count::Known(checks);
        Ok(checks)
    }
}

/// The schemas that a keyword applies, and to what.
fn applied_by<'a>(keyword: &str, value: &'a Value) -> Vec<(To<'a>, &'a Value)> {
    let list = || value.as_array().into_iter().flatten();
    let named = || value.as_object().into_iter().flatten();
    match (keyword, value) {
        ("allOf" | "anyOf" | "oneOf", _) => list().map(|other| (To::Same, other)).collect(),
        ("not" | "if" | "then" | "else", _) => vec![(To::Same, value)],
        ("dependentSchemas" | "dependencies", _) => named().map(|(_, other)| (To::Same, other)).collect(),
        ("items" | "prefixItems", Value::Array(_)) => {
            list().enumerate().map(|(place, other)| (To::Place(place), other)).collect()
        }
        ("items" | "additionalItems" | "contains" | "unevaluatedItems", _) => vec![(To::Elements, value)],
        ("properties", _) => named().map(|(name, other)| (To::Member(name), other)).collect(),
        ("patternProperties", _) => named().map(|(_, other)| (To::Others, other)).collect(),
        ("additionalProperties" | "unevaluatedProperties", _) => vec![(To::Others, value)],
        ("propertyNames", _) => vec![(To::Names, value)],
        _ => Vec::new(),
    }
}

/// Whether a schema has dynamic anchors, or refers to others, which may have.
fn has_dynamic_anchors(schema: &Value) -> bool {
    let inner = |object: &Map<String, Value>| object.values().any(has_dynamic_anchors);
    match schema {
        Value::Object(object) => {
            ["$dynamicAnchor", "$recursiveAnchor"].iter().any(|keyword| object.contains_key(*keyword))
                || object.get("$ref").and_then(Value::as_str).is_some_and(|address| !address.starts_with('#'))
                || inner(object)
        }
        Value::Array(list) => list.iter().any(has_dynamic_anchors),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value) -> Result<Bounds, String> {
        let none = Registry::new().prepare().expect("no schemas");
        Bounds::of(schema, None, &none).map_err(|refusal| match refusal {
            Refusal::TooMuch(reason) => reason,
            Refusal::Reference(error) => error.to_string(),
        })
    }

    /// A value that nests so deep, each list or object of it with one more in it.
    fn nested(depth: usize, more: fn(Value) -> Value) -> Value {
        (0..depth).fold(json!(1), |inner, _| more(inner))
    }

    /// Schemas named `s0`, `s1`, … of which each combines the one before it twice; `name` and `refer` say how they are
    /// called and referred to.
    fn doubled(levels: usize, name: impl Fn(usize, &mut Map<String, Value>), refer: impl Fn(usize) -> Value) -> Value {
        let mut schemas = Map::new();
        for level in 0..=levels {
            let mut schema = Map::new();
            name(level, &mut schema);
            if level > 0 {
                schema.insert("allOf".to_owned(), json!([refer(level - 1), refer(level - 1)]));
            }
            schemas.insert(format!("s{level}"), schema.into());
        }
        let Value::Object(mut whole) = refer(levels) else { unreachable!("a reference is an object") };
        whole.insert("$defs".to_owned(), schemas.into());
        whole.into()
    }

    #[test]
    fn combinations_that_multiply_are_refused_however_they_are_referred_to() {
        let plain = |levels| doubled(levels, |_, _| {}, |level| json!({"$ref": format!("#/$defs/s{level}")}));
        assert!(check(&plain(10)).is_ok());
        let put = |key: &'static str, text: fn(usize) -> String| {
            move |level: usize, schema: &mut Map<String, Value>| {
                schema.insert(key.to_owned(), text(level).into());
            }
        };
        let refer = |key: &'static str, text: fn(usize) -> String| move |level: usize| json!({key: text(level)});
        for schema in [
            plain(60),
            doubled(60, |_, _| {}, refer("$ref", |level| format!("#/%24defs/s{level}"))),
            doubled(60, put("$anchor", |level| format!("a{level}")), refer("$ref", |level| format!("#a{level}"))),
            doubled(60, put("$dynamicAnchor", |level| format!("a{level}")), refer("$dynamicRef", |l| format!("#a{l}"))),
            doubled(60, put("$id", |level| format!("http://x/s{level}")), refer("$ref", |l| format!("http://x/s{l}"))),
            doubled(60, put("$id", |level| format!("s{level}")), refer("$ref", |level| format!("s{level}"))),
            // In this draft `id` means nothing.
            doubled(60, put("id", |level| format!("x{level}")), refer("$ref", |level| format!("#/$defs/s{level}"))),
        ] {
            assert!(check(&schema).unwrap_err().contains("multiply"), "{schema}");
        }
        let mut old = doubled(60, put("id", |level| format!("#s{level}")), refer("$ref", |level| format!("#s{level}")));
        let Value::Object(whole) = &mut old else { unreachable!("a schema is an object") };
        let schemas = whole.remove("$defs").expect("schemas");
        let reference = whole.remove("$ref").expect("a reference");
        whole.extend([
            ("$schema".to_owned(), json!("http://json-schema.org/draft-04/schema#")),
            ("definitions".to_owned(), schemas),
            ("allOf".to_owned(), json!([{"$ref": reference}])),
        ]);
        assert!(check(&old).unwrap_err().contains("multiply"));
    }

    #[test]
    fn combinations_that_multiply_are_refused_wherever_a_pointer_finds_them() {
        let doubled = |at: &str| -> Vec<Value> {
            let again = |level: usize| json!({"$ref": format!("{at}/{}", level + 1)});
            (0..40)
                .map(|level| json!({"allOf": [again(level), again(level)]}))
                .chain([json!({"type": "integer"})])
                .collect()
        };
        for schema in [
            json!({"$ref": "#/examples/0", "examples": doubled("#/examples")}),
            json!({"$ref": "#/x/0/0", "x": [doubled("#/x/0")]}),
            json!({"$ref": "#/components/default/0", "components": {"default": doubled("#/components/default")}}),
            json!({"propertyNames": {"$ref": "#/const/0"}, "const": doubled("#/const")}),
        ] {
            assert!(check(&schema).unwrap_err().contains("multiply"), "{schema}");
        }
        // What is known of members is found out by asking all that is applied once more, on every level.
        let asked = (0..60)
            .fold(json!({"type": "object"}), |inner, _| json!({"anyOf": [inner], "unevaluatedProperties": false}));
        assert!(check(&asked).unwrap_err().contains("multiply"));
    }

    #[test]
    fn a_schema_that_never_looks_into_its_value_is_refused() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"$id": "http://x/a", "$ref": "http://x/a"}),
            json!({"$anchor": "a", "$ref": "#a"}),
            json!({"anyOf": [{"type": "string"}, {"$ref": "#"}]}),
            json!({"$ref": "#/examples/0", "examples": [{"$ref": "#/examples/0"}]}),
            json!({"$ref": "#/examples/0", "examples": [{"allOf": [{"$ref": "#/examples/1"}]}, {"allOf": [{"$ref": "#/examples/0"}]}]}),
            json!({"$defs": {"s": {"id": "x", "anyOf": [{"$ref": "#/$defs/s"}]}}, "$ref": "#/$defs/s"}),
            json!({"x": [[{"allOf": [{"$ref": "#/x/0/0"}]}]], "$ref": "#/x/0/0"}),
            json!({"components": {"default": {"allOf": [{"$ref": "#/components/default"}]}}, "$ref": "#/components/default"}),
            json!({"$dynamicAnchor": "a", "allOf": [{"$dynamicRef": "#a"}], "$defs": {"b": {"$id": "b", "$dynamicAnchor": "a"}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"not": {"$ref": "#/$defs/x"}}}}),
        ] {
            assert!(check(&schema).unwrap_err().contains("without end"), "{schema}");
        }
        let mut chain = Map::new();
        for link in 0..10_000 {
            chain.insert(format!("c{link}"), json!({"$ref": format!("#/$defs/c{}", link + 1)}));
        }
        assert!(check(&json!({"$defs": chain, "$ref": "#/$defs/c0"})).unwrap_err().contains("refer to one another"));
    }

    #[test]
    fn a_schema_that_is_a_word_allows_any_depth() {
        for word in [true, false] {
            assert!(check(&json!(word)).unwrap().cost(&nested(60, |inner| json!([inner]))).is_some());
        }
    }

    #[test]
    fn recursion_into_the_value_and_data_that_look_like_references_are_fine() {
        for schema in [
            json!({"properties": {"child": {"$ref": "#"}, "not": {"$ref": "#"}}, "items": {"$ref": "#"}}),
            json!({"const": {"$ref": "#/const"}, "examples": [{"$ref": "#/examples/0"}]}),
            json!({"$defs": {"inner": {"$id": "inner", "items": {"allOf": [{"$ref": "#"}]}}}, "allOf": [{"$ref": "#/$defs/inner"}]}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": true}, "$ref": "#/definitions/a", "allOf": [{"$ref": "#"}]}),
        ] {
            let bounds = check(&schema).unwrap();
            assert!(bounds.cost(&nested(60, |inner| json!([inner]))).is_some(), "{schema}");
        }
    }

    #[test]
    fn work_that_multiplies_with_the_depth_of_the_value_bounds_its_depth() {
        let twice = |inner: Value| json!({"$defs": {"s": inner}, "$ref": "#/$defs/s"});
        let again = json!({"$ref": "#/$defs/s"});
        let list = |depth| nested(depth, |inner| json!([inner]));
        let object = |depth| nested(depth, |inner| json!({"a": inner}));
        for (schema, value) in [
            (json!({"allOf": [{"items": again}, {"items": again}]}), &list as &dyn Fn(usize) -> Value),
            (json!({"items": again, "contains": again}), &list),
            (json!({"properties": {"a": again}, "patternProperties": {"^a": again}}), &object),
        ] {
            let bounds = check(&twice(schema)).unwrap();
            assert!(bounds.cost(&value(10)).is_some() && bounds.cost(&value(40)).is_none());
        }
        // Any JSON: a value is a list or an object, never both.
        let any = json!({"anyOf": [{"type": "string"}, {"items": again}, {"additionalProperties": again}]});
        let bounds = check(&twice(any)).unwrap();
        assert!(bounds.cost(&list(60)).is_some() && bounds.cost(&object(60)).is_some());
        // Kinds of expressions, as real schemas have them.
        let kinds: Vec<Value> = (0..6)
            .map(|kind| json!({"properties": {"kind": {"const": kind}, "left": again, "right": again}, "required": ["kind"]}))
            .collect();
        let tree = nested(6, |inner| json!({"kind": 1, "left": inner, "right": inner}));
        assert!(check(&twice(json!({"anyOf": kinds}))).unwrap().cost(&tree).is_some());
    }

    #[test]
    fn work_that_multiplies_with_the_number_of_values_bounds_their_number() {
        let mut schema = doubled(14, |_, _| {}, |level| json!({"$ref": format!("#/$defs/s{level}")}));
        let Value::Object(whole) = &mut schema else { unreachable!("a schema is an object") };
        let reference = whole.remove("$ref").expect("a reference");
        whole.insert("items".to_owned(), json!({"$ref": reference}));
        let bounds = check(&schema).unwrap();
        let checks = 1 + 2_u64.pow(16);
        assert!(bounds.cost(&json!(vec![1; 10])).is_some_and(|cost| cost > 10 * 2_u64.pow(15) && cost < 10 * checks));
        assert!(bounds.cost(&json!(vec![1; 100_000])).is_none());
        // A wide answer under a plain schema is no such work.
        let plain = check(&json!({"items": {"properties": {"a": {"type": "integer"}}}})).unwrap();
        assert!(plain.cost(&json!(vec![json!({"a": 1}); 100_000])).is_some());
    }

    #[test]
    fn schemas_are_bounded_in_number() {
        let with = |count: usize| json!({"prefixItems": vec![json!({"type": "integer"}); count]});
        assert!(check(&with(MOST_SCHEMAS - 1)).is_ok());
        assert!(check(&with(MOST_SCHEMAS)).unwrap_err().contains("more than 60000 schemas"));
    }

    #[test]
    fn patterns_are_bounded_in_number_and_share_their_memory() {
        let with = |count: usize| {
            let patterns: Map<_, _> = (0..count).map(|i| (format!("^p{i}$"), json!(true))).collect();
            json!({"patternProperties": patterns})
        };
        assert_eq!(check(&with(256)).unwrap().largest_pattern(), LARGEST_PATTERNS / 256);
        assert!(check(&with(2001)).unwrap_err().contains("2001 patterns"));
    }
}
