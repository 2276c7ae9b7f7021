//! A `tokenizer.json` as the crate that defines the format reads it, with errors in words.
//!
//! The crate's own errors are those of its deserialiser and name its types. Where it refuses a file, the parts are looked at
//! one by one to say what is wrong. It can panic on a damaged file, which becomes an error here too; what would make it do
//! worse is refused before.

use crate::error::{Error, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PaddingParams, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TruncationParams,
};

/// What helps where the file is not what it has to be.
pub(super) const MEND: &str = "download the file again, or take another model";

/// Reads a tokenizer whose model is of one of the kinds.
pub(crate) fn read(json: &[u8], kinds: &[&str]) -> Result<Tokenizer> {
    let file = match serde_json::from_slice(json) {
        Ok(Value::Object(file)) => file,
        Ok(_) => bail!("it is not a JSON object: {MEND}"),
        Err(error) => bail!("it is not JSON: {MEND} ({error})"),
    };
    let Some(Value::Object(model)) = file.get("model") else {
        bail!("it has no model, which is an object with a vocabulary: {MEND}")
    };
    // Old files do not say; the crate tells by what is there.
    if let Some(kind) = model.get("type").filter(|kind| !kind.is_null()) {
        ensure!(
            kind.as_str().is_some_and(|kind| kinds.contains(&kind)),
            "its model is of the type {}, which is not supported: take a model with one of {}",
            said(kind),
            kinds.join(", ")
        );
    }
    refuse_harmful(&file, model)?;
    match catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(json))) {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(_)) | Err(_) => Err(fault(&file, model)),
    }
}

/// How many times as long a text may become before it is cut into tokens. SentencePiece writes three bytes for a space.
const MOST_GROWTH: usize = 64;

/// Refuses what the crate is not safe from: a prefix that cuts characters, and replacements that multiply a text. And what
/// leaves the tokens of a text to chance.
fn refuse_harmful(file: &Map<String, Value>, model: &Map<String, Value>) -> Result<()> {
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        prefix.is_empty() || model.get("type") == Some(&Value::from("WordPiece")),
        "the prefix {prefix:?} of continued words is not supported; take another model"
    );
    ensure!(
        model.get("dropout").is_none_or(|share| share.is_null() || share.as_f64() == Some(0.0)),
        "its model.dropout is not 0, so that a text would become other tokens each time: set it to null"
    );
    let growth = file.get("normalizer").map_or(1, growth);
    ensure!(growth <= MOST_GROWTH, "its normalizer can make a text {growth} times as long; take another model");
    Ok(())
}

/// How many times as long a normalizer can make a text, at most and about.
fn growth(normalizer: &Value) -> usize {
    if let Some(all) = normalizer.get("normalizers").and_then(Value::as_array) {
        return all.iter().map(growth).fold(1, usize::saturating_mul);
    }
    let length = |pointer: &str| normalizer.pointer(pointer).and_then(Value::as_str).map_or(0, str::len);
    match normalizer.get("type").and_then(Value::as_str) {
        // One letter has this much more before it.
        Some("Prepend") => 1 + length("/prepend"),
        Some("Replace") => length("/content").div_ceil(length("/pattern/String").max(1)).max(1),
        _ => 1,
    }
}

/// Why the crate refused a file.
fn fault(file: &Map<String, Value>, model: &Map<String, Value>) -> Error {
    type Reads = fn(&Value) -> bool;
    let parts: [(&str, Reads); 6] = [
        ("truncation", reads::<TruncationParams>),
        ("padding", reads::<PaddingParams>),
        ("normalizer", reads::<NormalizerWrapper>),
        ("pre_tokenizer", reads::<PreTokenizerWrapper>),
        ("post_processor", reads::<PostProcessorWrapper>),
        ("decoder", reads::<DecoderWrapper>),
    ];
    if let Some(version) = file.get("version").filter(|version| *version != "1.0") {
        return anyhow!("its version is {}; 1.0 is supported: {MEND}", said(version));
    }
    for (key, reads) in parts {
        if let Some(part) = file.get(key).filter(|part| !part.is_null() && !reads(part)) {
            let kind =
                part.get("type").map_or("without a type".to_owned(), |kind| format!("of the type {}", said(kind)));
            return anyhow!("its {key}, {kind}, is not of a form that is known: {MEND}");
        }
    }
    let described = ModelWrapper::deserialize(&Value::Object(model.clone()));
    match wrong_added_token(file).or_else(|| wrong_model(model)) {
        Some(wrong) => anyhow!("{wrong}: {MEND}"),
        None if described.is_err() => anyhow!("its model is not of a form that is known: {MEND}"),
        None => anyhow!("its parts do not fit each other: {MEND}"),
    }
}

fn reads<T: for<'a> Deserialize<'a>>(part: &Value) -> bool {
    catch_unwind(AssertUnwindSafe(|| T::deserialize(part).is_ok())).unwrap_or(false)
}

fn wrong_added_token(file: &Map<String, Value>) -> Option<String> {
    let tokens = file.get("added_tokens")?;
    let Some(tokens) = tokens.as_array() else { return Some("its added_tokens are not a list".to_owned()) };
    let is_right = |token: &Value| is_id(token.get("id")) && token.get("content").is_some_and(Value::is_string);
    let wrong = tokens.iter().position(|token| !is_right(token))?;
    Some(format!("entry {wrong} of its added_tokens is not an object with an id and a content"))
}

fn is_id(value: Option<&Value>) -> bool {
    value.and_then(Value::as_u64).is_some_and(|id| u32::try_from(id).is_ok())
}

fn wrong_model(model: &Map<String, Value>) -> Option<String> {
    let kind = model.get("type").and_then(Value::as_str);
    let needed = match kind {
        None | Some("BPE") => &["vocab", "merges"][..],
        Some("WordPiece") => &["vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"],
        Some("WordLevel") => &["vocab", "unk_token"],
        Some(_) => &["vocab"],
    };
    if let Some(missing) = needed.iter().find(|key| model.get(**key).is_none_or(Value::is_null)) {
        return Some(format!("its model lacks {missing}"));
    }
    let vocabulary = model.get("vocab")?;
    if kind == Some("Unigram") {
        let Some(tokens) = vocabulary.as_array() else { return Some("its model.vocab is not a list".to_owned()) };
        let is_right =
            |token: &Value| matches!(token.as_array().map(Vec::as_slice), Some([Value::String(_), Value::Number(_)]));
        let wrong = tokens.iter().position(|token| !is_right(token));
        return wrong.map(|at| format!("entry {at} of its model.vocab is not a text and a score"));
    }
    let Some(tokens) = vocabulary.as_object() else { return Some("its model.vocab is not an object".to_owned()) };
    if let Some((text, id)) = tokens.iter().find(|(_, id)| !is_id(Some(id))) {
        return Some(format!("its model.vocab gives {text:?} the number {}, which no token can have", said(id)));
    }
    let merges = model.get("merges")?;
    let Some(merges) = merges.as_array() else { return Some("its model.merges are not a list".to_owned()) };
    merges.iter().enumerate().find_map(|(at, merge)| {
        let pair = match merge {
            Value::String(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        // Files of this format may begin with a line of another that they were made from.
        let Some((left, right)) = pair else {
            return (!merge.as_str().is_some_and(|text| text.starts_with("#version")))
                .then(|| format!("entry {at} of its model.merges is not two tokens"));
        };
        let merged = format!("{left}{right}");
        let missing = [left, right, &merged].into_iter().find(|token| !tokens.contains_key(*token))?;
        Some(format!("entry {at} of its model.merges needs the token {missing:?}, which its model.vocab does not have"))
    })
}

/// A value as it stands in an error: never a whole list or object.
fn said(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() <= 40 && !text.chars().any(char::is_control) => text.clone(),
        Value::String(text) => format!("a text of {} bytes", text.len()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sound() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": null,
            "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                              "normalized": false, "special": true}],
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        })
    }

    fn refusal(json: &[u8]) -> String {
        let kinds = ["BPE", "Unigram", "WordLevel"];
        read(json, &kinds).err().unwrap_or_else(|| panic!("read: {}", String::from_utf8_lossy(json))).to_string()
    }

    #[test]
    fn what_is_wrong_is_said_in_words_and_without_the_names_of_the_crate() {
        read(sound().to_string().as_bytes(), &["BPE"]).expect("sound");
        let bpe = |vocab: Value, merges: Value| json!({"type": "BPE", "vocab": vocab, "merges": merges});
        let vocab = || json!({"a": 0, "b": 1, "ab": 2});
        let cases = [
            ("/model", json!(null), "it has no model"),
            ("/model", json!({"type": "WordPiece"}), "its model is of the type WordPiece, which is not supported"),
            ("/model", json!({"type": ["BPE"]}), "its model is of the type a list of 1"),
            ("/model", json!({}), "its model lacks vocab"),
            ("/model", json!({"type": "BPE", "vocab": {"a": 0}}), "its model lacks merges"),
            ("/model", json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": null}), "its model lacks unk_token"),
            (
                "/model",
                json!({"type": "Unigram", "vocab": [["a"]]}),
                "entry 0 of its model.vocab is not a text and a score",
            ),
            ("/model", bpe(json!([]), json!([])), "its model.vocab is not an object"),
            ("/model", bpe(json!({"a": -1}), json!([])), "gives \"a\" the number -1"),
            ("/model", bpe(json!({"a": "b"}), json!([])), "gives \"a\" the number b"),
            ("/model", bpe(vocab(), json!("a b")), "its model.merges are not a list"),
            ("/model", bpe(vocab(), json!(["a b", "ab"])), "entry 1 of its model.merges is not two tokens"),
            ("/model", bpe(vocab(), json!(["a q"])), "entry 0 of its model.merges needs the token \"q\""),
            ("/model", bpe(vocab(), json!([["a", "b"], "a b"])), "its model is not of a form that is known"),
            ("/model/dropout", json!(0.5), "its model.dropout is not 0"),
            ("/version", json!("2.0"), "its version is 2.0; 1.0 is supported"),
            ("/normalizer", json!({"type": "Foo"}), "its normalizer, of the type Foo, is not of a form that is known"),
            ("/pre_tokenizer", json!([]), "its pre_tokenizer, without a type,"),
            (
                "/pre_tokenizer",
                json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
                "its pre_tokenizer, of the type Split,",
            ),
            (
                "/post_processor",
                json!({"type": "TemplateProcessing"}),
                "its post_processor, of the type TemplateProcessing,",
            ),
            ("/decoder", json!({"type": 5}), "its decoder, of the type 5,"),
            ("/truncation", json!(7), "its truncation, without a type,"),
            ("/added_tokens", json!({}), "its added_tokens are not a list"),
            (
                "/added_tokens",
                json!([{"id": -1, "content": "x"}]),
                "entry 0 of its added_tokens is not an object with an id",
            ),
        ];
        for (pointer, value, said) in cases {
            let mut file = sound();
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            file.pointer_mut(parent).expect("a place")[key] = value;
            let refusal = refusal(file.to_string().as_bytes());
            assert!(refusal.contains(said), "{said} is not in: {refusal}");
            for internal in ["untagged", "enum", "struct", "variant", "expected", "invalid type", "Wrapper"] {
                assert!(!refusal.contains(internal), "{internal} is in: {refusal}");
            }
        }
        for (json, said) in
            [(&b"[]"[..], "it is not a JSON object"), (b"{\"a\"", "it is not JSON"), (b"", "it is not JSON")]
        {
            assert!(refusal(json).contains(said), "{}", refusal(json));
        }
    }
}
