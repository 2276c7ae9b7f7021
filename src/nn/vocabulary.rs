//! What a GGUF file says of its vocabulary and its chat format.

use super::chat::ChatTemplate;
use super::gguf::{Gguf, MEND, Value};
use super::tokenizer::{TextTokenizer, TokenizerSpec};
use crate::error::{Context, Result, bail, ensure};
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

/// Adds the known ends that a vocabulary has. A token of plain text ends nothing, whatever it reads like: Qwen's vocabulary has
/// HTML's `</s>`.
pub(crate) fn add_known_ends(ends: &mut Vec<u32>, tokenizer: &TextTokenizer) {
    for id in KNOWN_ENDS.into_iter().filter_map(|token| tokenizer.special_id_of(token)) {
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
            ensure!(
                id < known,
                "{}: metadata {key} is {id}, but there are {known} tokens: {MEND}",
                file.path().display()
            );
            Ok(Some(id as u32))
        };
        let bos = id("bos")?;
        let eos = id("eos")?;
        for unused in ["unknown", "padding", "mask", "cls", "seperator"] {
            id(unused)?;
        }
        let mut ends: Vec<u32> = [eos, id("eot")?, id("eom")?].into_iter().flatten().collect();
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
        add_known_ends(&mut ends, &tokenizer);
        Ok(Self { tokenizer: Arc::new(tokenizer), template, start, ends })
    }
}

fn spec(file: &Gguf) -> Result<TokenizerSpec> {
    let path = file.path().display();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let texts = |name: &str| match file.get(&key(name)) {
        None => Ok(Vec::new()),
        Some(Value::Texts(texts)) => Ok(texts.clone()),
        Some(_) => bail!("{path}: metadata {} is not a list of texts: {MEND}", key(name)),
    };
    let model = file.required(&key("model"), file.text(&key("model"))?)?.to_owned();
    let tokens = texts("tokens")?;
    let merges = texts("merges")?;
    let scores = match file.get(&key("scores")) {
        None => Vec::new(),
        Some(Value::Floats(scores)) => scores.clone(),
        Some(_) => bail!("{path}: metadata {} is not a list of numbers: {MEND}", key("scores")),
    };
    let token_types = match file.get(&key("token_type")) {
        None => Vec::new(),
        // What no type has as its number is refused with the entry's place later.
        Some(Value::Integers(types)) => types.iter().map(|&t| i32::try_from(t).unwrap_or(i32::MAX)).collect(),
        Some(_) => bail!("{path}: metadata {} is not a list of integers: {MEND}", key("token_type")),
    };
    let pre = file.text(&key("pre"))?.unwrap_or_default();
    // Old converters left some of these out. Every text would still become tokens, and often the wrong ones.
    let needed = match model.as_str() {
        "gpt2" => &[("merges", merges.is_empty()), ("token_type", token_types.is_empty()), ("pre", pre.is_empty())][..],
        "llama" => &[("scores", scores.is_empty()), ("token_type", token_types.is_empty())],
        _ => &[],
    };
    for (name, is_missing) in [("tokens", tokens.is_empty())].iter().chain(needed) {
        ensure!(
            !is_missing,
            "{path} lacks the metadata {}, or it is empty: without it texts would become the wrong tokens; convert the \
             model again with a current converter, or download it again",
            key(name)
        );
    }
    for (name, length) in [("scores", scores.len()), ("token_type", token_types.len())] {
        ensure!(
            length == 0 || length == tokens.len(),
            "{path}: metadata {} has {length} entries for {} tokens: {MEND}",
            key(name),
            tokens.len()
        );
    }
    Ok(TokenizerSpec {
        add_space_prefix: file.boolean(&key("add_space_prefix"))?.unwrap_or(model == "llama"),
        pre: pre.to_owned(),
        merges,
        model,
        tokens,
        scores,
        token_types,
    })
}

#[cfg(test)]
mod tests {
    use crate::nn::LanguageModel;
    use crate::nn::testing::{self, Family, write_changed};
    use candle_core::quantized::gguf_file::Value as Written;

    /// Why a llama checkpoint with some metadata changed has no tokenizer; `None` where it has one.
    fn refusal(changes: &[(&str, Option<Written>)]) -> Option<String> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("changed.gguf");
        write_changed(&path, Family::Llama, changes).expect("written");
        LanguageModel::tokenizer(&path).err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn a_vocabulary_that_lacks_what_its_tokens_depend_on_is_refused_by_file_and_key() {
        let count = testing::vocabulary().len();
        let scores = (0..count).map(|id| Written::F32(-(id as f32))).collect();
        let sentence_piece = [
            ("tokenizer.ggml.model", Some(Written::String("llama".to_owned()))),
            ("tokenizer.ggml.scores", Some(Written::Array(scores))),
        ];
        let (text, list) = (Written::String(String::new()), Written::Array(Vec::new()));
        let cases = [
            (&[][..], "merges", &list),
            (&[], "token_type", &list),
            (&[], "pre", &text),
            (&[], "tokens", &list),
            (&sentence_piece, "scores", &list),
            (&sentence_piece, "token_type", &list),
        ];
        for (kind, name, empty) in cases {
            assert_eq!(refusal(kind), None);
            let key = format!("tokenizer.ggml.{name}");
            for missing in [None, Some(empty.clone())] {
                let changes: Vec<_> = kind.iter().cloned().chain([(key.as_str(), missing)]).collect();
                let said = refusal(&changes).unwrap_or_else(|| panic!("loaded without {key}"));
                for part in ["changed.gguf", &key, "convert the model again"] {
                    assert!(said.contains(part), "{part} is not in: {said}");
                }
            }
        }
    }

    #[test]
    fn a_token_type_that_no_number_can_be_is_named_by_its_entry() {
        let count = testing::vocabulary().len() as i64;
        let types = (0..count).map(|id| Written::I64(if id == 5 { 1 << 40 } else { 1 })).collect();
        let said = refusal(&[("tokenizer.ggml.token_type", Some(Written::Array(types)))]).expect("refused");
        assert!(said.contains("tokenizer.ggml.token_type entry 5"), "{said}");
    }
}
