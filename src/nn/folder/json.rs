//! Typed reading of the JSON files of a folder. They are outside input: their size is bounded, and an error names the
//! file and the key.

use crate::error::{Context, Result, bail};
use crate::files;
use serde_json::{Map, Value};
use std::path::Path;

/// What helps where a file is not what it has to be.
pub(super) const MEND: &str = "download it again, or take another model";

/// No size in a model's description is larger.
const LARGEST_SIZE: u64 = 1 << 24;

/// An object in a JSON file.
#[derive(Debug)]
pub(super) struct Object {
    /// The file, and the key of an inner object.
    origin: String,
    fields: Map<String, Value>,
}

impl Object {
    pub(super) fn read(path: &Path, limit: u64) -> Result<Self> {
        Self::parse(&files::read(path, limit)?, path.display().to_string())
    }

    fn parse(json: &[u8], origin: String) -> Result<Self> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(fields)) => Ok(Self { origin, fields }),
            Ok(_) => bail!("{origin} is not a JSON object: download it again"),
            Err(error) => bail!("{origin} is not a JSON object: download it again ({error})"),
        }
    }

    /// An empty object where there is no such file.
    pub(super) fn optional(path: &Path, limit: u64) -> Result<Self> {
        if files::exists(path)? {
            Self::read(path, limit)
        } else {
            Ok(Self { origin: path.display().to_string(), fields: Map::new() })
        }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// A value; null is as good as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn inner(&self, key: &str) -> Result<Option<Self>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Value::Object(fields) = value else { bail!("{}: {key} is not an object: {MEND}", self.origin) };
        Ok(Some(Self { origin: format!("{}: {key}", self.origin), fields: fields.clone() }))
    }

    fn typed<T>(&self, key: &str, what: &str, pick: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        pick(value).with_context(|| format!("{}: {key} is {}, not {what}: {MEND}", self.origin, said(value))).map(Some)
    }

    /// A number of things, one at least.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, &format!("a whole number from 1 to {LARGEST_SIZE}"), |value| {
            value.as_u64().filter(|size| (1..=LARGEST_SIZE).contains(size)).map(|size| size as usize)
        })
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a finite number", |value| value.as_f64().filter(|float| float.is_finite()))
    }

    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a positive number", |value| value.as_f64().filter(|f| f.is_finite() && *f > 0.0))
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .as_str()
            .with_context(|| format!("{}: {key} is {}, not a text: {MEND}", self.origin, said(value)))
            .map(Some)
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&[Value]>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let items = value
            .as_array()
            .with_context(|| format!("{}: {key} is {}, not a list: {MEND}", self.origin, said(value)))?;
        Ok(Some(items))
    }

    /// Fails with the file and the key where a value is missing.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.with_context(|| format!("{} lacks {key}: {MEND}", self.origin))
    }

    pub(super) fn needed(&self, key: &str) -> Result<usize> {
        self.required(key, self.size(key)?)
    }
}

/// A value as it stands in an error: never a whole list or object.
pub(super) fn said(value: &Value) -> String {
    const LONGEST: usize = 40;
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > LONGEST => format!("a text of {} bytes", text.len()),
        other => other.to_string(),
    }
}
