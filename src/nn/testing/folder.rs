//! Generated checkpoints as folders of safetensors: the weights of [`super::write_checkpoint`] under the names and in the
//! conventions of the Hub.

use super::{
    CONTEXT, FEED_FORWARD, Family, HEADS, HIDDEN, KV_HEADS, MERGES, NORM_EPS, Stored, TEMPLATE, tensors, vocabulary,
};
use crate::error::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Writes a folder with the weights that the F32 checkpoint of the same family and seed has. `halved` stores the matrices
/// as F16 or BF16 (they lose precision); more shards than one get an index.
pub fn write_folder(path: &Path, family: Family, halved: Option<Half>, shards: usize, seed: u64) -> Result<()> {
    let attempt = || format!("writing the generated checkpoint {}", path.display());
    std::fs::create_dir_all(path).with_context(attempt)?;
    let mut weights = Vec::new();
    for (name, tensor) in tensors(family, Stored::F32, seed).with_context(attempt)? {
        let values = tensor.dequantize(&Device::Cpu)?;
        let (name, values) = as_on_the_hub(family, &name, values).with_context(attempt)?;
        let values = match halved {
            Some(Half::F16) => values.to_dtype(DType::F16)?,
            Some(Half::BF16) => values.to_dtype(DType::BF16)?,
            None => values,
        };
        weights.push((name, values));
    }
    write_weights(path, weights, shards).with_context(attempt)?;
    let write = |name: &str, value: &Value| std::fs::write(path.join(name), value.to_string()).with_context(attempt);
    write("config.json", &config(family))?;
    write("tokenizer.json", &tokenizer_json())?;
    write(
        "tokenizer_config.json",
        &json!({
            "add_bos_token": false,
            "bos_token": {"content": "<|endoftext|>", "special": true},
            "eos_token": "<|im_end|>",
            "chat_template": [{"name": "tool_use", "template": "none"}, {"name": "default", "template": TEMPLATE}],
        }),
    )?;
    let end = vocabulary().len() - 1;
    write("generation_config.json", &json!({"eos_token_id": [end, end - 2]}))
}

/// A type of half the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of safetensors")]
pub enum Half {
    F16,
    BF16,
}

fn write_weights(path: &Path, weights: Vec<(String, Tensor)>, shards: usize) -> Result<()> {
    if shards <= 1 {
        let weights: HashMap<_, _> = weights.into_iter().collect();
        return Ok(candle_core::safetensors::save(&weights, path.join("model.safetensors"))?);
    }
    let mut map = Map::new();
    let each = weights.len().div_ceil(shards);
    for (index, part) in weights.chunks(each).enumerate() {
        let file = format!("model-{:05}-of-{shards:05}.safetensors", index + 1);
        map.extend(part.iter().map(|(name, _)| (name.clone(), Value::from(file.as_str()))));
        let part: HashMap<_, _> = part.iter().cloned().collect();
        candle_core::safetensors::save(&part, path.join(file))?;
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
    Ok(std::fs::write(path.join("model.safetensors.index.json"), index.to_string())?)
}

/// The name and the values that a tensor of a GGUF file has on the Hub.
fn as_on_the_hub(family: Family, name: &str, values: Tensor) -> Result<(String, Tensor)> {
    let whole = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => Some("model.norm.weight".to_owned()),
        "output.weight" => Some("lm_head.weight".to_owned()),
        _ => None,
    };
    let (layer, part) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).unwrap_or(("", name));
    let gemma = family == Family::Gemma3;
    let renamed = whole.unwrap_or_else(|| {
        let (module, suffix) = part.rsplit_once('.').unwrap_or((part, ""));
        let module = match module {
            "attn_norm" => "input_layernorm",
            "ffn_norm" if gemma => "pre_feedforward_layernorm",
            "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
            "post_ffw_norm" => "post_feedforward_layernorm",
            "attn_qkv" => "self_attn.qkv_proj",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" if family == Family::Phi3 => "mlp.gate_up_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            other => other,
        };
        format!("model.layers.{layer}.{module}.{suffix}")
    });
    let values = if gemma && part.contains("norm") {
        (values - 1.0)?
    } else if matches!(family, Family::Llama | Family::Mistral) && matches!(part, "attn_q.weight" | "attn_k.weight") {
        // What turns together is neighbours in a GGUF file, and the first half with the second half here.
        let (rows, columns) = values.dims2()?;
        let half = family.head_dim() / 2;
        values
            .reshape((rows / (2 * half), half, 2, columns))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((rows, columns))?
    } else {
        values
    };
    Ok((renamed, values))
}

/// The `config.json` of a family.
pub(crate) fn config(family: Family) -> Value {
    let model_type = match family {
        Family::Mistral => "mistral",
        Family::Gemma3 => "gemma3_text",
        other => other.architecture(),
    };
    let mut config = json!({
        "model_type": model_type,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": family.layers(),
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": family.head_dim(),
        "vocab_size": vocabulary().len(),
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": family.rope_base(),
        "hidden_act": "silu",
        "attention_bias": false,
        "tie_word_embeddings": !matches!(family, Family::Mistral | Family::Phi3),
        "rope_scaling": null,
        "sliding_window": family.window(),
    });
    let more = match family {
        Family::Qwen2 | Family::Qwen3 => {
            json!({"use_sliding_window": false, "sliding_window": CONTEXT, "max_window_layers": 2})
        }
        Family::Gemma3 => json!({
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": family.head_dim(),
            "sliding_window_pattern": 6,
            "rope_local_base_freq": 10_000.0,
            "attn_logit_softcapping": null,
            "final_logit_softcapping": null,
        }),
        _ => json!({}),
    };
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    config
}

/// The `tokenizer.json` of the generated vocabulary.
pub(crate) fn tokenizer_json() -> Value {
    const CONTROL: i32 = 3;
    // The words of qwen2, which the GGUF files name too.
    const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let tokens = vocabulary();
    let normal: Map<String, Value> = (tokens.iter().zip(0..))
        .filter(|((_, kind), _)| *kind != CONTROL)
        .map(|((text, _), id)| (text.clone(), Value::from(id)))
        .collect();
    let added: Vec<Value> = (tokens.iter().zip(0..))
        .filter(|((_, kind), _)| *kind == CONTROL)
        .map(|((text, _), id)| {
            json!({"id": id, "content": text, "special": true, "normalized": false, "single_word": false,
                   "lstrip": false, "rstrip": false})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false},
            byte_level,
        ]},
        "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": normal, "merges": MERGES},
    })
}
