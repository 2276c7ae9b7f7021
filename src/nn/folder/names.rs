//! The tensors of a folder of safetensors under the names that the decoder asks for, which are those of GGUF files.

use super::Family;
use super::header::{Header, Stored, kind_of};
use super::json::{MEND, Object, said};
use crate::error::{Context, Result, bail, ensure};
use crate::files;
use crate::nn::source::{Source, TensorEntry};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const LONGEST_INDEX: u64 = 16 << 20;
const MOST_SHARDS: usize = 1024;
/// Those of phi3.
const FEWEST_OF_A_LAYER: usize = 6;
const OUTPUT: &str = "lm_head.weight";
const OUTPUT_NAME: &str = "output.weight";

/// Finds the tensors of a model of so many layers. `tied` says whether the embedding is the output matrix too; where it
/// does not say, the model has the output matrix that is stored.
pub(super) fn source(folder: &Path, family: Family, layers: usize, tied: Option<bool>) -> Result<Source> {
    let mut headers = Vec::new();
    for (file, wanted) in shards(folder)? {
        let path = folder.join(file);
        let mut header = Header::open(&path)?;
        if let Some(missing) = wanted.iter().find(|name| !header.tensors.contains_key(*name)) {
            bail!("{} lacks the tensor {missing}, which {INDEX} says it holds: {MEND}", path.display());
        }
        // An index decides which file a tensor is read from.
        header.tensors.retain(|name, _| wanted.is_empty() || wanted.contains(name));
        headers.push((path, header));
    }
    let stored: usize = headers.iter().map(|(_, header)| header.tensors.len()).sum();
    ensure!(
        layers <= stored / FEWEST_OF_A_LAYER,
        "{}: num_hidden_layers is {layers}, but there are {stored} tensors only: {MEND}",
        folder.join("config.json").display()
    );
    let mut needed = needed(family, layers, tied);
    let (mut files, mut file_bytes, mut tensors) = (Vec::new(), 0, BTreeMap::new());
    for (path, header) in headers {
        file_bytes += header.file_bytes;
        for (here, stored) in header.tensors {
            let Some((name, shift)) = needed.remove(&here) else {
                ensure!(
                    here.ends_with(DERIVED) || (here == OUTPUT && tied == Some(true)),
                    "{}: tensor {here} is not part of a {} model of {layers} layers as far as this program knows: loading \
                     the others only would give wrong results; take another model",
                    path.display(),
                    family.name()
                );
                continue;
            };
            let entry = entry(stored, &here, files.len(), shift)
                .with_context(|| format!("{}: tensor {here}", path.display()))?;
            tensors.insert(name, entry);
        }
        files.push(path);
    }
    if let Some(missing) = needed.keys().find(|here| tied.is_some() || *here != OUTPUT) {
        bail!(
            "{} lacks the tensor {missing} of a {} model of {layers} layers: {MEND}",
            folder.display(),
            family.name()
        );
    }
    Ok(Source::new(folder, files, file_bytes, tensors))
}

fn entry(stored: Stored, stored_as: &str, file: usize, shift: f32) -> Result<TensorEntry> {
    let Stored { shape, dtype, offset, bytes } = stored;
    let Some(kind) = kind_of(&dtype) else {
        bail!("it is stored as {dtype}; F32, F16 and BF16 can be loaded: take a GGUF file of the same model")
    };
    ensure!(
        (1..=2).contains(&shape.len()) && bytes > 0,
        "it has the shape {shape:?}; vectors and matrices are possible: {MEND}"
    );
    Ok(TensorEntry { shape, kind, file, offset, bytes, shift, stored_as: Some(stored_as.to_owned()) })
}

/// The files, and the tensors that an index wants from each; none where there is no index.
fn shards(folder: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    if files::exists(&folder.join(SINGLE))? {
        return Ok(BTreeMap::from([(SINGLE.to_owned(), BTreeSet::new())]));
    }
    let path = folder.join(INDEX);
    ensure!(files::exists(&path)?, "{} has neither {SINGLE} nor {INDEX}: download it again", folder.display());
    let index = Object::read(&path, LONGEST_INDEX)?;
    let map = index.required("weight_map", index.inner("weight_map")?)?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, file) in map.fields() {
        let file = match file {
            Value::String(file) if is_plain(file) => file,
            other => bail!("{}: {tensor} is in {}, which is not the name of a file: {MEND}", map.origin(), said(other)),
        };
        shards.entry(file.clone()).or_default().insert(tensor.clone());
    }
    ensure!(
        (1..=MOST_SHARDS).contains(&shards.len()),
        "{} names {} files; 1 to {MOST_SHARDS} are possible: {MEND}",
        map.origin(),
        shards.len()
    );
    Ok(shards)
}

/// Whether a text names a file in the folder, not a path out of it.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\'])
}

/// A tensor: its name here, its name for the decoder, and what is added to its values.
type Row = (&'static str, &'static str, f32);

/// Some old checkpoints hold what follows from the configuration.
const DERIVED: &str = "self_attn.rotary_emb.inv_freq";

/// What has to be there once, and in each layer. The order of what phi3 fuses is that of GGUF: query, key, value; gate, up.
fn parts(family: Family) -> ([Row; 2], Vec<Row>) {
    // Gemma's norms multiply by one more than what is stored.
    let norm = if family == Family::Gemma3 { 1.0 } else { 0.0 };
    let once =
        [("model.embed_tokens.weight", "token_embd.weight", 0.0), ("model.norm.weight", "output_norm.weight", norm)];
    let mut layer = vec![
        ("input_layernorm.weight", "attn_norm.weight", norm),
        ("self_attn.o_proj.weight", "attn_output.weight", 0.0),
        ("mlp.down_proj.weight", "ffn_down.weight", 0.0),
    ];
    layer.extend_from_slice(match family {
        Family::Phi3 => {
            &[("self_attn.qkv_proj.weight", "attn_qkv.weight", 0.0), ("mlp.gate_up_proj.weight", "ffn_up.weight", 0.0)]
        }
        _ => &[
            ("self_attn.q_proj.weight", "attn_q.weight", 0.0),
            ("self_attn.k_proj.weight", "attn_k.weight", 0.0),
            ("self_attn.v_proj.weight", "attn_v.weight", 0.0),
            ("mlp.gate_proj.weight", "ffn_gate.weight", 0.0),
            ("mlp.up_proj.weight", "ffn_up.weight", 0.0),
        ],
    });
    if family == Family::Qwen2 {
        layer.extend_from_slice(&[
            ("self_attn.q_proj.bias", "attn_q.bias", 0.0),
            ("self_attn.k_proj.bias", "attn_k.bias", 0.0),
            ("self_attn.v_proj.bias", "attn_v.bias", 0.0),
        ]);
    }
    if matches!(family, Family::Qwen3 | Family::Gemma3) {
        layer.extend_from_slice(&[
            ("self_attn.q_norm.weight", "attn_q_norm.weight", norm),
            ("self_attn.k_norm.weight", "attn_k_norm.weight", norm),
        ]);
    }
    // The norm after attention is that of attention's own output for gemma, else that of the feed-forward part's input.
    layer.extend_from_slice(&match family {
        Family::Gemma3 => vec![
            ("post_attention_layernorm.weight", "post_attention_norm.weight", norm),
            ("pre_feedforward_layernorm.weight", "ffn_norm.weight", norm),
            ("post_feedforward_layernorm.weight", "post_ffw_norm.weight", norm),
        ],
        _ => vec![("post_attention_layernorm.weight", "ffn_norm.weight", norm)],
    });
    (once, layer)
}

/// All tensors that a model of so many layers may need, by their names here.
fn needed(family: Family, layers: usize, tied: Option<bool>) -> BTreeMap<String, (String, f32)> {
    let (once, layer_parts) = parts(family);
    let mut needed: BTreeMap<String, (String, f32)> =
        once.iter().map(|&(here, name, shift)| (here.to_owned(), (name.to_owned(), shift))).collect();
    if tied != Some(true) {
        needed.insert(OUTPUT.to_owned(), (OUTPUT_NAME.to_owned(), 0.0));
    }
    for layer in 0..layers {
        needed.extend(layer_parts.iter().map(|&(here, name, shift)| {
            (format!("model.layers.{layer}.{here}"), (format!("blk.{layer}.{name}"), shift))
        }));
    }
    needed
}
