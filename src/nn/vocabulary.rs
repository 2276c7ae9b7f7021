//! What a GGUF file says of its vocabulary and its chat format.

use super::chat::ChatTemplate;
use super::gguf::{Gguf, Value};
use super::tokenizer::{TextTokenizer, TokenizerSpec};
use crate::error::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::sync::Arc;

/// The tokenizer, the template and the tokens with a meaning of their own.
pub(crate) struct Vocabulary {
    pub(crate) tokenizer: Arc<TextTokenizer>,
    pub(crate) template: Option<ChatTemplate>,
    /// The start token, where prompts are to begin with it.
    pub(crate) start: Option<u32>,
    /// Tokens that end a turn.
    pub(crate) ends: Vec<u32>,
}

/// Tokens that end a turn in some family, whatever the metadata says: many files name only one of theirs.
const KNOWN_ENDS: [&str; 8] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|end_of_text|>", "</s>"];

/// Adds the known ends that a vocabulary has.
pub(crate) fn add_known_ends(ends: &mut Vec<u32>, id_of: impl Fn(&str) -> Option<u32>) {
    for id in KNOWN_ENDS.into_iter().filter_map(id_of) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
}

const TEMPLATE: &str = "tokenizer.chat_template";

/// Whether the file carries a chat template.
pub(crate) fn has_template(file: &Gguf) -> bool {
    matches!(file.get(TEMPLATE), Some(Value::Text(_)))
}

impl Vocabulary {
    pub(crate) fn read(file: &Gguf) -> Result<Self> {
        let spec = spec(file)?;
        let known = spec.tokens.len();
        let id = |name: &str| -> Result<Option<u32>> {
            let key = format!("tokenizer.ggml.{name}_token_id");
            let Some(id) = file.integer(&key)? else { return Ok(None) };
            ensure!(id < known, "{}: metadata {key} is {id}, but there are {known} tokens", file.path().display());
            Ok(Some(id as u32))
        };
        let bos = id("bos")?;
        let eos = id("eos")?;
        let mut ends: Vec<u32> = [eos, id("eot")?, id("eom")?].into_iter().flatten().collect();
        let by_text: HashMap<&str, u32> = spec.tokens.iter().map(String::as_str).zip(0..).collect();
        add_known_ends(&mut ends, |token| by_text.get(token).copied());
        let starts = match file.boolean("tokenizer.ggml.add_bos_token")? {
            Some(starts) => starts,
            None => {
                spec.model == "llama" || matches!(spec.pre.as_str(), "llama3" | "llama-v3" | "llama-bpe" | "tekken")
            }
        };
        let text = |id: Option<u32>| id.and_then(|id| spec.tokens.get(id as usize)).map_or("", String::as_str);
        let template = match file.text(TEMPLATE)? {
            None => None,
            Some(source) => Some(
                ChatTemplate::new(source, text(bos), text(eos))
                    .with_context(|| format!("reading the chat template of {}", file.path().display()))?,
            ),
        };
        let start = bos.filter(|_| starts);
        let tokenizer =
            TextTokenizer::new(spec).with_context(|| format!("reading the vocabulary of {}", file.path().display()))?;
        Ok(Self { tokenizer: Arc::new(tokenizer), template, start, ends })
    }
}

fn spec(file: &Gguf) -> Result<TokenizerSpec> {
    let path = file.path().display();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let texts = |name: &str| match file.get(&key(name)) {
        None => Ok(Vec::new()),
        Some(Value::Texts(texts)) => Ok(texts.clone()),
        Some(_) => bail!("{path}: metadata {} is not a list of texts", key(name)),
    };
    let tokens = texts("tokens")?;
    ensure!(!tokens.is_empty(), "{path} lacks the metadata tokenizer.ggml.tokens");
    let scores = match file.get(&key("scores")) {
        None => Vec::new(),
        Some(Value::Floats(scores)) => scores.clone(),
        Some(_) => bail!("{path}: metadata {} is not a list of numbers", key("scores")),
    };
    let token_types = match file.get(&key("token_type")) {
        None => Vec::new(),
        Some(Value::Integers(types)) => types.iter().map(|&t| i32::try_from(t).unwrap_or_default()).collect(),
        Some(_) => bail!("{path}: metadata {} is not a list of integers", key("token_type")),
    };
    for (name, length) in [("scores", scores.len()), ("token_type", token_types.len())] {
        ensure!(
            length == 0 || length == tokens.len(),
            "{path}: metadata {} has {length} entries for {} tokens",
            key(name),
            tokens.len()
        );
    }
    let model = file.required(&key("model"), file.text(&key("model"))?)?.to_owned();
    Ok(TokenizerSpec {
        add_space_prefix: file.boolean(&key("add_space_prefix"))?.unwrap_or(model == "llama"),
        pre: file.text(&key("pre"))?.unwrap_or("default").to_owned(),
        merges: texts("merges")?,
        model,
        tokens,
        scores,
        token_types,
    })
}
