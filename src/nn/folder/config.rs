//! The description of a decoder from a `config.json`.
//!
//! What would change the results and is not supported is refused, never left out: a model that answers a little wrongly
//! is worse than none.

use super::Family;
use super::json::{MEND, Object, said};
use super::rope;
use crate::error::{Result, bail, ensure};
use crate::nn::config::{Activation, Config, Window, is_norm_eps};
use crate::nn::source::Source;

/// The family that a `config.json` describes.
pub(super) fn family(file: &Object) -> Result<Family> {
    let kind = file.required("model_type", file.text("model_type")?)?;
    let origin = file.origin();
    Ok(match kind {
        "llama" => Family::Llama,
        "mistral" => Family::Mistral,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "phi3" => Family::Phi3,
        "gemma3_text" => Family::Gemma3,
        "gemma3" => bail!(
            "{origin} describes a gemma3 model for images and text, which is not supported: take a model for text only \
             (gemma-3-270m-it and gemma-3-1b-it are), or a GGUF file of the same model"
        ),
        other => bail!(
            "{origin}: model_type is {}; supported are llama, mistral, qwen2, qwen3, phi3 and gemma3_text: take another model",
            said(&other.into())
        ),
    })
}

/// Reads the description of the model whose tensors `source` holds.
pub(super) fn read(file: &Object, family: Family, source: &Source) -> Result<Config> {
    let origin = file.origin();
    refuse_unsupported(file, family)?;
    let hidden = file.needed("hidden_size")?;
    let heads = file.needed("num_attention_heads")?;
    let kv_heads = match (file.size("num_key_value_heads")?, family) {
        (Some(kv_heads), _) => kv_heads,
        (None, Family::Llama | Family::Phi3) => heads,
        // What they take where nothing is said is not one rule.
        (None, _) => bail!("{origin} lacks num_key_value_heads: {MEND}"),
    };
    let head_dim = match (file.size("head_dim")?, family) {
        (Some(head_dim), _) => head_dim,
        // Their heads are not a share of the hidden size.
        (None, Family::Qwen3 | Family::Gemma3) => bail!("{origin} lacks head_dim: {MEND}"),
        (None, _) => hidden / heads,
    };
    ensure!(
        heads.is_multiple_of(kv_heads),
        "{origin}: num_attention_heads {heads} do not divide into num_key_value_heads {kv_heads}: {MEND}"
    );
    ensure!(
        head_dim > 0 && head_dim.is_multiple_of(2),
        "{origin}: a head_dim of {head_dim} is impossible, for elements turn in pairs (where it is not given, it is \
         hidden_size over num_attention_heads): {MEND}"
    );
    let layers = layers(file)?;
    let vocabulary = file.needed("vocab_size")?;
    source.shaped("token_embd.weight", &[vocabulary, hidden])?;
    let gemma = family == Family::Gemma3;
    let attention_scale = if gemma {
        file.required("query_pre_attn_scalar", file.positive("query_pre_attn_scalar")?)?
    } else {
        head_dim as f64
    };
    let ropes = rope::read(file, family, head_dim)?;
    let mut context_length = file.needed("max_position_embeddings")?;
    if let Some(original) = ropes.original_context {
        context_length = context_length.min(original);
    }
    let mut window = window(file, family, layers)?;
    if family == Family::Phi3 {
        // A window as long as the context hides nothing.
        window = window.filter(|window| window.size < context_length);
    }
    Ok(Config {
        layers,
        hidden,
        feed_forward: file.needed("intermediate_size")?,
        heads,
        kv_heads,
        head_dim,
        vocabulary,
        context_length,
        norm_eps: norm_eps(file)?,
        rope: ropes.global,
        local_rope: ropes.local,
        window,
        embedding_scale: gemma.then(|| (hidden as f64).sqrt()),
        attention_scale: attention_scale.sqrt().recip(),
        activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
        attention_softcap: file.positive("attn_logit_softcapping")?,
        final_softcap: file.positive("final_logit_softcapping")?,
        qkv_bias: family == Family::Qwen2,
        qk_norm: matches!(family, Family::Qwen3 | Family::Gemma3),
        post_norms: gemma,
        fused_qkv: family == Family::Phi3,
        fused_gate_up: family == Family::Phi3,
        tied_embeddings: tied(file, family)?.unwrap_or(!source.tensors().contains_key("output.weight")),
    })
}

fn norm_eps(file: &Object) -> Result<f32> {
    let eps = file.required("rms_norm_eps", file.float("rms_norm_eps")?)?;
    ensure!(
        is_norm_eps(eps as f32),
        "{}: rms_norm_eps is {eps}; numbers between 0 and 1 are possible: {MEND}",
        file.origin()
    );
    Ok(eps as f32)
}

pub(super) fn layers(file: &Object) -> Result<usize> {
    file.needed("num_hidden_layers")
}

/// Whether the embedding is the output matrix too, where the file says so or the family always does.
pub(super) fn tied(file: &Object, family: Family) -> Result<Option<bool>> {
    Ok(file.boolean("tie_word_embeddings")?.or((family == Family::Gemma3).then_some(true)))
}

fn refuse_unsupported(file: &Object, family: Family) -> Result<()> {
    let origin = file.origin();
    ensure!(
        file.get("quantization_config").is_none(),
        "{origin} has a quantization_config: quantised safetensors are not supported; take a GGUF file of the same model"
    );
    // qwen2 has biases of queries, keys and values whatever it says; elsewhere the output would have one too.
    let biased = if family == Family::Qwen2 { &["mlp_bias"][..] } else { &["attention_bias", "mlp_bias"] };
    for key in biased {
        ensure!(
            !file.boolean(key)?.unwrap_or(false),
            "{origin}: {key} is true, which is not supported: take another model"
        );
    }
    ensure!(
        !file.boolean("use_bidirectional_attention")?.unwrap_or(false),
        "{origin}: use_bidirectional_attention is true: this is no model that generates text; take another model"
    );
    let (key, expected) = match family {
        Family::Gemma3 => ("hidden_activation", "gelu_pytorch_tanh"),
        _ => ("hidden_act", "silu"),
    };
    let found = file.text(key)?.unwrap_or(expected);
    ensure!(
        found == expected,
        "{origin}: {key} is {found}; a {} model with {expected} is supported: take another model",
        family.name()
    );
    Ok(())
}

fn window(file: &Object, family: Family, layers: usize) -> Result<Option<Window>> {
    let origin = file.origin();
    let switched_off =
        matches!(family, Family::Qwen2 | Family::Qwen3) && !file.boolean("use_sliding_window")?.unwrap_or(false);
    if family == Family::Llama || switched_off {
        return Ok(None);
    }
    let Some(size) = file.size("sliding_window")? else { return Ok(None) };
    if let Some(kinds) = file.list("layer_types")? {
        ensure!(kinds.len() == layers, "{origin}: layer_types has {} entries for {layers} layers: {MEND}", kinds.len());
        let slides = |(layer, kind): (usize, &serde_json::Value)| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => bail!(
                "{origin}: layer_types entry {layer} is {}, not sliding_attention or full_attention: {MEND}",
                said(kind)
            ),
        };
        let layers = kinds.iter().enumerate().map(slides).collect::<Result<_>>()?;
        return Ok(Some(Window { size, layers }));
    }
    Ok(Some(match family {
        Family::Gemma3 => {
            // Files that leave it out are of the published models, which all have the same.
            const GLOBAL_EVERY: usize = 6;
            let pattern = match file.size("sliding_window_pattern")? {
                None => file.size("_sliding_window_pattern")?,
                given => given,
            };
            Window::new(size, layers, Some(pattern.unwrap_or(GLOBAL_EVERY)))
        }
        Family::Qwen2 | Family::Qwen3 => {
            // Here 0 makes sense: all layers have the window.
            let first = file.required("max_window_layers", file.float("max_window_layers")?)?;
            Window { size, layers: (0..layers).map(|layer| layer as f64 >= first).collect() }
        }
        _ => Window::new(size, layers, None),
    }))
}
