//! Fields of a request's body, each read as what it must be.

use super::error::ApiError;
use axum::http::StatusCode;
use serde_json::{Map, Value};

/// Most stop texts.
const MAX_STOPS: usize = 16;

/// A body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(ApiError::new(StatusCode::BAD_REQUEST, "the body is not a JSON object")),
    }
}

pub(super) fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

pub(super) fn text(fields: &Map<String, Value>, name: &'static str) -> Result<Option<String>, ApiError> {
    let Some(value) = given(fields, name) else { return Ok(None) };
    value
        .as_str()
        .map(|text| Some(text.to_owned()))
        .ok_or_else(|| ApiError::invalid(name, format!("{name} must be a text")))
}

pub(super) fn texts(fields: &Map<String, Value>, name: &'static str) -> Result<Option<Vec<String>>, ApiError> {
    let Some(value) = given(fields, name) else { return Ok(None) };
    let list = value.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
    list.map(Some).ok_or_else(|| ApiError::invalid(name, format!("{name} must be a list of texts")))
}

pub(super) fn flag(fields: &Map<String, Value>, name: &'static str) -> Result<bool, ApiError> {
    match given(fields, name) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| ApiError::invalid(name, format!("{name} must be true or false"))),
    }
}

pub(super) fn integer(fields: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, ApiError> {
    let Some(value) = given(fields, name) else { return Ok(None) };
    // -1 is how some clients write "no limit"; it is refused like any other wrong number.
    value.as_u64().map(Some).ok_or_else(|| ApiError::invalid(name, format!("{name} must be a whole number, 0 or more")))
}

pub(super) fn number(
    fields: &Map<String, Value>,
    name: &'static str,
    low: f64,
    high: f64,
) -> Result<Option<f64>, ApiError> {
    let Some(value) = given(fields, name) else { return Ok(None) };
    let number = value.as_f64().filter(|number| (low..=high).contains(number));
    number.map(Some).ok_or_else(|| ApiError::invalid(name, format!("{name} must be a number from {low} to {high}")))
}

pub(super) fn seed(fields: &Map<String, Value>) -> Result<Option<u64>, ApiError> {
    let Some(value) = given(fields, "seed") else { return Ok(None) };
    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    seed.map(Some).ok_or_else(|| ApiError::invalid("seed", "seed must be a whole number"))
}

/// Stop texts, from the field of that name.
pub(super) fn stop(name: &'static str, value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let invalid = || {
        ApiError::invalid(
            name,
            format!("{name} must be a text or a list of at most {MAX_STOPS} texts, none of them empty"),
        )
    };
    let stops = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => {
            let texts: Option<Vec<_>> = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(invalid)?
        }
        Some(_) => return Err(invalid()),
    };
    if stops.len() > MAX_STOPS || stops.iter().any(String::is_empty) { Err(invalid()) } else { Ok(stops) }
}
