//! What a grammar keeps only where it allows less than the schema does: an answer that it allows is right more often.

use super::rewrite::only_members;
use super::schema::each_schema;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Writes such parts of a schema so that they are kept. Tells whether there were any.
pub(super) fn narrow(schema: &mut Value) -> bool {
    with_members_of_one_branch(schema)
        | with_contained_first(schema)
        | with_conditions_as_choices(schema)
        | with_first_members(schema)
}

/// Where some of a few members must be there, it is the first of them. Tells whether there was such an object.
fn with_first_members(schema: &mut Value) -> bool {
    let mut found = false;
    each_schema(schema, &mut |object| {
        let Some(least) = object.get("minProperties").and_then(Value::as_u64) else { return };
        let Some(members) = only_members(object) else { return };
        let anyway = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let missing = least.saturating_sub(anyway.len() as u64) as usize;
        let more = members.into_iter().map(Value::from).filter(|name| !anyway.contains(name)).take(missing);
        let required: Vec<Value> = anyway.iter().cloned().chain(more).collect();
        object.remove("minProperties");
        object.insert("required".to_owned(), required.into());
        found = true;
    });
    found
}

/// Where exactly one of several lists of members must be there, the members that only the others ask for are forbidden: each
/// branch alone allows them, and both would be too many. Tells whether there was such a choice.
fn with_members_of_one_branch(schema: &mut Value) -> bool {
    let mut found = false;
    each_schema(schema, &mut |object| {
        let names = |value: Option<&Value>| -> Option<BTreeSet<String>> {
            value?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let Some(Value::Array(branches)) = object.get("oneOf") else { return };
        let alone = |branch: &Value| match branch.as_object() {
            Some(branch) if branch.len() == 1 => names(branch.get("required")),
            _ => None,
        };
        let Some(lists) = branches.iter().map(alone).collect::<Option<Vec<_>>>() else { return };
        if object.contains_key("anyOf") {
            return;
        }
        let all: BTreeSet<String> = lists.iter().flatten().cloned().collect();
        let anyway = names(object.get("required")).unwrap_or_default();
        let branches = lists.iter().map(|own| {
            let forbidden = all.iter().filter(|name| !own.contains(*name) && !anyway.contains(*name));
            let forbidden: Map<String, Value> = forbidden.map(|name| (name.clone(), Value::Bool(false))).collect();
            json!({"required": own, "properties": forbidden})
        });
        let branches: Vec<Value> = branches.collect();
        object.remove("oneOf");
        object.insert("anyOf".to_owned(), branches.into());
        found = true;
    });
    found
}

/// A list that must contain something has it at its beginning. Tells whether there was such a list.
fn with_contained_first(schema: &mut Value) -> bool {
    /// Items that a list must contain, at most.
    const MOST: u64 = 8;
    let new = |draft: &str| draft.contains("2020-12");
    let new = schema.get("$schema").and_then(Value::as_str).is_none_or(new);
    let (tuple, rest) = if new { ("prefixItems", "items") } else { ("items", "additionalItems") };
    let mut found = false;
    each_schema(schema, &mut |object| {
        let number = |key: &str, usual| object.get(key).map_or(Some(usual), Value::as_u64);
        let Some(contained) = object.get("contains").cloned() else { return };
        let (Some(least @ 1..=MOST), Some(items)) = (number("minContains", 1), number("minItems", 0)) else { return };
        if object.contains_key(if new { tuple } else { rest }) || object.get("items").is_some_and(Value::is_array) {
            return;
        }
        let others = object.get("items").cloned().unwrap_or(Value::Bool(true));
        let first = json!({"allOf": [others, contained]});
        object.insert(rest.to_owned(), others);
        object.insert(tuple.to_owned(), vec![first; least as usize].into());
        object.insert("minItems".to_owned(), items.max(least).into());
        found = true;
    });
    found
}

/// A condition on the value of one member that is one of several is a choice: these values and what follows from them, or the
/// other values and what follows else. Tells whether there was such a condition.
fn with_conditions_as_choices(schema: &mut Value) -> bool {
    /// Conditions at most: choices multiply.
    const MOST: usize = 4;
    let mut found = 0;
    each_schema(schema, &mut |object| {
        let Some((holds, fails)) = condition(object).filter(|_| found < MOST) else { return };
        let [_, then, otherwise] =
            ["if", "then", "else"].map(|keyword| object.remove(keyword).unwrap_or(Value::Bool(true)));
        let choice = json!({"anyOf": [{"allOf": [holds, then]}, {"allOf": [fails, otherwise]}]});
        if let Value::Array(all) = object.entry("allOf").or_insert(Value::Array(Vec::new())) {
            all.push(choice);
        }
        found += 1;
    });
    found > 0
}

/// The condition of a schema, and a schema of the values that fail it; `None` where it is no condition on the values of one
/// member.
fn condition(object: &Map<String, Value>) -> Option<(Value, Value)> {
    let asked = object.get("if")?.as_object()?;
    if asked.keys().any(|keyword| !["properties", "required", "type"].contains(&keyword.as_str())) {
        return None;
    }
    let mut members = asked.get("properties")?.as_object()?.iter();
    let (name, member) = members.next().filter(|_| members.next().is_none())?;
    let wanted = match (member.get("const"), member.get("enum")) {
        (Some(value), None) => std::slice::from_ref(value),
        (None, Some(Value::Array(values))) => values,
        _ => return None,
    };
    let all = object.get("properties")?.get(name)?.get("enum")?.as_array()?;
    let others: Vec<&Value> = all.iter().filter(|value| !wanted.contains(value)).collect();
    // Where the member is missing the condition holds, unless it asks for it.
    let required: &[&String] = if asked.contains_key("required") { &[] } else { &[name] };
    Some((Value::from(asked.clone()), json!({"properties": {name: {"enum": others}}, "required": required})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_on_one_members_values_is_a_choice() {
        let condition = json!({"properties": {"kind": {"const": "a"}}});
        let schema = |condition: &Value| json!({"properties": {"kind": {"enum": ["a", "b", "c"]}}, "if": condition, "then": {"required": ["x"]}});
        let mut choice = schema(&condition);
        assert!(with_conditions_as_choices(&mut choice));
        let fails = json!({"properties": {"kind": {"enum": ["b", "c"]}}, "required": ["kind"]});
        let expected = json!({"properties": {"kind": {"enum": ["a", "b", "c"]}}, "allOf": [{"anyOf": [
            {"allOf": [condition, {"required": ["x"]}]}, {"allOf": [fails, true]}
        ]}]});
        assert_eq!(choice, expected);
        for other in [
            json!({"required": ["kind"]}),
            json!({"properties": {"kind": {"pattern": "a"}}}),
            json!({"properties": {"other": {"const": 1}}}),
            json!({"properties": {"kind": {"const": "a"}, "n": {"const": 1}}}),
        ] {
            let mut same = schema(&other);
            assert!(!with_conditions_as_choices(&mut same) && same == schema(&other), "{other}");
        }
    }

    #[test]
    fn what_a_list_must_contain_comes_first() {
        let mut schema = json!({"items": {"type": "integer"}, "contains": {"const": 7}, "maxItems": 4});
        assert!(with_contained_first(&mut schema));
        let first = json!([{"allOf": [{"type": "integer"}, {"const": 7}]}]);
        assert_eq!((&schema["prefixItems"], &schema["minItems"]), (&first, &json!(1)));
        let mut old = json!({"$schema": "http://json-schema.org/draft-07/schema#", "contains": {"const": 7}});
        assert!(with_contained_first(&mut old));
        assert_eq!((&old["items"], &old["additionalItems"]), (&json!([{"allOf": [true, {"const": 7}]}]), &json!(true)));
        for other in [
            json!({"contains": true, "minContains": 0}),
            json!({"contains": true, "prefixItems": [true]}),
            json!({"contains": true, "items": [true]}),
        ] {
            let mut same = other.clone();
            assert!(!with_contained_first(&mut same) && same == other, "{other}");
        }
    }

    #[test]
    fn as_many_members_as_must_be_there_are_the_first() {
        let mut schema = json!({"minProperties": 2, "properties": {"a": true, "b": true, "c": true}, "required": ["c"],
                                "additionalProperties": false});
        assert!(with_first_members(&mut schema));
        assert_eq!((schema.get("minProperties"), &schema["required"]), (None, &json!(["c", "a"])));
        let mut open = json!({"minProperties": 2, "properties": {"a": true}});
        assert!(!with_first_members(&mut open));
    }

    #[test]
    fn one_list_of_members_forbids_those_of_the_others() {
        let mut schema = json!({"required": ["id"], "oneOf": [{"required": ["id", "a"]}, {"required": ["b"]}]});
        assert!(with_members_of_one_branch(&mut schema));
        let expected = json!({"required": ["id"], "anyOf": [
            {"required": ["a", "id"], "properties": {"b": false}}, {"required": ["b"], "properties": {"a": false}}
        ]});
        assert_eq!(schema, expected);
        for other in
            [json!({"oneOf": [{"required": ["a"], "minProperties": 1}]}), json!({"oneOf": [true]}), json!(true)]
        {
            let mut same = other.clone();
            assert!(!with_members_of_one_branch(&mut same) && same == other, "{other}");
        }
    }
}
