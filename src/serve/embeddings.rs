//! `POST /v1/embeddings`: texts as vectors of the sentence encoder.

use super::error::ApiError;
use super::fields::{flag, given, integer, object, text};
use crate::nn::SentenceEncoder;
use axum::http::StatusCode;
use base64::Engine as _;
use serde_json::{Value, json};

/// Most texts of a request, as OpenAI has it.
const MAX_TEXTS: usize = 2048;

/// A sentence encoder and what it is called.
pub struct Embeddings {
    name: String,
    encoder: SentenceEncoder,
}

impl std::fmt::Debug for Embeddings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Embeddings({})", self.name)
    }
}

/// A checked request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: Option<String>,
    texts: Vec<String>,
    dimensions: Option<u64>,
    base64: bool,
    /// Whether a text that is too long may lose its end.
    truncate: bool,
}

impl Asked {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = object(body)?;
        let wrong = || {
            let message = format!(
                "input must be a text or a list of 1 to {MAX_TEXTS} texts, none of them empty; token ids are not offered by \
                 this server"
            );
            ApiError::invalid("input", message)
        };
        let texts = match given(&fields, "input") {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(list)) => {
                let texts: Option<Vec<_>> = list.iter().map(|text| text.as_str().map(str::to_owned)).collect();
                texts.ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        };
        if texts.is_empty() || texts.len() > MAX_TEXTS || texts.iter().any(String::is_empty) {
            return Err(wrong());
        }
        let base64 = match text(&fields, "encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(ApiError::invalid("encoding_format", "encoding_format is float or base64")),
        };
        Ok(Self {
            model: text(&fields, "model")?,
            texts,
            dimensions: integer(&fields, "dimensions")?,
            base64,
            truncate: flag(&fields, "truncate")?,
        })
    }
}

impl Embeddings {
    /// Embeddings by an encoder that is called `name`.
    #[must_use]
    pub fn new(name: String, encoder: SentenceEncoder) -> Self {
        Self { name, encoder }
    }

    /// What the encoder is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reply to a request, and how many tokens its texts have.
    pub(super) fn answer(&self, asked: &Asked) -> Result<(Value, u64), ApiError> {
        let own = self.encoder.dimensions();
        if asked.dimensions.is_some_and(|dimensions| dimensions != own as u64) {
            let message = format!("{} gives vectors of {own} numbers and no others", self.name);
            return Err(ApiError::invalid("dimensions", message));
        }
        let failed = |error: crate::error::Error| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("embedding with {}: {error:#}", self.name))
        };
        let texts: Vec<&str> = asked.texts.iter().map(String::as_str).collect();
        let counts = self.encoder.count(&texts).map_err(failed)?;
        if let Some(index) = counts.iter().position(|count| count.is_cut).filter(|_| !asked.truncate) {
            let message = format!(
                "input[{index}] has more than the {} tokens that {} reads: shorten it or cut it in pieces, or let its end be \
                 left out with \"truncate\": true",
                self.encoder.max_tokens(),
                self.name
            );
            return Err(ApiError::invalid("input", message).with_code("context_length_exceeded"));
        }
        let vectors = self.encoder.encode(&texts).map_err(failed)?;
        let tokens: u64 = counts.iter().map(|count| count.tokens as u64).sum();
        let written = |vector: &Vec<f32>| {
            if !asked.base64 {
                return json!(vector);
            }
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        };
        let data: Vec<Value> = vectors
            .iter()
            .enumerate()
            .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": written(vector)}))
            .collect();
        let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        Ok((json!({"object": "list", "data": data, "model": self.name, "usage": usage}), tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_or_a_list_of_texts_is_asked_for_and_every_wrong_field_is_named() {
        let parse = |body: Value| Asked::parse(body.to_string().as_bytes());
        let asked = parse(json!({"model": "m", "input": "a", "encoding_format": "base64", "truncate": true})).unwrap();
        assert!(asked.base64 && asked.truncate && asked.texts == ["a"]);
        assert_eq!(parse(json!({"input": ["a", "b"]})).unwrap().texts, ["a", "b"]);
        for (param, body) in [
            ("input", json!({})),
            ("input", json!({"input": []})),
            ("input", json!({"input": ""})),
            ("input", json!({"input": ["a", ""]})),
            ("input", json!({"input": [1, 2]})),
            ("input", json!({"input": [[1, 2]]})),
            ("input", json!({"input": vec!["a"; MAX_TEXTS + 1]})),
            ("encoding_format", json!({"input": "a", "encoding_format": "int8"})),
            ("dimensions", json!({"input": "a", "dimensions": -1})),
            ("model", json!({"input": "a", "model": []})),
        ] {
            assert_eq!(parse(body.clone()).unwrap_err().param, Some(param), "{body}");
        }
    }
}
