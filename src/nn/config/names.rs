//! The tensors that a description asks for, by the names of GGUF files.
//!
//! A tensor that nothing asks for is refused: without it the results would be wrong unnoticed. One that is missing is
//! refused where it is read.

use super::{Config, Factors, Family};
use crate::error::{Result, ensure, escaped};
use crate::nn::source::Source;

/// The layer that a tensor belongs to, and which part of it it is.
pub(super) fn in_layer(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// Refuses tensors that the decoder would leave out.
pub(super) fn check(config: &Config, family: Family, source: &Source) -> Result<()> {
    let parts = parts(config);
    for name in source.tensors().keys() {
        let known = match in_layer(name) {
            Some((_, part)) => parts.contains(&part),
            None => is_asked_for(name, config, family),
        };
        ensure!(
            known,
            "{}: tensor {} is not part of a model of this kind as far as this program knows: loading the others only would give \
             wrong results; take another model",
            source.path().display(),
            escaped(name)
        );
    }
    Ok(())
}

fn is_asked_for(name: &str, config: &Config, family: Family) -> bool {
    match name {
        "token_embd.weight" | "output_norm.weight" => true,
        "output.weight" => !config.tied_embeddings,
        // Of the two sets of phi3 the other one serves (`Reader::phi3`).
        "rope_factors_long.weight" => family == Family::Phi3,
        _ => {
            config.rope.factors.as_ref().is_some_and(|factors| matches!(factors, Factors::Tensor(used) if used == name))
        }
    }
}

/// The parts of a layer.
fn parts(config: &Config) -> Vec<&'static str> {
    // Old converters wrote down the frequencies that follow from the metadata.
    const DERIVED: &str = "attn_rot_embd.weight";
    let mut parts =
        vec!["attn_norm.weight", "attn_output.weight", "ffn_norm.weight", "ffn_up.weight", "ffn_down.weight", DERIVED];
    let mut add = |given: bool, more: &[&'static str]| {
        if given {
            parts.extend_from_slice(more);
        }
    };
    add(config.fused_qkv, &["attn_qkv.weight"]);
    add(!config.fused_qkv, &["attn_q.weight", "attn_k.weight", "attn_v.weight"]);
    add(config.qkv_bias, &["attn_q.bias", "attn_k.bias", "attn_v.bias"]);
    add(config.qk_norm, &["attn_q_norm.weight", "attn_k_norm.weight"]);
    add(!config.fused_gate_up, &["ffn_gate.weight"]);
    add(config.post_norms, &["post_attention_norm.weight", "post_ffw_norm.weight"]);
    parts
}
