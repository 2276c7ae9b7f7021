//! What a schema may cost, found out before and beside validation.
//!
//! Validators follow references and combinations without keeping count, so that a short schema can ask for more work than
//! any machine does: `allOf` of twice the same reference, thirty levels deep, is a thousand million checks of one value. Here a
//! schema is a graph: which schemas it applies to the same value, and which to what is in the value. Where it cannot be told
//! which schema a reference means, all that it may mean are counted as the dearest of them.

use super::message::shorten;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Schemas within one, at most: each takes some four kilobytes when it is compiled.
const MOST_SCHEMAS: usize = 60_000;
/// Schemas that are applied to one and the same value, at most.
const MOST_CHECKS: u64 = 100_000;
/// Schemas that are applied to an answer of some depth along one path, at most.
const MOST_WORK: u64 = 10_000_000;
/// Schemas that are applied within one another to the same value, at most: validators recurse.
const DEEPEST: usize = 256;
/// Patterns of one schema, at most.
const MOST_PATTERNS: usize = 2_000;
/// Bytes of one compiled pattern, at most, and of all together.
const LARGEST_PATTERN: usize = 4 << 20;
const LARGEST_PATTERNS: usize = 256 << 20;

/// Keywords whose values are data, not schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords whose values are schemas by name.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// One schema: others by their numbers.
#[derive(Debug, Default)]
struct Node {
    /// What is applied to the same value: for each reference or combination, the schemas that it may mean.
    same: Vec<Vec<usize>>,
    /// What is applied to each element of a list, all of them.
    elements: Vec<usize>,
    /// What is applied to elements in their places: one of them to each.
    places: Vec<usize>,
    /// What is applied to members by their names: one of them to each.
    members: Vec<usize>,
    /// What is applied to members by patterns and to the others, all of them.
    others: Vec<usize>,
}

/// The graph of a schema and those that it may refer to.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// The schema itself is the first.
    nodes: Vec<Node>,
    /// Bytes that each compiled pattern may take.
    pub(super) largest_pattern: usize,
}

impl Bounds {
    /// The bounds of a schema; or why it asks for too much, whatever the value.
    pub(super) fn of<'a>(
        schema: &'a Value,
        others: impl Iterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Self, String> {
        let mut reading = Reading::default();
        let old = schema.get("$schema").and_then(Value::as_str).is_some_and(|draft| {
            ["draft-03", "draft-04", "draft-06", "draft-07"].iter().any(|old| draft.contains(old))
        });
        reading.list(schema, 0);
        for (address, other) in others {
            let document = reading.places.len();
            reading.documents.push((address, document));
            reading.list(other, document);
        }
        if reading.places.len() > MOST_SCHEMAS {
            return Err(format!(
                "it has {} schemas within it, and at most {MOST_SCHEMAS} are compiled",
                reading.places.len()
            ));
        }
        if reading.patterns > MOST_PATTERNS {
            return Err(format!("it has {} patterns, and at most {MOST_PATTERNS} are compiled", reading.patterns));
        }
        let nodes = reading.nodes(old);
        let largest_pattern = LARGEST_PATTERN.min(LARGEST_PATTERNS / reading.patterns.max(1));
        let bounds = Self { nodes, largest_pattern };
        let mut counts = vec![Count::Unknown; bounds.nodes.len()];
        for node in 0..bounds.nodes.len() {
            if bounds.checks(node, 0, &mut counts)? > MOST_CHECKS {
                let start = shorten(&reading.places[node].schema.to_string(), 80);
                return Err(format!(
                    "its references and combinations multiply to more than {MOST_CHECKS} schemas for one value, at {start}"
                ));
            }
        }
        Ok(bounds)
    }

    /// Whether a value nested so deep can be checked in bounded time.
    pub(super) fn allow(&self, depth: usize) -> bool {
        // A tree applies each of its schemas once; a schema that is true or false has none.
        if self.nodes.is_empty() {
            return true;
        }
        if self.nodes.iter().all(|node| node.same.iter().all(|meant| meant.len() == 1)) && self.is_tree() {
            return true;
        }
        let mut inner = vec![0; self.nodes.len()];
        for _ in 0..=depth {
            let mut work = vec![None; self.nodes.len()];
            for node in 0..self.nodes.len() {
                self.work(node, 0, &inner, &mut work);
            }
            inner = work.into_iter().map(|work| work.map_or(u64::MAX, Work::most)).collect();
            if inner.first().is_some_and(|&work| work > MOST_WORK) {
                return false;
            }
        }
        true
    }

    /// Whether no schema is reached by two ways.
    fn is_tree(&self) -> bool {
        let mut reached = vec![false; self.nodes.len()];
        let all = self.nodes.iter().flat_map(|node| {
            let inner = [&node.elements, &node.places, &node.members, &node.others];
            node.same.iter().chain(inner).flatten()
        });
        all.into_iter().all(|&node| !std::mem::replace(&mut reached[node], true)) && !reached[0]
    }

    /// How many schemas are applied to one value.
    fn checks(&self, node: usize, depth: usize, counts: &mut [Count]) -> Result<u64, String> {
        match counts[node] {
            Count::Known(count) => return Ok(count),
            Count::Begun => return Err("it refers back to itself for the same value, without end".to_owned()),
            Count::Unknown => {}
        }
        if depth > DEEPEST {
            return Err(format!("more than {DEEPEST} of its schemas refer to one another for the same value"));
        }
        counts[node] = Count::Begun;
        let mut sum: u64 = 1;
        for meant in &self.nodes[node].same {
            let mut most = 1;
            for &other in meant {
                // Which of several is meant is not known, so that coming back is no proof of going on without end.
                if meant.len() == 1 || !matches!(counts[other], Count::Begun) {
                    most = most.max(self.checks(other, depth + 1, counts)?);
                }
            }
            sum = sum.saturating_add(most);
        }
        counts[node] = Count::Known(sum);
        Ok(sum)
    }

    /// How many schemas are applied along the dearest path into a value, where `inner` holds the same for one level less.
    fn work(&self, node: usize, depth: usize, inner: &[u64], work: &mut [Option<Work>]) -> Work {
        if let Some(known) = work[node] {
            return known;
        }
        if depth > DEEPEST {
            return Work::ONE;
        }
        work[node] = Some(Work::ONE);
        let Node { same, elements, places, members, others } = &self.nodes[node];
        let sum = |of: &[usize]| of.iter().fold(0_u64, |sum, &other| sum.saturating_add(inner[other]));
        let most = |of: &[usize]| of.iter().map(|&other| inner[other]).max().unwrap_or(0);
        let within = Work {
            list: sum(elements).saturating_add(most(places)),
            object: sum(others).saturating_add(most(members)),
        };
        let mut total = Work::ONE.and(within);
        for meant in same {
            let mut dearest = Work::ONE;
            for &other in meant {
                dearest = dearest.or(self.work(other, depth + 1, inner, work));
            }
            total = total.and(dearest);
        }
        work[node] = Some(total);
        total
    }
}

/// How many schemas are applied to a value if it is a list, and if it is an object: it cannot be both.
#[derive(Clone, Copy)]
struct Work {
    list: u64,
    object: u64,
}

impl Work {
    const ONE: Self = Self { list: 1, object: 1 };

    fn and(self, other: Self) -> Self {
        Self { list: self.list.saturating_add(other.list), object: self.object.saturating_add(other.object) }
    }

    fn or(self, other: Self) -> Self {
        Self { list: self.list.max(other.list), object: self.object.max(other.object) }
    }

    fn most(self) -> u64 {
        self.list.max(self.object)
    }
}

#[derive(Clone, Copy)]
enum Count {
    Unknown,
    Begun,
    Known(u64),
}

/// Where a schema stands.
struct Place<'a> {
    schema: &'a Value,
    /// The schema that `#` means within it.
    document: usize,
}

/// All schemas, in the order in which they stand.
#[derive(Default)]
struct Reading<'a> {
    places: Vec<Place<'a>>,
    /// The number of a schema by its address in memory.
    numbers: HashMap<*const Value, usize>,
    /// Schemas by their `$id`, and other documents by their addresses.
    documents: Vec<(&'a str, usize)>,
    /// Schemas by the name of an anchor.
    anchors: HashMap<&'a str, Vec<usize>>,
    patterns: usize,
}

impl<'a> Reading<'a> {
    /// Lists a schema and those within it.
    fn list(&mut self, schema: &'a Value, document: usize) {
        let Value::Object(object) = schema else { return };
        let number = self.places.len();
        self.numbers.insert(std::ptr::from_ref(schema), number);
        let mut document = document;
        for id in ["$id", "id"].iter().filter_map(|key| object.get(*key).and_then(Value::as_str)) {
            if let Some(anchor) = id.strip_prefix('#') {
                self.anchors.entry(anchor).or_default().push(number);
            } else {
                document = number;
                self.documents.push((id, number));
            }
        }
        for anchor in ["$anchor", "$dynamicAnchor"].iter().filter_map(|key| object.get(*key).and_then(Value::as_str)) {
            self.anchors.entry(anchor).or_default().push(number);
        }
        self.places.push(Place { schema, document });
        for (key, value) in object.iter().filter(|(key, _)| !DATA.contains(&key.as_str())) {
            match (key.as_str(), value) {
                ("pattern", Value::String(_)) => self.patterns += 1,
                (key, Value::Object(named)) if NAMED.contains(&key) => {
                    self.patterns += if key == "patternProperties" { named.len() } else { 0 };
                    named.values().for_each(|value| self.list(value, document));
                }
                (_, Value::Array(list)) => list.iter().for_each(|value| self.list(value, document)),
                (_, value) => self.list(value, document),
            }
        }
    }

    fn nodes(&self, old: bool) -> Vec<Node> {
        self.places
            .iter()
            .map(|place| match place.schema {
                Value::Object(object) => self.node(object, place.document, old),
                _ => Node::default(),
            })
            .collect()
    }

    fn node(&self, object: &'a Map<String, Value>, document: usize, old: bool) -> Node {
        let mut node = Node::default();
        // Up to draft 7 nothing counts beside a reference.
        let reference_alone = old && object.contains_key("$ref");
        for (key, value) in object {
            let number = self.numbers.get(&std::ptr::from_ref(value)).copied();
            let list = || value.as_array().into_iter().flatten().filter_map(|value| self.number(value));
            let named = || value.as_object().into_iter().flat_map(Map::values).filter_map(|value| self.number(value));
            match key.as_str() {
                "$ref" | "$dynamicRef" | "$recursiveRef" => {
                    node.same.extend(value.as_str().map(|reference| self.meant(reference, document)));
                }
                _ if reference_alone => {}
                "allOf" | "anyOf" | "oneOf" => node.same.extend(list().map(|other| vec![other])),
                "not" | "if" | "then" | "else" => node.same.extend(number.map(|other| vec![other])),
                "dependentSchemas" | "dependencies" => node.same.extend(named().map(|other| vec![other])),
                "items" | "additionalItems" | "contains" | "unevaluatedItems" => {
                    node.elements.extend(number);
                    node.places.extend(list());
                }
                "prefixItems" => node.places.extend(list()),
                "properties" => node.members.extend(named()),
                "patternProperties" => node.others.extend(named()),
                "additionalProperties" | "unevaluatedProperties" => node.others.extend(number),
                _ => {}
            }
        }
        node.same.retain(|meant| !meant.is_empty());
        node
    }

    fn number(&self, value: &Value) -> Option<usize> {
        self.numbers.get(&std::ptr::from_ref(value)).copied()
    }

    /// The schemas that a reference may mean; none where it means one that is not here.
    fn meant(&self, reference: &str, document: usize) -> Vec<usize> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let documents: Vec<usize> = if address.is_empty() {
            vec![document]
        } else {
            // Addresses are resolved against one another by the validator; here their last part has to do.
            let last = |address: &str| address.trim_end_matches('#').rsplit('/').next().unwrap_or_default().to_owned();
            let wanted = last(address);
            self.documents.iter().filter(|(id, _)| last(id) == wanted).map(|(_, number)| *number).collect()
        };
        let fragment = percent_decoded(fragment);
        match fragment.as_str() {
            "" => documents,
            pointer if pointer.starts_with('/') => documents
                .into_iter()
                .filter_map(|document| self.number(self.places[document].schema.pointer(pointer)?))
                .collect(),
            anchor => self.anchors.get(anchor).cloned().unwrap_or_default(),
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let escaped = others.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value) -> Result<Bounds, String> {
        Bounds::of(schema, std::iter::empty())
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
            doubled(60, put("id", |level| format!("#s{level}")), refer("$ref", |level| format!("#s{level}"))),
        ] {
            assert!(check(&schema).unwrap_err().contains("multiply"), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_never_looks_into_its_value_is_refused() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"$id": "http://x/a", "$ref": "http://x/a"}),
            json!({"$anchor": "a", "$ref": "#a"}),
            json!({"anyOf": [{"type": "string"}, {"$ref": "#"}]}),
            json!({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"not": {"$ref": "#/$defs/x"}}}}),
        ] {
            assert!(check(&schema).unwrap_err().contains("without end"), "{schema}");
        }
        let mut chain = Map::new();
        for link in 0..10_000 {
            chain.insert(format!("c{link}"), json!({"$ref": format!("#/$defs/c{}", link + 1)}));
        }
        assert!(check(&json!({"$defs": chain})).unwrap_err().contains("refer to one another"));
    }

    #[test]
    fn a_schema_that_is_a_word_allows_any_depth() {
        assert!(check(&json!(true)).unwrap().allow(60) && check(&json!(false)).unwrap().allow(60));
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
            assert!(bounds.allow(60), "{schema}");
        }
    }

    #[test]
    fn work_that_multiplies_with_the_depth_of_the_value_bounds_its_depth() {
        let twice = |inner: Value| json!({"$defs": {"s": inner}, "$ref": "#/$defs/s"});
        let again = json!({"$ref": "#/$defs/s"});
        for schema in [
            twice(json!({"allOf": [{"items": again}, {"items": again}]})),
            twice(json!({"items": again, "contains": again})),
            twice(json!({"properties": {"a": again}, "patternProperties": {"^a": again}})),
        ] {
            let bounds = check(&schema).unwrap();
            assert!(bounds.allow(10) && !bounds.allow(40), "{schema}");
        }
        // Any JSON: a value is a list or an object, never both.
        let any = json!({"anyOf": [{"type": "string"}, {"items": again}, {"additionalProperties": again}]});
        assert!(check(&twice(any)).unwrap().allow(60));
        // Kinds of expressions, as real schemas have them.
        let kinds: Vec<Value> = (0..6)
            .map(|kind| json!({"properties": {"kind": {"const": kind}, "left": again, "right": again}, "required": ["kind"]}))
            .collect();
        assert!(check(&twice(json!({"anyOf": kinds}))).unwrap().allow(6));
    }

    #[test]
    fn schemas_are_bounded_in_number() {
        let with = |count: usize| json!({"prefixItems": vec![json!({"type": "integer"}); count]});
        assert!(check(&with(MOST_SCHEMAS - 1)).is_ok());
        assert!(check(&with(MOST_SCHEMAS)).unwrap_err().contains("60001 schemas"));
    }

    #[test]
    fn patterns_are_bounded_in_number_and_share_their_memory() {
        let with = |count: usize| {
            let patterns: Map<_, _> = (0..count).map(|i| (format!("^p{i}$"), json!(true))).collect();
            json!({"patternProperties": patterns})
        };
        assert_eq!(check(&with(256)).unwrap().largest_pattern, LARGEST_PATTERNS / 256);
        assert!(check(&with(2001)).unwrap_err().contains("2001 patterns"));
    }
}
