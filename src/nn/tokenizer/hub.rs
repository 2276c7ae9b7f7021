//! The tokenizer that a `tokenizer.json` describes, run by the crate that defines that format.
//!
//! Such a file may combine its parts in ways that our own tokenizers do not know, and the ids that it gives there are by
//! definition the right ones. The crate can panic, on a damaged file and where a regular expression gives up on a long
//! text; that becomes an error here. What would make it do worse is refused before.

use super::vocabulary::{BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED, Vocabulary};
use super::{Encoder, SPM_SPACE, TextTokenizer, bytes};
use crate::error::{Context, Error, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use tokenizers::Tokenizer;

pub(super) struct Hub {
    tokenizer: Tokenizer,
    /// The same, for texts in which special tokens are not to be recognised: made when first asked for.
    plain: OnceLock<Tokenizer>,
    /// How many tokens the model has.
    rows: usize,
}

impl Hub {
    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let tokenizer = if special {
            &self.tokenizer
        } else {
            self.plain.get_or_init(|| {
                let mut plain = self.tokenizer.clone();
                plain.set_encode_special_tokens(true);
                plain
            })
        };
        let ids = ids(tokenizer, text, false)?;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.rows) {
            let token = tokenizer.id_to_token(*id).unwrap_or_default();
            bail!(
                "the text holds {token:?}, which this model has no embedding for: it is meant for another kind of model"
            );
        }
        Ok(ids)
    }
}

fn ids(tokenizer: &Tokenizer, text: &str, framed: bool) -> Result<Vec<u32>> {
    match catch_unwind(AssertUnwindSafe(|| tokenizer.encode_fast(text, framed))) {
        Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
        Ok(Err(error)) => Err(failure(error)),
        Err(_) => bail!("the tokenizer gave up on a text of {} bytes: shorten it", text.len()),
    }
}

fn failure(error: tokenizers::Error) -> Error {
    anyhow!("{error}; download the file again, or take another model")
}

impl TextTokenizer {
    /// Builds the tokenizer of a `tokenizer.json`, for a model that has so many tokens.
    pub(crate) fn from_json(json: &[u8], rows: usize) -> Result<Self> {
        refuse_harmful(&serde_json::from_slice(json).context("it is not JSON")?)?;
        let read = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(json)));
        let mut tokenizer = match read {
            Ok(read) => read.map_err(failure)?,
            Err(_) => bail!("its parts do not fit each other; download the file again, or take another model"),
        };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failure)?;
        let byte_level = is_byte_level(&tokenizer)?;
        let added = tokenizer.get_added_tokens_decoder();

        let mut tokens = Vec::new();
        let mut types = Vec::new();
        let mut set = |id: u32, text: &str, kind: i32| {
            let id = id as usize;
            if tokens.len() <= id {
                tokens.resize(id + 1, String::new());
                types.resize(id + 1, UNUSED);
            }
            text.clone_into(&mut tokens[id]);
            types[id] = kind;
        };
        for (text, id) in tokenizer.get_vocab(false) {
            let is_byte = !byte_level && bytes::byte_token(&text).is_some();
            // Tokens that are declared apart may lie beyond the model's: those of a model for images, say.
            ensure!(
                (id as usize) < rows || added.contains_key(&id),
                "the token {text:?} has the number {id}, but config.json says that there are {rows}: these files do not \
                 belong together"
            );
            if (id as usize) < rows {
                set(id, &text, if is_byte { BYTE } else { NORMAL });
            }
        }
        for (&id, token) in added.iter().filter(|(id, _)| (**id as usize) < rows) {
            let kind = if token.special { CONTROL } else { USER_DEFINED };
            if byte_level {
                set(id, &token.content, kind);
            } else {
                set(id, &token.content.replace(SPM_SPACE, " "), kind);
            }
        }
        let vocabulary = Vocabulary::new(tokens, Vec::new(), types, false)?;
        let encoder = Encoder::Hub(Box::new(Hub { tokenizer, plain: OnceLock::new(), rows }));
        Ok(Self { vocabulary, encoder, byte_level })
    }

    /// The token that goes before every text, by the file's own rule.
    pub(crate) fn puts_first(&self) -> Result<Option<u32>> {
        match &self.encoder {
            Encoder::Hub(hub) => Ok(ids(&hub.tokenizer, "", true)?.first().copied()),
            Encoder::Own { .. } => Ok(None),
        }
    }
}

/// How many times as long a text may become before it is cut into tokens. SentencePiece writes three bytes for a space.
const MOST_GROWTH: usize = 64;

/// Refuses what the crate is not safe from: a prefix that cuts characters, and replacements that multiply a text.
fn refuse_harmful(file: &Value) -> Result<()> {
    let prefix = file.pointer("/model/continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default();
    ensure!(
        prefix.is_empty() || file.pointer("/model/type") == Some(&Value::from("WordPiece")),
        "the prefix {prefix:?} of continued words is not supported; take another model"
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

/// Whether tokens are bytes in the alphabet of byte-level BPE; else a space is written as SentencePiece does. Any other
/// way of writing tokens would come out wrong.
fn is_byte_level(tokenizer: &Tokenizer) -> Result<bool> {
    let decoder = serde_json::to_value(tokenizer.get_decoder()).context("looking at the decoder")?;
    let steps = match decoder.get("decoders").and_then(Value::as_array) {
        Some(steps) => steps.clone(),
        None => vec![decoder],
    };
    let kinds: Vec<&str> = steps.iter().filter_map(|step| step.get("type").and_then(Value::as_str)).collect();
    if kinds.contains(&"ByteLevel") {
        return Ok(true);
    }
    ensure!(
        kinds.contains(&"Metaspace") || kinds.contains(&"Replace"),
        "the decoder {kinds:?} is not supported: byte-level and SentencePiece vocabularies are; take another model"
    );
    Ok(false)
}
