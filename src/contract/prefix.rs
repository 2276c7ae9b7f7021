//! Whether a right answer may begin with what stands of it.
//!
//! A schema says much that a grammar cannot: a pattern with look-around, a number that is a multiple, items that differ. An
//! answer that breaks it in a value that is written already can never become right, and it is better known then than at its
//! end.

use super::bounds::Bounds;
use super::settled::{Progress, inward};
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

/// A longer answer is judged at its end alone, in bytes.
const LONGEST: usize = 64 << 10;
/// So is one that takes more work: it is judged again at each of its values.
const MOST_WORK: u64 = 100_000;

/// Whether an answer may go on that is this JSON where it is closed; so many values, from the whole inwards along the last
/// elements, are not at their end.
pub(super) fn may_go_on(
    schema: &Value,
    validator: &jsonschema::Validator,
    bounds: &Bounds,
    text: &str,
    unfinished: usize,
) -> bool {
    if text.len() > LONGEST {
        return true;
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return true };
    match bounds.cost(&value) {
        // One that is too much to be judged could not end.
        None => return false,
        Some(MOST_WORK..) => return true,
        Some(_) => {}
    }
    let open = open_places(&value, unfinished);
    let progress = Progress { schema, answer: &value, open: &open };
    !validator.iter_errors(&value).any(|error| lasts(&error, &progress))
}

/// JSON Pointers to the values that are not at their end, the whole first.
fn open_places(value: &Value, unfinished: usize) -> Vec<String> {
    let mut places = Vec::with_capacity(unfinished);
    let mut at = Some((String::new(), value));
    while let Some((place, value)) = at.filter(|_| places.len() < unfinished) {
        at = match value {
            Value::Array(list) => list.last().map(|last| (format!("{place}/{}", list.len() - 1), last)),
            Value::Object(object) => object.iter().next_back().map(|(name, last)| (inward(&place, name), last)),
            _ => None,
        };
        places.push(place);
    }
    places
}

/// Whether what is written later cannot mend it.
fn lasts(error: &ValidationError<'_>, progress: &Progress<'_>) -> bool {
    let place = error.instance_path().as_str();
    // Whether a condition holds may change with what comes.
    if let Some(of) = conditional(error.evaluation_path().as_str(), place)
        && progress.is_open(of)
        && !condition_stands(error.schema_path().as_str(), of, progress)
    {
        return false;
    }
    if !progress.is_open(place) {
        return true;
    }
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().all(|branch| branch.iter().any(|error| lasts(error, progress)))
        }
        Kind::OneOfMultipleValid { context } => two_stay(context, error.schema_path().as_str(), place, progress),
        Kind::Not { schema } => {
            // The copy in the error is the same as the schema's own part, which references can be followed from.
            let own = progress.at(error.schema_path().as_str()).filter(|own| *own == schema);
            own.is_some_and(|own| progress.stays(own, place))
        }
        Kind::Type { .. } => progress.has_begun(place),
        Kind::AdditionalProperties { .. }
        | Kind::AdditionalItems { .. }
        | Kind::PropertyNames { .. }
        | Kind::FalseSchema
        | Kind::MaxItems { .. }
        | Kind::MaxProperties { .. }
        | Kind::UniqueItems => true,
        _ => false,
    }
}

/// Whether two branches of a `oneOf` hold that will hold whatever comes.
fn two_stay(context: &[Vec<ValidationError<'static>>], location: &str, place: &str, progress: &Progress<'_>) -> bool {
    let Some(Value::Array(branches)) = progress.at(location) else { return false };
    let holding = branches.iter().zip(context).filter(|(_, errors)| errors.is_empty()).map(|(branch, _)| branch);
    branches.len() == context.len() && holding.filter(|branch| progress.stays(branch, place)).count() > 1
}

/// Whether the condition that an error at a location hangs on stands, so that what follows from it does.
fn condition_stands(location: &str, of: &str, progress: &Progress<'_>) -> bool {
    let steps: Vec<&str> = location.split('/').collect();
    let mut branches = steps.iter().enumerate().filter(|(_, step)| matches!(**step, "then" | "else"));
    let (Some((at, branch)), None) = (branches.next(), branches.next()) else { return false };
    let Some(condition) = progress.at(&[&steps[..at], &["if"]].concat().join("/")) else { return false };
    if *branch == "then" { progress.stays(condition, of) } else { progress.fails(condition, of) }
}

/// The place of the value whose condition the error at a place hangs on, by the way to its keyword; too far out where names of
/// members are keywords.
fn conditional<'a>(way: &str, place: &'a str) -> Option<&'a str> {
    const INWARDS: [&str; 8] = [
        "properties",
        "patternProperties",
        "additionalProperties",
        "unevaluatedProperties",
        "items",
        "prefixItems",
        "unevaluatedItems",
        "contains",
    ];
    let mut steps = way.split('/');
    steps.find(|step| matches!(*step, "then" | "else"))?;
    let inwards = steps.filter(|step| INWARDS.contains(step)).count();
    Some((0..inwards).fold(place, |place, _| place.rsplit_once('/').map_or("", |(outer, _)| outer)))
}

#[cfg(test)]
mod tests {
    use super::super::Contract;
    use serde_json::{Value, json};

    fn begins(schema: &Value, text: &str, unfinished: usize) -> bool {
        let contract = Contract::new("s", schema).expect("a schema");
        contract.grammar().may_go_on(text, unfinished)
    }

    #[test]
    fn what_is_written_and_wrong_is_known_at_once_and_what_is_not_written_yet_is_not_missed() {
        let schema = json!({
            "type": "object", "required": ["code", "n", "tags"], "additionalProperties": false, "minProperties": 3,
            "properties": {
                "code": {"pattern": "^(?=.*[0-9])[a-z0-9]+$"}, "n": {"multipleOf": 0.5},
                "tags": {"type": "array", "uniqueItems": true, "minItems": 2, "contains": {"const": "x"}}
            }
        });
        for (text, unfinished, right) in [
            (r#"{"code": null}"#, 2, true),
            (r#"{"code": "a1"}"#, 1, true),
            (r#"{"code": "ab"}"#, 1, false),
            (r#"{"other": null}"#, 2, false),
            (r#"{"code": "a1", "n": 1.5}"#, 1, true),
            (r#"{"code": "a1", "n": 1.3}"#, 1, false),
            (r#"{"tags": ["a"]}"#, 2, true),
            (r#"{"tags": ["a", "a"]}"#, 2, false),
            (r#"{"tags": ["a", "b"]}"#, 1, false),
            (r#"{"tags": ["a", "x"]}"#, 1, true),
        ] {
            assert_eq!(begins(&schema, text, unfinished), right, "{text}");
        }
    }

    #[test]
    fn a_choice_of_forms_is_wrong_where_each_of_them_is_for_good() {
        let schema = json!({"anyOf": [
            {"properties": {"a": {"not": {"const": 1}}}, "required": ["a", "b"]},
            {"properties": {"a": {"maximum": 0}, "b~/": {"type": "string"}}}
        ]});
        assert!(begins(&schema, r#"{"a": 2}"#, 1));
        assert!(!begins(&schema, r#"{"a": 1}"#, 1));
        assert!(begins(&schema, r#"{"a": -1, "b~/": [1]}"#, 2), "what is open may be another yet");
        let nested = json!({"items": schema});
        assert!(begins(&nested, r#"[{"a": 2}]"#, 2) && !begins(&nested, r#"[{"a": 1}]"#, 2));
        assert!(!begins(&nested, r#"[{"a": 2}]"#, 1), "b is missing, and the object is at its end");
    }

    #[test]
    fn a_condition_is_judged_when_its_object_is_at_its_end() {
        let schema = json!({"items": {
            "if": {"properties": {"kind": {"const": "a"}}}, "then": {"properties": {"n": {"const": 1}}}
        }});
        assert!(begins(&schema, r#"[{"n": 2}]"#, 2), "kind may say that it is no a");
        assert!(!begins(&schema, r#"[{"n": 2}]"#, 1));
        assert!(begins(&schema, r#"[{"n": 2, "kind": "b"}]"#, 1));
    }

    #[test]
    fn two_forms_at_once_and_a_form_that_must_not_be_are_known_when_they_are_there() {
        let one = json!({"oneOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"$ref": "#/$defs/b"}
        ], "$defs": {"b": {"required": ["b"]}}});
        assert!(begins(&one, r#"{"a": 1}"#, 1));
        assert!(!begins(&one, r#"{"a": 1, "b": 2}"#, 1));
        assert!(begins(&one, r#"{"b": 2, "a": 1}"#, 2), "what a is may keep the first form away yet");
        let closed = json!({"oneOf": [{"required": ["a"]}, {"maxProperties": 1}]});
        assert!(begins(&closed, r#"{"a": 1}"#, 1), "a second member ends the second form");
        let never = json!({"not": {"required": ["a", "b"]}});
        assert!(begins(&never, r#"{"a": 1}"#, 1) && !begins(&never, r#"{"a": 1, "b": 2}"#, 1));
        let narrow = json!({"not": {"required": ["a"], "maxProperties": 1}});
        assert!(begins(&narrow, r#"{"a": 1}"#, 1), "more members end it");
    }

    #[test]
    fn a_condition_that_is_settled_is_not_waited_for() {
        let schema = json!({
            "properties": {"country": {"type": "string"}, "postal": {"type": "string"}},
            "if": {"properties": {"country": {"const": "US"}}, "required": ["country"]},
            "then": {"properties": {"postal": {"pattern": "^[0-9]{5}$"}}},
            "else": {"properties": {"postal": {"maxLength": 3}}}
        });
        assert!(!begins(&schema, r#"{"country": "US", "postal": ""}"#, 1));
        assert!(begins(&schema, r#"{"country": "US", "postal": "12345"}"#, 1));
        assert!(!begins(&schema, r#"{"country": "DE", "postal": "12345"}"#, 1));
        assert!(begins(&schema, r#"{"postal": "12345"}"#, 1), "the country is not told yet");
        let by_kind = json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "integer"}});
        assert!(!begins(&by_kind, r#"{"a": 1}"#, 1 + 1));
        assert!(begins(&by_kind, "7", 0) && !begins(&by_kind, "[]", 0));
    }

    #[test]
    fn what_nothing_evaluates_yet_may_be_evaluated_by_a_branch_that_is_not_whole() {
        let schema = json!({"allOf": [
            {"properties": {"a": {}}, "required": ["a", "c"]}, {"properties": {"b": {}, "c": {}}}
        ], "unevaluatedProperties": false});
        assert!(begins(&schema, r#"{"a": 1}"#, 1), "c is missing, so that the first branch evaluates nothing");
        assert!(!begins(&schema, r#"{"a": 1}"#, 0));
    }
}
