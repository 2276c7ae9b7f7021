//! Folders that are cut short, changed, or not what they seem: errors that say what is wrong, never a panic.

use super::header::Header;
use super::*;
use proptest::prelude::*;

fn message(path: &Path) -> String {
    match try_load(path) {
        Ok(_) => panic!("the folder is damaged, and was loaded"),
        Err(error) => format!("{error:#}"),
    }
}

/// A header and as many bytes of data, as a file.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refused(header: &str, data: usize) -> String {
    let bytes = file(header, data);
    format!("{:#}", Header::parse(&bytes[..], bytes.len() as u64).expect_err("damaged"))
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
                      "b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}"#;

#[test]
fn every_truncation_is_an_error() {
    let whole = file(GOOD, 32);
    let header = Header::parse(&whole[..], whole.len() as u64).expect("readable");
    assert_eq!((header.tensors["a"].bytes, header.tensors["b"].offset), (24, whole.len() as u64 - 8));
    for length in 0..whole.len() {
        assert!(Header::parse(&whole[..length], length as u64).is_err(), "cut at {length}");
        // The file was cut while it was being read.
        let header_length = whole.len() - 32;
        assert!(length >= header_length || Header::parse(&whole[..length], whole.len() as u64).is_err());
    }
}

#[test]
fn wrong_headers_are_refused_and_name_the_tensor() {
    for (from, to, said) in [
        ("[0,24]", "[0,20]", "tensor a: data_offsets span 20 bytes"),
        ("[0,24]", "[24,0]", "tensor a: data_offsets are 24 to 0"),
        ("[24,32]", "[24,40]", "tensor b: data_offsets are 24 to 40"),
        ("[24,32]", "[16,24]", "tensors a and b overlap"),
        ("[24,32]", "[18446744073709551608,18446744073709551615]", "tensor b: data_offsets"),
        ("[24,32]", "[-1,7]", "tensor b"),
        ("[2,3]", "[4294967296,4294967296]", "tensor a: the shape [4294967296, 4294967296] is impossible"),
        ("[2,3]", "[2.5]", "tensor a"),
        ("\"shape\":[4],", "", "tensor b: its shape is missing or not a list of whole numbers"),
        ("[24,32]", "[24]", "tensor b: its data_offsets are missing or not two whole numbers"),
        ("\"BF16\"", "7", "tensor b: its dtype is missing or not a text"),
        ("{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}", "[]", "tensor b: its dtype is missing"),
        ("{\"__", "[{\"__", "not a JSON object"),
    ] {
        let header = GOOD.replace(from, to);
        assert_ne!(header, GOOD);
        assert!(refused(&header, 32).contains(said), "{from} {to}: {}", refused(&header, 32));
    }
    let mut long = file(GOOD, 32);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = Header::parse(&long[..], u64::MAX).expect_err("too long").to_string();
    assert!(error.contains("the header claims 18446744073709551615 bytes"), "{error}");
    assert!(refused(&"[".repeat(100_000), 0).contains("not a JSON object"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn mutations_never_panic(changes in proptest::collection::vec((0usize..1000, any::<u8>()), 1..8), cut in 0usize..400) {
        let mut bytes = file(GOOD, 32);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        let _ = Header::parse(&bytes[..], bytes.len() as u64);
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Llama, None, 1);
    let weights = path.join("model.safetensors");
    let whole = fs::read(&weights).expect("read");
    for cut in (0..whole.len()).step_by(whole.len() / 40).chain([7, 8, 9, whole.len() - 1]) {
        fs::write(&weights, &whole[..cut]).expect("written");
        assert!(message(&path).contains("model.safetensors"), "cut at {cut}: {}", message(&path));
    }
}

#[test]
fn configurations_that_lack_something_or_ask_for_more_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Qwen3, None, 1);
    let config = path.join("config.json");
    let good = fs::read(&config).expect("read");
    for (key, value, said) in [
        ("model_type", json!(null), "config.json lacks model_type"),
        ("model_type", json!("mamba"), "model_type is \"mamba\"; supported are"),
        ("model_type", json!("gemma3"), "images and text"),
        ("model_type", json!("llama"), "self_attn.k_norm.weight is not part of a llama model"),
        ("hidden_size", json!(null), "lacks hidden_size"),
        ("hidden_size", json!(-64), "hidden_size is -64, not a whole number"),
        ("hidden_size", json!(32), "model.embed_tokens.weight has the shape [263, 64], not [263, 32]"),
        ("num_hidden_layers", json!(2), "of 2 layers"),
        ("num_hidden_layers", json!(4), "lacks the tensor model.layers.3.input_layernorm.weight"),
        ("num_hidden_layers", json!(16_000_000), "num_hidden_layers is 16000000"),
        ("num_hidden_layers", json!(0), "num_hidden_layers is 0, not a whole number"),
        ("num_attention_heads", json!(null), "lacks num_attention_heads"),
        ("num_attention_heads", json!(3), "num_attention_heads 3 do not divide"),
        ("head_dim", json!(null), "lacks head_dim"),
        ("head_dim", json!(31), "a head_dim of 31 is impossible"),
        ("intermediate_size", json!(null), "lacks intermediate_size"),
        ("intermediate_size", json!(95), "mlp.gate_proj.weight has the shape [96, 64], not [95, 64]"),
        ("vocab_size", json!(264), "has the shape [263, 64], not [264, 64]"),
        ("rms_norm_eps", json!(null), "lacks rms_norm_eps"),
        ("rms_norm_eps", json!(-1), "rms_norm_eps is -1; numbers between 0 and 1"),
        ("rms_norm_eps", json!(1e30), "rms_norm_eps is 1000000000000000000000000000000; numbers between 0 and 1"),
        ("rms_norm_eps", json!(vec![1; 50]), "rms_norm_eps is a list of 50, not a finite number"),
        ("rope_theta", json!(0), "rope_theta is 0, not a positive number"),
        ("max_position_embeddings", json!(null), "lacks max_position_embeddings"),
        ("attention_bias", json!(true), "attention_bias is true"),
        ("hidden_act", json!("gelu"), "hidden_act is gelu"),
        ("quantization_config", json!({"quant_method": "gptq"}), "quantised safetensors are not supported"),
        (
            "rope_scaling",
            json!({"rope_type": "dynamic", "factor": 2}),
            "rope_scaling: rope_type is dynamic; default, linear",
        ),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 2}), "lacks original_max_position_embeddings"),
        ("rope_scaling", json!({"type": "yarn"}), "rope_scaling lacks factor"),
        ("rope_scaling", json!({"factor": 2}), "rope_scaling has a factor, but lacks rope_type"),
        ("rope_scaling", json!([]), "rope_scaling is not an object"),
        ("tie_word_embeddings", json!("yes"), "tie_word_embeddings is \"yes\", not true or false"),
        ("tie_word_embeddings", json!(false), "lacks the tensor lm_head.weight"),
        ("eos_token_id", json!(100_000), "eos_token_id is 100000"),
    ] {
        set(&config, key, value.clone());
        let message = message(&path);
        assert!(message.contains(said), "{key} {value}: {message}");
        let mends = ["download it again", "take another model", "take a model for text", "take a GGUF file"];
        assert!(mends.iter().any(|mend| message.contains(mend)), "no mend: {message}");
        fs::write(&config, &good).expect("written");
    }
    for garbage in ["", "[]", "{", "null"] {
        fs::write(&config, garbage).expect("written");
        assert!(message(&path).contains("config.json is not a JSON object"), "{}", message(&path));
    }
    fs::remove_file(&config).expect("removed");
    assert!(message(&path).contains("config.json"));
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Llama, None, 2);
    let index = path.join("model.safetensors.index.json");
    let good = fs::read(&index).expect("read");
    let map: Value = serde_json::from_slice::<Value>(&good).expect("JSON")["weight_map"].clone();
    let with = |tensor: &str, file: Value| {
        let mut map = map.clone();
        map[tensor] = file;
        map
    };
    let second = "model-00002-of-00002.safetensors";
    for (map, said) in [
        (with("model.embed_tokens.weight", json!("../weights.safetensors")), "not the name of a file"),
        (with("model.embed_tokens.weight", json!(7)), "not the name of a file"),
        (with("model.embed_tokens.weight", json!(second)), "lacks the tensor model.embed_tokens.weight"),
        (with("more", json!(second)), "lacks the tensor more"),
        (with("more", json!("model-9.safetensors")), "model-9.safetensors"),
        (json!({}), "names 0 files"),
        (json!([]), "weight_map is not an object"),
        (json!(null), "lacks weight_map"),
    ] {
        set(&index, "weight_map", map);
        assert!(message(&path).contains(said), "{said}: {}", message(&path));
    }
    fs::write(&index, &good).expect("written");
    try_load(&path).expect("it was right before");
    fs::remove_file(path.join(second)).expect("removed");
    assert!(message(&path).contains(second), "{}", message(&path));
    fs::remove_file(&index).expect("removed");
    assert!(message(&path).contains("neither model.safetensors nor"), "{}", message(&path));
}

#[test]
fn types_that_cannot_be_loaded_and_tokenizers_of_another_model_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Llama, None, 1);
    let weights = path.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("read");
    let at = bytes.windows(3).position(|w| w == b"F32").expect("a type");
    let whole = bytes.clone();
    bytes[at..at + 3].copy_from_slice(b"I32");
    fs::write(&weights, &bytes).expect("written");
    assert!(message(&path).contains("it is stored as I32"), "{}", message(&path));
    fs::write(&weights, whole).expect("written");

    let tokenizer = path.join("tokenizer.json");
    let good = fs::read(&tokenizer).expect("read");
    let mut file: Value = serde_json::from_slice(&good).expect("JSON");
    file["model"]["vocab"]["beyond"] = json!(1000);
    fs::write(&tokenizer, file.to_string()).expect("written");
    assert!(message(&path).contains("do not belong together"), "{}", message(&path));
    set(&tokenizer, "decoder", json!(null));
    assert!(message(&path).contains("it has no decoder"), "{}", message(&path));
    set(&tokenizer, "decoder", json!({"type": "WordPiece", "prefix": "##", "cleanup": true}));
    assert!(message(&path).contains("WordPiece"), "{}", message(&path));
    fs::write(&tokenizer, &good[..good.len() / 2]).expect("written");
    assert!(message(&path).contains("tokenizer.json"), "{}", message(&path));
    fs::remove_file(&tokenizer).expect("removed");
    assert!(message(&path).contains("tokenizer.json"), "{}", message(&path));
}

#[test]
fn a_tokenizer_that_would_end_the_program_is_refused() {
    let read = |changes: &[(&str, Value)]| {
        let mut file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
        });
        for (pointer, value) in changes {
            *file.pointer_mut(pointer).expect("a place") = value.clone();
        }
        TextTokenizer::from_json(file.to_string().as_bytes(), 3)
    };
    assert_eq!(read(&[]).expect("sound").encode("ab", false).expect("ids"), [2]);
    let refused = |pointer, value| format!("{:#}", read(&[(pointer, value)]).err().expect("refused"));
    let model = |prefix: &str| json!({"type": "BPE", "continuing_subword_prefix": prefix, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]});
    // One is longer than what it should stand before, one would cut a character.
    assert!(refused("/model", model("##########")).contains("prefix"));
    assert!(refused("/model", model("\u{e9}")).contains("prefix"));
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let many = json!({"type": "Sequence", "normalizers": vec![double; 40]});
    assert!(refused("/normalizer", many).contains("times as long"));
    assert!(refused("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(100)})).contains("times as long"));
    assert!(refused("/model", json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]})).contains("again"));
}

#[cfg(unix)]
#[test]
fn what_stands_in_the_place_of_a_file_is_called_what_it_is() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Llama, None, 1);
    let names =
        ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"];
    for name in names.into_iter().chain(["chat_template.jinja", "model.safetensors.index.json"]) {
        let (file, kept) = (path.join(name), path.join("kept"));
        let was_there = fs::rename(&file, &kept).is_ok();
        // The index is looked for only where there is no such file.
        let weights = path.join("model.safetensors");
        let hidden = name.ends_with("index.json") && fs::rename(&weights, path.join("hidden")).is_ok();
        fs::create_dir(&file).expect("made");
        assert!(message(&path).contains(&format!("{name} is a folder, not a file")), "{}", message(&path));
        fs::remove_dir(&file).expect("removed");
        std::os::unix::fs::symlink("nowhere", &file).expect("linked");
        assert!(message(&path).contains(&format!("{name} is a link to nowhere")), "{}", message(&path));
        fs::remove_file(&file).expect("removed");
        assert!(std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo").success());
        assert!(message(&path).contains(&format!("{name} is a named pipe, not a file")), "{}", message(&path));
        fs::remove_file(&file).expect("removed");
        if was_there {
            fs::rename(&kept, &file).expect("put back");
        }
        if hidden {
            fs::rename(path.join("hidden"), &weights).expect("put back");
        }
    }
    try_load(&path).expect("it was right before");
}
