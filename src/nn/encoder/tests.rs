//! The sentence encoder against a plain implementation.

use super::*;
use candle_core::Device as CandleDevice;
use serde_json::json;
use std::collections::HashMap;
use std::path::PathBuf;
use tempfile::TempDir;

const WIDTH: usize = 8;
const POSITIONS: usize = 16;

fn cpu() -> Device {
    Device(CandleDevice::Cpu)
}

/// A small BERT with fixed, unequal weights.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "three", "four"];
    let config = json!({
        "model_type": "bert", "vocab_size": words.len(), "hidden_size": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 12, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0
    });
    let ids: HashMap<&str, usize> = words.iter().enumerate().map(|(id, &word)| (word, id)).collect();
    // Padding and truncation as published files carry them: the encoder sets its own.
    let tokenizer = json!({
        "version": "1.0",
        "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids}
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();

    let mut tensors = HashMap::new();
    let mut state = 1_u32;
    let mut add = |name: String, shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &CandleDevice::Cpu).unwrap());
    };
    add("embeddings.word_embeddings.weight".into(), &[words.len(), WIDTH]);
    add("embeddings.position_embeddings.weight".into(), &[POSITIONS, WIDTH]);
    add("embeddings.token_type_embeddings.weight".into(), &[2, WIDTH]);
    let layer = "encoder.layer.0";
    for norm in ["embeddings", &format!("{layer}.attention.output"), &format!("{layer}.output")] {
        add(format!("{norm}.LayerNorm.weight"), &[WIDTH]);
        add(format!("{norm}.LayerNorm.bias"), &[WIDTH]);
    }
    for (name, out, input) in [
        ("attention.self.query", WIDTH, WIDTH),
        ("attention.self.key", WIDTH, WIDTH),
        ("attention.self.value", WIDTH, WIDTH),
        ("attention.output.dense", WIDTH, WIDTH),
        ("intermediate.dense", 12, WIDTH),
        ("output.dense", WIDTH, 12),
    ] {
        add(format!("{layer}.{name}.weight"), &[out, input]);
        add(format!("{layer}.{name}.bias"), &[out]);
    }
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|value| value.to_bits()).collect()
}

fn failure(folder: &TempDir) -> String {
    SentenceEncoder::load(folder.path(), &cpu()).map(|_| ()).map_err(|error| format!("{error:#}")).unwrap_err()
}

#[test]
fn vectors_have_length_one_and_equal_texts_equal_bits_in_any_company() {
    let folder = folder();
    let encoder = SentenceEncoder::load(folder.path(), &cpu()).unwrap();
    let texts = ["one two", "three", "", "one two three four one", "one two", "two one"];
    let vectors = encoder.encode(&texts).unwrap();
    assert_eq!(vectors.len(), texts.len());
    for (text, vector) in texts.iter().zip(&vectors) {
        assert_eq!(vector.len(), encoder.dimensions());
        assert!((dot(vector, vector) - 1.0).abs() < 1e-6);
        assert_eq!(bits(&encoder.encode(&[text]).unwrap()[0]), bits(vector), "{text:?}");
    }
    assert_ne!(bits(&vectors[0]), bits(&vectors[5]), "the order of the words counts");
    assert!(encoder.encode(&[]).unwrap().is_empty());
}

#[test]
fn text_past_the_limit_does_not_count_and_the_limit_is_the_folders() {
    let folder = folder();
    let long = "one two three four ".repeat(50);
    let encode = |text: &str| {
        let encoder = SentenceEncoder::load(folder.path(), &cpu()).unwrap();
        bits(&encoder.encode(&[text]).unwrap()[0])
    };
    // Without a limit of its own: as many as the model has positions, two of them for the frame.
    let within: Vec<&str> = long.split_whitespace().take(POSITIONS - 2).collect();
    assert_eq!(encode(&long), encode(&within.join(" ")));
    assert_ne!(encode(&long), encode(&within[1..].join(" ")));
    std::fs::write(folder.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 6}"#).unwrap();
    assert_eq!(encode(&long), encode("one two three four"));
    assert_ne!(encode(&long), encode("one two three"));
}

#[test]
fn missing_and_damaged_files_are_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = folder();
        let path: PathBuf = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() / 2], b"", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(failure(&folder).contains(name), "{}", failure(&folder));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(failure(&folder).contains(name), "{}", failure(&folder));
    }
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    for (from, to, wanted) in [
        ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "inconsistent"),
        ("\"num_attention_heads\":2", "\"num_attention_heads\":3", "inconsistent"),
        ("\"hidden_size\":8", "\"hidden_size\":16", "model.safetensors"),
        ("\"num_hidden_layers\":1", "\"num_hidden_layers\":1000000000000", "model.safetensors"),
        ("\"model_type\":\"bert\"", "\"model_type\":\"mpnet\"", "`mpnet`"),
    ] {
        let folder = folder();
        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(&path, text.replace(from, to)).unwrap();
        assert!(failure(&folder).contains(wanted), "{}", failure(&folder));
    }
    let folder = folder();
    std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    std::fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens": false}"#).unwrap();
    assert!(failure(&folder).contains("mean"), "{}", failure(&folder));
}

#[test]
fn a_vector_without_a_direction_is_an_error() {
    assert!(pooled(&[0.0, 0.0], 2).is_err());
    assert!(pooled(&[f32::NAN, 0.0], 2).is_err());
    assert!(pooled(&[], 2).is_err());
    assert_eq!(pooled(&[3.0, 0.0, 3.0, 8.0], 2).unwrap(), [0.6, 0.8]);
}

#[test]
fn our_own_kernels_give_the_states_of_candles_model() {
    let folder = folder();
    let own = SentenceEncoder::load(folder.path(), &cpu()).unwrap();
    assert!(matches!(own.model, Model::Own(_)));
    let config = config(&folder.path().join("config.json")).unwrap();
    let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &CandleDevice::Cpu).unwrap();
    let candle = BertModel::load(weights, &config).unwrap();
    let theirs =
        SentenceEncoder { model: Model::Candle(candle), ..SentenceEncoder::load(folder.path(), &cpu()).unwrap() };
    let texts = ["one two", "", "three four one two three four one two", "four"];
    let tokens: Vec<Encoding> = texts.iter().map(|text| own.tokens(text).unwrap()).collect();
    let (ours, theirs) = (own.states(&tokens).unwrap(), theirs.states(&tokens).unwrap());
    assert_eq!(ours.len(), theirs.len());
    // Matrices are rounded to thirteen bits.
    assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 2e-3), "{ours:?}, not {theirs:?}");
}
