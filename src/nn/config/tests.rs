//! Descriptions in GGUF files that are impossible, or would load and give wrong results.

use crate::nn::LanguageModel;
use crate::nn::gguf::Gguf;
use crate::nn::testing::{Family, HEADS, HIDDEN, write_changed, write_with_tensors};
use crate::nn::{Device, DeviceChoice, LoadOptions};
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
        ("rope.freq_base", Value::F32(0.0), "llama.rope.freq_base is 0; numbers from 1 on"),
        (
            "rope.scaling.type",
            text("weird"),
            "llama.rope.scaling.type is the text \"weird\"; none, linear, yarn and longrope",
        ),
        ("rope.scaling.type", text("yarn"), "llama.rope.scaling.factor is missing or 0"),
        ("rope.scaling.attn_factor", Value::F32(-1.0), "llama.rope.scaling.attn_factor is -1; numbers above 0"),
        (
            "rope.scaling.yarn_log_multiplier",
            Value::F32(1.0),
            "llama.rope.scaling.yarn_log_multiplier is 1, and this program",
        ),
        ("attention.temperature_scale", Value::F32(0.5), "llama.attention.temperature_scale is 0.5, and this program"),
        ("attention.scale", Value::F32(9.0), "llama.attention.scale is 9, and this program"),
        ("attention.causal", Value::Bool(false), "llama.attention.causal is false"),
        ("attn_logit_softcapping", Value::F32(-30.0), "llama.attn_logit_softcapping is -30; numbers above 0"),
        ("final_logit_softcapping", Value::F32(-30.0), "llama.final_logit_softcapping is -30; numbers above 0"),
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
        ("qwen3.rope.scaling.attn_factor", Some(Value::F32(0.0))),
        ("qwen3.attention.temperature_scale", Some(Value::F32(0.0))),
        ("qwen3.attn_logit_softcapping", Some(Value::F32(0.0))),
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

/// The description of a generated file with some metadata changed.
fn described(family: Family, changes: &[(&str, Option<Value>)]) -> super::Config {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("changed.gguf");
    write_changed(&path, family, changes).expect("written");
    super::Config::read(&Gguf::open(&path).expect("a header")).expect("a description")
}

#[test]
fn a_magnitude_of_zero_is_none() {
    let config = described(Family::Llama, &[("llama.rope.scaling.attn_factor", Some(Value::F32(0.0)))]);
    assert_eq!(config.rope.magnitude.to_bits(), 1.0f64.to_bits());
}

#[test]
fn a_pattern_of_windows_may_be_a_flag_for_each_layer() {
    let pattern = |flags: &[bool]| {
        let flags = flags.iter().map(|&flag| Value::Bool(flag)).collect();
        [("gemma3.attention.sliding_window_pattern", Some(Value::Array(flags)))]
    };
    let flags = [true, false, true, true, false, true, true];
    let window = described(Family::Gemma3, &pattern(&flags)).window.expect("a window");
    assert_eq!(window.layers, flags);
    let published = described(Family::Gemma3, &[]).window.expect("a window");
    assert_eq!(published.layers, [true, true, true, true, true, false, true]);
    let refusal = refusal(Family::Gemma3, &pattern(&flags[1..])).expect("refused");
    assert!(refusal.contains("gemma3.attention.sliding_window_pattern is a list of 6 integers; 7 flags"), "{refusal}");
}

#[test]
fn a_vocabulary_and_an_embedding_of_another_length_are_refused() {
    let tokens = |count: usize| Value::Array((0..count).map(|id| Value::String(format!("t{id}"))).collect());
    let rows = crate::nn::testing::vocabulary().len();
    assert_eq!(refusal(Family::Llama, &[("tokenizer.ggml.tokens", Some(tokens(rows)))]), None);
    for count in [rows - 62, rows + 1] {
        let refusal = refusal(Family::Llama, &[("tokenizer.ggml.tokens", Some(tokens(count)))]).expect("refused");
        let said = format!("tokenizer.ggml.tokens has {count} entries, but token_embd.weight has {rows} rows");
        assert!(refusal.contains(&said), "{refusal}");
    }
}

/// Why a generated file without a tensor, or with one more, does not load.
fn not_loaded(family: Family, without: &str, vector: Option<(&str, usize)>) -> String {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("changed.gguf");
    write_with_tensors(&path, family, without, vector).expect("written");
    let device = Device::open(DeviceChoice::Cpu).expect("cpu");
    let loaded = LanguageModel::load(&path, &device, &LoadOptions::default());
    loaded.err().map(|error| format!("{error:#}")).unwrap_or_default()
}

#[test]
fn a_tensor_that_nothing_asks_for_is_refused_by_name() {
    for (family, name) in [
        (Family::Llama, "blk.0.attn_output.bias"),
        (Family::Llama, "blk.0.ffn_down.bias"),
        (Family::Llama, "blk.0.ffn_gate.bias"),
        (Family::Llama, "blk.1.attn_q_norm.weight"),
        (Family::Llama, "blk.0.attn_sinks.weight"),
        (Family::Llama, "rope_factors_long.weight"),
        (Family::Llama, "nonsense.weight"),
        (Family::Qwen2, "output.bias"),
        (Family::Phi3, "blk.0.attn_qkv.bias"),
        (Family::Qwen3, "blk.0.post_attention_norm.weight"),
    ] {
        let said = not_loaded(family, "", Some((name, HIDDEN)));
        assert!(
            said.contains("changed.gguf") && said.contains(&format!("tensor {name} is not part")),
            "{name}: {said}"
        );
    }
    assert_eq!(not_loaded(Family::Llama, "", Some(("blk.0.attn_rot_embd.weight", 8))), "");
}

#[test]
fn what_a_family_has_in_every_layer_may_be_missing_in_none() {
    for (family, name) in [
        (Family::Qwen3, "blk.0.attn_q_norm.weight"),
        (Family::Gemma3, "blk.0.post_attention_norm.weight"),
        (Family::Gemma3, "blk.6.post_ffw_norm.weight"),
        (Family::Qwen2, "blk.0.attn_q.bias"),
        (Family::Qwen2, "blk.2.attn_v.bias"),
        (Family::Llama, "blk.0.ffn_gate.weight"),
    ] {
        let said = not_loaded(family, name, None);
        assert!(said.contains(&format!("lacks the tensor {name}")), "{name}: {said}");
    }
    // Biases that a file of another family has in one layer only.
    let said = not_loaded(Family::Llama, "", Some(("blk.1.attn_q.bias", HIDDEN)));
    assert!(said.contains("lacks the tensor blk.") && said.contains("bias"), "{said}");
}
