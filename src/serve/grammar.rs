//! What an answer is to be held to while it is generated.

use super::error::ApiError;
use super::fields::{given, text, texts};
use crate::contract::Contract;
use crate::nn::Grammar;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What the answer is held to, and by which field: `response_format`, or what vLLM calls `guided_json`, `guided_regex` and
/// `guided_choice`.
pub(super) fn grammar(fields: &Map<String, Value>) -> Result<(&'static str, Option<Arc<Grammar>>), ApiError> {
    const NAMES: [&str; 4] = ["response_format", "guided_json", "guided_regex", "guided_choice"];
    let named: Vec<&'static str> = NAMES.into_iter().filter(|name| given(fields, name).is_some()).collect();
    let name = named.first().copied().unwrap_or("response_format");
    let grammar = match named.as_slice() {
        ["guided_json"] => guided_json(fields)?,
        ["guided_regex"] => guided(name, text(fields, name)?.as_deref().map(Grammar::regex))?,
        ["guided_choice"] => guided(name, texts(fields, name)?.as_deref().map(Grammar::choice))?,
        [] | ["response_format"] => response_format(fields)?,
        _ => {
            let both = named.join(" and ");
            return Err(ApiError::invalid(name, format!("{both} cannot both hold the answer: give one")));
        }
    };
    Ok((name, grammar))
}

fn guided(
    name: &'static str,
    grammar: Option<crate::error::Result<Grammar>>,
) -> Result<Option<Arc<Grammar>>, ApiError> {
    let grammar = grammar.transpose().map_err(|error| ApiError::invalid(name, format!("{name}: {error:#}")))?;
    Ok(grammar.map(Arc::new))
}

/// A schema, or its text.
fn guided_json(fields: &Map<String, Value>) -> Result<Option<Arc<Grammar>>, ApiError> {
    let name = "guided_json";
    let schema = match given(fields, name) {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        other => other.cloned(),
    };
    let schema = schema.filter(|schema: &Value| schema.is_object() || schema.is_boolean());
    let schema = schema.ok_or_else(|| ApiError::invalid(name, "guided_json must be a JSON Schema, or its text"))?;
    held_to(name, name, &schema)
}

pub(super) fn held_to(field: &'static str, name: &str, schema: &Value) -> Result<Option<Arc<Grammar>>, ApiError> {
    let contract = Contract::new(name, schema).map_err(|error| ApiError::invalid(field, format!("{error:#}")))?;
    Ok(Some(Arc::clone(contract.grammar())))
}

fn response_format(fields: &Map<String, Value>) -> Result<Option<Arc<Grammar>>, ApiError> {
    let Some(format) = given(fields, "response_format") else { return Ok(None) };
    let invalid = |message: String| ApiError::invalid("response_format", message);
    let contract = |schema: &Value| held_to("response_format", "response_format.json_schema.schema", schema);
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => contract(&json!({"type": "object"})),
        Some("json_schema") => {
            let schema = format.get("json_schema").and_then(|named| named.get("schema"));
            let schema = schema.filter(|schema| schema.is_object() || schema.is_boolean());
            let schema = schema.ok_or_else(|| invalid("response_format.json_schema.schema must be a schema".into()))?;
            contract(schema)
        }
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            Err(invalid(format!("response_format {other:?} is not known: use text, json_object or json_schema")))
        }
        None => Err(invalid("response_format must be an object with a type".to_owned())),
    }
}
