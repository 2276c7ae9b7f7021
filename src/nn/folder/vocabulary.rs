//! What a folder says of its vocabulary and its chat format.

use super::json::{MEND, Object, said};
use crate::error::{Context, Result, bail, ensure};
use crate::files;
use crate::nn::chat::ChatTemplate;
use crate::nn::tokenizer::TextTokenizer;
use crate::nn::vocabulary::{Vocabulary, add_known_ends};
use serde_json::Value;
use std::path::Path;

/// Vocabularies of a quarter of a million tokens take about 35 MB.
const LONGEST_TOKENIZER: u64 = 128 << 20;
const LONGEST_CONFIG: u64 = 16 << 20;
const LONGEST_TEMPLATE: u64 = 1 << 20;

/// Reads the tokenizer, the template and the tokens with a meaning of their own. `rows` is how many tokens the embedding
/// has.
pub(super) fn read(folder: &Path, config: &Object, rows: usize) -> Result<Vocabulary> {
    let path = folder.join("tokenizer.json");
    let tokenizer = TextTokenizer::from_json(&files::read(&path, LONGEST_TOKENIZER)?, rows)
        .with_context(|| format!("reading the tokenizer {}", path.display()))?;
    let settings = settings(folder)?;
    let generation = Object::optional(&folder.join("generation_config.json"), LONGEST_CONFIG)?;

    let named = |key: &str| -> Result<Option<(u32, String)>> {
        let Some(text) = token_text(&settings, key)? else { return Ok(None) };
        Ok(tokenizer.id_of(&text).map(|id| (id, text)))
    };
    let bos = named("bos_token")?;
    let eos = named("eos_token")?;
    let bos_id = match &bos {
        Some((id, _)) => Some(*id),
        None => ids(config, "bos_token_id", rows)?.first().copied(),
    };
    let mut ends: Vec<u32> = eos.iter().map(|(id, _)| *id).collect();
    for id in ids(&generation, "eos_token_id", rows)?.into_iter().chain(ids(config, "eos_token_id", rows)?) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    add_known_ends(&mut ends, &tokenizer);

    let starts = match settings.boolean("add_bos_token")? {
        Some(starts) => starts,
        None => bos_id.is_some() && tokenizer.puts_first()? == bos_id,
    };
    let text = |token: &Option<(u32, String)>| token.as_ref().map_or(String::new(), |(_, text)| text.clone());
    let template = match template(folder)? {
        None => None,
        Some(source) => Some(
            ChatTemplate::new(&source, &text(&bos), &text(&eos))
                .with_context(|| format!("reading the chat template of {}", folder.display()))?,
        ),
    };
    Ok(Vocabulary { tokenizer: std::sync::Arc::new(tokenizer), template, start: bos_id.filter(|_| starts), ends })
}

fn settings(folder: &Path) -> Result<Object> {
    Object::optional(&folder.join("tokenizer_config.json"), LONGEST_CONFIG)
}

/// The source of the chat template: a file of its own, else an entry of `tokenizer_config.json`, which is one template or
/// several with names.
pub(super) fn template(folder: &Path) -> Result<Option<String>> {
    let path = folder.join("chat_template.jinja");
    if files::exists(&path)? {
        let source = String::from_utf8(files::read(&path, LONGEST_TEMPLATE)?);
        return source.with_context(|| format!("{} is not UTF-8: {MEND}", path.display())).map(Some);
    }
    let settings = settings(folder)?;
    let origin = settings.origin();
    let templates = match settings.get("chat_template") {
        None => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(source.clone())),
        Some(Value::Array(templates)) => templates,
        Some(_) => bail!("{origin}: chat_template is neither a text nor a list of templates with names: {MEND}"),
    };
    let field = |template: &Value, key: &str| template.get(key).and_then(Value::as_str).map(str::to_owned);
    let default = templates.iter().find(|template| field(template, "name").as_deref() == Some("default"));
    let source = default.and_then(|template| field(template, "template"));
    source.with_context(|| format!("{origin}: chat_template has no template of the name default: {MEND}")).map(Some)
}

/// The text of a special token, which is written as such or within an object.
fn token_text(settings: &Object, key: &str) -> Result<Option<String>> {
    let text = match settings.get(key) {
        None => return Ok(None),
        Some(Value::String(text)) => Some(text),
        Some(Value::Object(token)) => match token.get("content") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        Some(_) => None,
    };
    let text = text.with_context(|| format!("{}: {key} is not a token's text: {MEND}", settings.origin()))?;
    Ok(Some(text.clone()))
}

/// One id or a list of them.
fn ids(object: &Object, key: &str, rows: usize) -> Result<Vec<u32>> {
    let values = match object.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    };
    let mut ids = Vec::new();
    for value in values {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id
            .with_context(|| format!("{}: {key} is {}, not a token's number: {MEND}", object.origin(), said(&value)))?;
        ensure!((id as usize) < rows, "{}: {key} is {id}, but there are {rows} tokens: {MEND}", object.origin());
        ids.push(id);
    }
    Ok(ids)
}
