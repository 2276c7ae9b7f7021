//! The tokenizer that a `tokenizer.json` describes, run by the crate that defines that format.
//!
//! Such a file may combine its parts in ways that our own tokenizers do not know, and the ids that it gives there are by
//! definition the right ones. The crate can panic where a regular expression gives up on a long text; that becomes an error
//! here.

use super::file::{self, MEND};
use super::vocabulary::{BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED, Vocabulary};
use super::{Encoder, SPM_SPACE, TextTokenizer, bytes, controls};
use crate::error::{Context, Result, anyhow, bail, ensure};
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
        Ok(Err(_)) => bail!(
            "the tokenizer has no token for a part of a text of {} bytes, and none for what is unknown: take another model",
            text.len()
        ),
        Err(_) => bail!("the tokenizer gave up on a text of {} bytes: shorten it", text.len()),
    }
}

/// The models of which tokens can become text again. WordPiece, which marks the middles of words, is that of encoders.
const KINDS: [&str; 3] = ["BPE", "Unigram", "WordLevel"];

impl TextTokenizer {
    /// Builds the tokenizer of a `tokenizer.json`, for a model that has so many tokens.
    pub(crate) fn from_json(json: &[u8], rows: usize) -> Result<Self> {
        let mut tokenizer = file::read(json, &KINDS)?;
        tokenizer.with_padding(None);
        // Only the absence of a truncation, which is right for every tokenizer, is asked for.
        tokenizer.with_truncation(None).map_err(|_| anyhow!("its truncation cannot be switched off: {MEND}"))?;
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
        Ok(Self { controls: controls(&vocabulary), vocabulary, encoder, byte_level })
    }

    /// The token that goes before every text, by the file's own rule.
    pub(crate) fn puts_first(&self) -> Result<Option<u32>> {
        match &self.encoder {
            Encoder::Hub(hub) => Ok(ids(&hub.tokenizer, "", true)?.first().copied()),
            Encoder::Own { .. } => Ok(None),
        }
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
    ensure!(!kinds.is_empty(), "it has no decoder, without which tokens cannot become text: {MEND}");
    ensure!(
        kinds.contains(&"Metaspace") || kinds.contains(&"Replace"),
        "the decoder {} is not supported: byte-level and SentencePiece vocabularies are; take another model",
        kinds.join(", ")
    );
    Ok(false)
}
