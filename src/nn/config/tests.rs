//! Descriptions in GGUF files that are impossible, or would load and give wrong results.

use crate::nn::LanguageModel;
use crate::nn::testing::{Family, HEADS, write_changed};
use candle_core::quantized::gguf_file::Value;

/// Why a generated file with some metadata changed is refused; `None` where it is not.
fn refusal(family: Family, changes: &[(&str, Option<Value>)]) -> Option<String> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("changed.gguf");
    write_changed(&path, family, changes).expect("written");
    LanguageModel::inspect(&path).err().map(|error| format!("{error:#}"))
}

#[test]
fn what_is_impossible_is_refused_by_file_key_and_mend() {
    let text = |text: &str| Value::String(text.to_owned());
    for (key, value, said) in [
        ("attention.head_count", Value::U32(3), "attention.head_count is 3 and llama.attention.head_count_kv is 2"),
        ("attention.head_count", Value::U32(64), "by llama.embedding_length over llama.attention.head_count"),
        ("attention.head_count", Value::U32(0), "attention.head_count is 0; at least 1 is needed"),
        ("attention.key_length", Value::U32(7), "heads of 7 elements, by the metadata llama.attention.key_length"),
        ("attention.value_length", Value::U32(32), "by the metadata llama.attention.value_length"),
        ("expert_count", Value::U32(8), "by the metadata llama.expert_count"),
        ("block_count", Value::U32(0), "llama.block_count is 0; at least 1 is needed"),
        ("block_count", Value::U32(2), "llama.block_count is 2, but there is a tensor blk.2."),
        ("block_count", Value::U32(1000), "llama.block_count is 1000, but the file has only"),
        ("block_count", Value::U32(u32::MAX), "llama.block_count is 4294967295; at most"),
        ("block_count", text("three"), "llama.block_count is the text \"three\", not a non-negative integer"),
        ("embedding_length", Value::U32(128), "rows of 64, but metadata llama.embedding_length is 128"),
        ("rope.dimension_count", Value::U32(7), "llama.rope.dimension_count is 7; an even number up to 16"),
        ("rope.dimension_count", Value::U32(18), "llama.rope.dimension_count is 18; an even number up to 16"),
        ("rope.freq_base", Value::F32(0.0), "llama.rope.freq_base is 0; numbers above 0"),
        (
            "rope.scaling.type",
            text("weird"),
            "llama.rope.scaling.type is the text \"weird\"; none, linear, yarn and longrope",
        ),
        ("rope.scaling.type", text("yarn"), "llama.rope.scaling.factor is missing or 0"),
        ("rope.scaling.factor", Value::F32(-1.0), "llama.rope.scaling.factor is -1; numbers above 0"),
        ("attention.layer_norm_rms_epsilon", Value::F32(-1.0), "llama.attention.layer_norm_rms_epsilon is -1; numbers"),
        ("attention.layer_norm_rms_epsilon", Value::F32(0.0), "llama.attention.layer_norm_rms_epsilon is 0; numbers"),
        (
            "attention.layer_norm_rms_epsilon",
            Value::F32(1e30),
            "layer_norm_rms_epsilon is 1000000015047466200000000000000;",
        ),
        (
            "attention.layer_norm_rms_epsilon",
            Value::F64(1e-60),
            "layer_norm_rms_epsilon is 0.0000000000000000000000000000",
        ),
    ] {
        let key = format!("llama.{key}");
        let refusal = refusal(Family::Llama, &[(&key, Some(value))]).unwrap_or_else(|| panic!("not refused: {said}"));
        assert!(refusal.contains("changed.gguf: ") && refusal.contains(said), "{said} is not in: {refusal}");
        let mends = ["download it again", "take another model", "use a dense model"];
        assert!(mends.iter().any(|mend| refusal.contains(mend)), "no mend: {refusal}");
    }
}

#[test]
fn what_does_not_apply_may_be_zero() {
    let changes = [
        ("qwen3.rope.scaling.factor", Some(Value::F32(0.0))),
        ("qwen3.attention.sliding_window", Some(Value::U32(0))),
        ("qwen3.attention.head_count_kv", Some(Value::U32(HEADS as u32 / 2))),
        ("qwen3.expert_count", Some(Value::U32(0))),
        ("qwen3.rope.scaling.type", Some(Value::String("none".to_owned()))),
    ];
    assert_eq!(refusal(Family::Qwen3, &changes), None);
}

#[test]
fn an_unknown_architecture_is_told_without_its_control_characters_and_not_at_length() {
    for (name, said) in [
        ("\u{1b}[31mrwkv", "general.architecture is the text \"\\u{1b}[31mrwkv\"; supported are"),
        (&"x".repeat(100_000), "general.architecture is a text of 100000 bytes; supported are"),
    ] {
        let refusal = refusal(Family::Llama, &[("general.architecture", Some(Value::String(name.to_owned())))]);
        assert!(refusal.as_ref().is_some_and(|refusal| refusal.contains(said)), "{refusal:?}");
    }
}
