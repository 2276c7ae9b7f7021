//! The targets for what a folder of safetensors holds: its `tokenizer.json`; its configuration, the headers of its weights
//! and its settings.

use super::END;
use crate::error::{Context, Result};
use crate::nn::decoder::Decoder;
use crate::nn::folder::Folder;
use crate::nn::stream::TextStream;
use crate::nn::testing::{self, Family, write_folder};
use crate::nn::tokenizer::TextTokenizer;
use candle_core::Device;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// How many tokens the model has that a fuzzed `tokenizer.json` is for.
const ROWS: usize = 300;

/// Reads a `tokenizer.json`, and takes texts to tokens and back.
pub fn fuzz_tokenizer_json(bytes: &[u8]) {
    let Ok(tokenizer) = TextTokenizer::from_json(bytes, ROWS) else { return };
    assert!(tokenizer.vocabulary() <= ROWS, "no more tokens than the model has");
    let _ = tokenizer.puts_first();
    for text in
        ["We'll see the 12 bins.\n\n  <s>Then\u{e9} \u{65e5}<|im_end|> ", "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b"]
    {
        for special in [false, true] {
            let Ok(ids) = tokenizer.encode(text, special) else { continue };
            let mut stream = TextStream::new(&["</s>".to_owned()]);
            for id in ids {
                assert!((id as usize) < ROWS, "ids are tokens");
                if stream.push(&tokenizer.token_bytes(id)).stopped {
                    break;
                }
            }
            stream.finish();
        }
    }
}

/// Loads a folder from an input of four parts with a byte between that no text has: `config.json`, the header of
/// `model.safetensors`, `tokenizer_config.json` and `generation_config.json`. Parts that are missing are files that are not
/// there; the weights are zeros, and `tokenizer.json` is that of the generated checkpoints.
pub fn fuzz_folder(bytes: &[u8]) {
    let _ = loaded(bytes);
}

/// More than the tensors of the seeds take.
const DATA: u64 = 1 << 20;

fn loaded(bytes: &[u8]) -> Result<Folder> {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a folder for the fuzzed files");
        fs::write(place.path().join("tokenizer.json"), testing::tokenizer_json().to_string()).expect("a tokenizer");
        place
    });
    let mut parts = bytes.split(|&byte| byte == END);
    for name in ["config.json", "model.safetensors", "tokenizer_config.json", "generation_config.json"] {
        let path = place.path().join(name);
        match parts.next() {
            Some(header) if name == "model.safetensors" => write_weights(&path, header)?,
            Some(part) => fs::write(&path, part).context("writing a part")?,
            None => {
                // It may never have been there.
                let _ = fs::remove_file(&path);
            }
        }
    }
    let folder = Folder::open(place.path())?;
    let source = folder.source();
    for (name, entry) in source.tensors() {
        assert_eq!(source.read(name)?.len() as u64, entry.bytes, "tensor {name} lies in the file");
    }
    Decoder::load(folder.config().clone(), source, &Device::Cpu)?;
    let vocabulary = folder.vocabulary()?;
    let rows = folder.config().vocabulary;
    assert!(vocabulary.start.iter().chain(&vocabulary.ends).all(|&id| (id as usize) < rows), "ids are tokens");
    Ok(folder)
}

fn write_weights(path: &Path, header: &[u8]) -> Result<()> {
    let mut file = File::create(path).context("writing the weights")?;
    file.write_all(&(header.len() as u64).to_le_bytes()).context("writing the weights")?;
    file.write_all(header).context("writing the weights")?;
    file.set_len(8 + header.len() as u64 + DATA).context("writing the weights")
}

/// The configuration and the header of each family's generated folder, with one layer.
pub(super) fn folder_seeds() -> Result<Vec<(String, Vec<u8>)>> {
    let place = tempfile::tempdir().context("a folder for seeds")?;
    let mut seeds = Vec::new();
    for family in Family::ALL {
        let path = place.path().join(family.architecture());
        write_folder(&path, family, None, 1, 1)?;
        let read = |name: &str| fs::read(path.join(name)).with_context(|| format!("reading {name} of a seed"));
        let mut config: Value = serde_json::from_slice(&read("config.json")?)?;
        config["num_hidden_layers"] = json!(1);
        let weights = read("model.safetensors")?;
        let (length, rest) = weights.split_first_chunk::<8>().context("a header's length")?;
        let header = rest.get(..u64::from_le_bytes(*length) as usize).context("a header")?;
        let mut header: serde_json::Map<String, Value> = serde_json::from_slice(header)?;
        header.retain(|name, _| !name.starts_with("model.layers.") || name.starts_with("model.layers.0."));
        let mut end = 0;
        for (_, tensor) in header.iter_mut().filter(|(name, _)| *name != "__metadata__") {
            let bytes = tensor["data_offsets"][1].as_u64().zip(tensor["data_offsets"][0].as_u64());
            let (start, bytes) = (end, bytes.map_or(0, |(end, start)| end - start));
            end = start + bytes;
            tensor["data_offsets"] = json!([start, end]);
        }
        let parts = [
            config.to_string().into_bytes(),
            serde_json::to_vec(&header)?,
            read("tokenizer_config.json")?,
            read("generation_config.json")?,
        ];
        seeds.push((format!("{family:?}").to_lowercase(), parts.join(&END)));
    }
    Ok(seeds)
}

/// The generated vocabulary, and small ones of every kind with a part of every type that real files have.
pub(super) fn tokenizer_json_seeds() -> Vec<(String, Vec<u8>)> {
    let added = |id: usize, content: &str, special: bool| {
        json!({"id": id, "content": content, "special": special, "normalized": !special, "single_word": false,
               "lstrip": false, "rstrip": !special})
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let start = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
    let file = |normalizer: &Value, pre: &Value, post: &Value, decoder: &Value, model: Value| {
        json!({"version": "1.0", "truncation": null, "padding": null,
               "added_tokens": [added(1, "<s>", true), added(9, "<|im_end|>", true), added(10, "<tool>", false)],
               "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model})
    };
    let words = ["<unk>", "<s>", "a", "b", "\u{2581}", "ab", "\u{2581}a", "e", "<0x0A>", "<0x41>"];
    let ids: serde_json::Map<String, Value> =
        (words.iter().zip(0..)).map(|(&word, id)| (word.to_owned(), json!(id))).collect();
    let bpe = |more: Value| {
        let mut model = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true, "vocab": ids,
                               "merges": ["a b", "\u{2581} a"]});
        if let (Value::Object(model), Value::Object(more)) = (&mut model, more) {
            model.extend(more);
        }
        model
    };
    let none = Value::Null;
    let spaces = json!({"type": "Sequence", "decoders": [replace("\u{2581}", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    let normal = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}, {"type": "Prepend",
                        "prepend": "\u{2581}"}, replace(" ", "\u{2581}"), {"type": "StripAccents"}]});
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": true});
    let split = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|\\s+(?!\\S)|[^\\s]+"}, "behavior": "Isolated", "invert": false},
        {"type": "Digits", "individual_digits": true}, {"type": "Punctuation", "behavior": "Contiguous"}, byte_level]});
    let scores: Vec<Value> =
        words.iter().zip(0..).map(|(word, score)| json!([word, -0.5 * f64::from(score)])).collect();
    let seeds = [
        ("generated", testing::tokenizer_json()),
        ("byte-level", file(&none, &split, &byte_level, &byte_level, bpe(json!({"ignore_merges": true})))),
        ("sentence-piece", file(&normal, &none, &start, &spaces, bpe(json!({"byte_fallback": true})))),
        (
            "unigram",
            file(
                &json!({"type": "NFKC"}),
                &metaspace,
                &start,
                &metaspace,
                json!({"type": "Unigram", "unk_id": 0, "vocab": scores, "byte_fallback": true}),
            ),
        ),
        (
            "words",
            file(
                &none,
                &json!({"type": "Whitespace"}),
                &none,
                &metaspace,
                json!({"type": "WordLevel", "vocab": ids, "unk_token": "<unk>"}),
            ),
        ),
    ];
    seeds.into_iter().map(|(name, file)| (name.to_owned(), file.to_string().into_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzing_starts_from_folders_that_are_valid() {
        for (name, bytes) in folder_seeds().expect("seeds") {
            let folder = loaded(&bytes).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert!(folder.vocabulary().expect("a vocabulary").template.is_some());
        }
    }

    #[test]
    fn fuzzing_starts_from_tokenizer_files_that_are_valid() {
        for (name, bytes) in tokenizer_json_seeds() {
            let tokenizer = TextTokenizer::from_json(&bytes, ROWS).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert!(!tokenizer.encode("ab a", true).expect("ids").is_empty(), "{name}");
            fuzz_tokenizer_json(&bytes);
        }
    }
}
