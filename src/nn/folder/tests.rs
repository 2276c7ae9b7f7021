//! Tests of folders against GGUF files of the same weights, against candle-transformers, and of damaged input.

use super::*;
use crate::clock::Clock;
use crate::nn::chat::Message;
use crate::nn::testing::{self, Half, Stored, cosine, folder_config, prompt, write_checkpoint, write_folder};
use crate::nn::{Device, DeviceChoice, GenerateOptions, LanguageModel, LoadOptions, TextTokenizer};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{gemma3, llama, mistral, phi3, qwen2, qwen3};
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;

mod damaged;
mod ropes;

const SEED: u64 = 11;
const CPU: candle_core::Device = candle_core::Device::Cpu;
type Generated = testing::Family;

fn write(folder: &Path, family: Generated, halved: Option<Half>, shards: usize) -> PathBuf {
    let path = folder.join(format!("{family:?}-{halved:?}-{shards}"));
    write_folder(&path, family, halved, shards, SEED).expect("written");
    path
}

fn load(path: &Path) -> LanguageModel {
    try_load(path).expect("loaded")
}

fn try_load(path: &Path) -> Result<LanguageModel> {
    LanguageModel::load(path, &Device::open(DeviceChoice::Cpu)?, &LoadOptions::default())
}

fn greedy(model: &mut LanguageModel, tokens: &[u32]) -> Vec<u32> {
    let options = GenerateOptions { max_tokens: 32, ..GenerateOptions::default() };
    let generated = model.generate(tokens, &options, &Clock::fake(), &mut |_| ControlFlow::Continue(()));
    generated.expect("generated").tokens.iter().map(|token| token.id).collect()
}

/// Changes one key of a JSON file; null takes it away.
fn set(path: &Path, key: &str, value: Value) {
    let mut file: Value = serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON");
    let fields = file.as_object_mut().expect("an object");
    if value.is_null() {
        fields.remove(key);
    } else {
        fields.insert(key.to_owned(), value);
    }
    fs::write(path, file.to_string()).expect("written");
}

#[test]
fn a_folder_and_a_gguf_file_of_the_same_weights_are_one_model() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Generated::ALL {
        let file = folder.path().join(format!("{family:?}.gguf"));
        write_checkpoint(&file, family, Stored::F32, SEED).expect("written");
        let (mut gguf, mut hub) = (load(&file), load(&write(folder.path(), family, None, 1)));
        // Longer than the windows of the families that have one.
        let tokens = prompt(301);
        let cosine = cosine(&gguf.logits(&tokens).expect("logits"), &hub.logits(&tokens).expect("logits"));
        assert!(cosine > 0.99999, "{family:?}: cosine {cosine}");
        assert_eq!(greedy(&mut gguf, &tokens), greedy(&mut hub, &tokens), "{family:?}");

        let (gguf_info, hub_info) = (gguf.info(), hub.info());
        assert_eq!(gguf_info.parameters, hub_info.parameters, "{family:?}");
        assert_eq!(gguf_info.tensor_types, hub_info.tensor_types, "{family:?}");
        assert_eq!(gguf_info.context_length, hub_info.context_length, "{family:?}");
        assert!(hub_info.has_chat_template);
        for text in ["the thing in there", "<|im_start|>a 12 b's\n\n  c<|im_end|>", "Grüße, 日本!  "] {
            assert_eq!(gguf.tokenize(text).expect("ids"), hub.tokenize(text).expect("ids"), "{text:?}");
        }
        let messages = [Message::new("system", "Be brief."), Message::new("user", "Hello")];
        assert_eq!(gguf.render(&messages).expect("rendered"), hub.render(&messages).expect("rendered"));
    }
}

#[test]
fn shards_and_halves_give_the_same_model() {
    let folder = tempfile::tempdir().expect("folder");
    let tokens = prompt(60);
    for family in [Generated::Qwen2, Generated::Phi3, Generated::Gemma3] {
        let path = write(folder.path(), family, None, 1);
        let whole = load(&path).logits(&tokens).expect("logits");
        let sharded = write(folder.path(), family, None, 3);
        assert!(!sharded.join("model.safetensors").exists());
        assert_eq!(whole, load(&sharded).logits(&tokens).expect("logits"), "{family:?}");
        let inspected = LanguageModel::inspect(&sharded).expect("inspected");
        assert_eq!(inspected.parameters, load(&path).info().parameters);
        for (half, least) in [(Half::F16, 0.9999), (Half::BF16, 0.995)] {
            let path = write(folder.path(), family, Some(half), 1);
            let mut model = load(&path);
            assert!(model.info().tensor_types.starts_with(&format!("{half:?} x ")), "{}", model.info().tensor_types);
            let cosine = cosine(&whole, &model.logits(&tokens).expect("logits"));
            assert!(cosine > least && cosine < 1.0, "{family:?} {half:?}: cosine {cosine}");
        }
    }
}

/// The same folder in candle's own models, which know nothing of ours.
fn candle_logits(path: &Path, family: Generated, tokens: &[u32]) -> Vec<f32> {
    fn described<T: serde::de::DeserializeOwned>(mut config: Value, more: Value) -> T {
        config.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        serde_json::from_value(config).expect("a configuration")
    }
    let bytes = fs::read(path.join("model.safetensors")).expect("read");
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &CPU).expect("weights");
    let config = folder_config(family);
    let input = Tensor::new(tokens, &CPU).and_then(|t| t.unsqueeze(0)).expect("input");
    let none = json!({});
    let logits = match family {
        Generated::Llama => {
            let config = described::<llama::LlamaConfig>(config, none).into_config(false);
            let mut cache = llama::Cache::new(true, DType::F32, &config, &CPU).expect("cache");
            llama::Llama::load(weights, &config).and_then(|model| model.forward(&input, 0, &mut cache))
        }
        Generated::Mistral => {
            mistral::Model::new(&described(config, none), weights).and_then(|mut model| model.forward(&input, 0))
        }
        Generated::Qwen2 => qwen2::ModelForCausalLM::new(&described(config, none), weights)
            .and_then(|mut model| model.forward(&input, 0)),
        Generated::Qwen3 => qwen3::ModelForCausalLM::new(&described(config, none), weights)
            .and_then(|mut model| model.forward(&input, 0)),
        Generated::Phi3 => {
            phi3::Model::new(&described(config, none), weights).and_then(|mut model| model.forward(&input, 0))
        }
        // It takes one token at a time only.
        Generated::Gemma3 => gemma3::Model::new(false, &described(config, none), weights).and_then(|mut model| {
            let mut steps = tokens.iter().enumerate();
            steps.try_fold(input, |_, (at, token)| model.forward(&Tensor::new(&[[*token]], &CPU)?, at))
        }),
    };
    logits.and_then(|t| t.flatten_all()?.to_vec1()).expect("logits")
}

#[test]
fn logits_agree_with_candle_transformers() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Generated::ALL {
        let path = write(folder.path(), family, None, 1);
        // Shorter than every window.
        let tokens = prompt(18);
        let theirs = candle_logits(&path, family, &tokens);
        let cosine = cosine(&load(&path).logits(&tokens).expect("logits"), &theirs);
        assert!(cosine > 0.99999, "{family:?}: cosine {cosine}");
    }
}

/// A SentencePiece vocabulary as Gemma's and Llama 2's are written.
#[test]
fn sentence_piece_vocabularies_give_bytes_and_spaces() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "b", "ab", "\u{2581}ab", "[T]"].map(String::from));
    let vocabulary: serde_json::Map<_, _> = tokens.iter().cloned().zip((0..).map(Value::from)).collect();
    let added = |text: &str, special: bool| {
        json!({"id": vocabulary[text], "content": text, "special": special, "normalized": false,
               "single_word": false, "lstrip": false, "rstrip": false})
    };
    let file = json!({
        "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null, "added_tokens": [added("<s>", true), added("</s>", true), added("[T]", false)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary, "merges": ["a b", "\u{2581} ab"]},
    });
    let bytes = file.to_string().into_bytes();
    let tokenizer = TextTokenizer::from_json(&bytes, tokens.len()).expect("a tokenizer");
    assert_eq!(tokenizer.puts_first().expect("ids"), Some(1));
    let text = "ab ab é[T]b";
    let ids = tokenizer.encode(text, true).expect("ids");
    assert_eq!(ids.first(), tokenizer.id_of("ab").as_ref());
    assert!(ids.contains(&(3 + 0xC3)) && ids.contains(&tokenizer.id_of("[T]").expect("added")));
    let bytes_of = |ids: &[u32]| ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).collect::<Vec<_>>();
    assert_eq!(bytes_of(&ids), text.as_bytes());
    // A control token is one token where it is asked for, and has no text; else it is text like any other.
    assert_eq!(tokenizer.encode("</s>", true).expect("ids"), [2]);
    assert!(bytes_of(&[2]).is_empty());
    assert_eq!(bytes_of(&tokenizer.encode("</s>", false).expect("ids")), b"</s>");

    let error = TextTokenizer::from_json(&bytes, tokens.len() - 3).err().expect("refused").to_string();
    assert!(error.contains("do not belong together"), "{error}");
}

#[test]
fn what_a_folder_says_of_starts_ends_and_templates_is_heeded() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Llama, None, 1);
    let end = testing::vocabulary().len() as u32 - 1;
    let vocabulary = || Folder::open(&path).and_then(|folder| folder.vocabulary());
    let read = vocabulary().expect("read");
    assert_eq!((read.start, &read.ends[..]), (None, &[end, end - 2][..]));

    set(&path.join("tokenizer_config.json"), "add_bos_token", json!(true));
    assert_eq!(vocabulary().expect("read").start, Some(end - 2));
    set(&path.join("tokenizer_config.json"), "chat_template", json!("from the settings"));
    let rendered = |read: Vocabulary| read.template.expect("a template").render(&[]).expect("rendered");
    assert_eq!(rendered(vocabulary().expect("read")), "from the settings");
    fs::write(path.join("chat_template.jinja"), "{{ bos_token }} from a file").expect("written");
    assert_eq!(rendered(vocabulary().expect("read")), "<|endoftext|> from a file");

    for name in ["tokenizer_config.json", "generation_config.json", "chat_template.jinja"] {
        fs::remove_file(path.join(name)).expect("removed");
    }
    set(&path.join("config.json"), "eos_token_id", json!(7));
    let read = vocabulary().expect("read");
    assert_eq!((read.start, read.ends.contains(&7), read.template.is_none()), (None, true, true));
    assert!(!Folder::open(&path).expect("read").has_template());
}
