//! What a `config.json` says of ropes and windows.

use super::*;
use crate::nn::config::{Factors, Rope, RopeScaling};

/// The configuration of a family's generated folder with some keys changed.
fn changed(family: Generated, changes: Value) -> Result<Config> {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), family, None, 1);
    for (key, value) in changes.as_object().expect("an object") {
        set(&path.join("config.json"), key, value.clone());
    }
    Ok(Folder::open(&path)?.config().clone())
}

fn rope(family: Generated, changes: Value) -> Rope {
    changed(family, changes).expect("read").rope
}

fn values(rope: &Rope) -> Vec<f32> {
    match &rope.factors {
        Some(Factors::Values(values)) => values.clone(),
        other => panic!("no values but {other:?}"),
    }
}

#[test]
fn llama3_scaling_is_the_published_formula() {
    let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 256});
    let rope = rope(Generated::Llama, json!({"rope_scaling": scaling}));
    let found = rope.frequencies(Some(&values(&rope)));
    let (dims, mut kinds) = (16, [0; 3]);
    for (pair, found) in found.iter().enumerate() {
        // Written as transformers writes it, by wavelengths.
        let frequency = 1.0 / 10_000f64.powf(2.0 * pair as f64 / f64::from(dims));
        let wavelength = std::f64::consts::TAU / frequency;
        let expected = if wavelength < 256.0 / 4.0 {
            kinds[0] += 1;
            frequency
        } else if wavelength > 256.0 / 1.0 {
            kinds[1] += 1;
            frequency / 32.0
        } else {
            kinds[2] += 1;
            let smooth = (256.0 / wavelength - 1.0) / (4.0 - 1.0);
            (1.0 - smooth) * frequency / 32.0 + smooth * frequency
        };
        assert!((found / expected - 1.0).abs() < 1e-6, "pair {pair}: {found} instead of {expected}");
    }
    assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
}

#[test]
fn llama3_scaling_agrees_with_candle_transformers() {
    let folder = tempfile::tempdir().expect("folder");
    let path = write(folder.path(), Generated::Llama, None, 1);
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64});
    let mut config = folder_config(Generated::Llama);
    config["rope_scaling"] = scaling.clone();
    set(&path.join("config.json"), "rope_scaling", scaling);
    let tokens = prompt(120);
    let bytes = fs::read(path.join("model.safetensors")).expect("read");
    let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &CPU).expect("weights");
    let config = serde_json::from_value::<llama::LlamaConfig>(config).expect("configuration").into_config(false);
    let mut cache = llama::Cache::new(true, DType::F32, &config, &CPU).expect("cache");
    let input = Tensor::new(&tokens[..], &CPU).and_then(|t| t.unsqueeze(0)).expect("input");
    let theirs = llama::Llama::load(weights, &config).and_then(|model| model.forward(&input, 0, &mut cache));
    let theirs = theirs.and_then(|t| t.flatten_all()?.to_vec1::<f32>()).expect("logits");
    let cosine = cosine(&load(&path).logits(&tokens).expect("logits"), &theirs);
    assert!(cosine > 0.99999, "cosine {cosine}");
}

#[test]
fn linear_yarn_and_longrope_scaling_are_read() {
    let linear = rope(Generated::Llama, json!({"rope_scaling": {"type": "linear", "factor": 4}}));
    assert_eq!(linear.scaling, RopeScaling::Linear { factor: 4.0 });

    let yarn = rope(
        Generated::Qwen2,
        json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}}),
    );
    assert_eq!(yarn.scaling, RopeScaling::Yarn { factor: 4.0, original_context: 512.0, fast: 32.0, slow: 1.0 });
    assert!((yarn.magnitude - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);

    let factors: Vec<f32> = (0..8u8).map(|i| 1.0 + f32::from(i)).collect();
    let long = json!({"rope_scaling": {"type": "longrope", "short_factor": factors, "long_factor": factors},
                      "original_max_position_embeddings": 4096});
    let config = changed(Generated::Phi3, long).expect("read");
    assert_eq!((values(&config.rope), config.context_length), (factors, 4096));
    assert!((config.rope.magnitude - (1.0 + 8f64.ln() / 4096f64.ln()).sqrt()).abs() < 1e-12);

    let partial = rope(Generated::Phi3, json!({"partial_rotary_factor": 0.75}));
    assert_eq!(partial.dims, 12);
}

#[test]
fn both_spellings_of_the_rope_are_read() {
    let spelt = |value: Value| changed(Generated::Gemma3, value).expect("read");
    let old = spelt(json!({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}));
    let new = spelt(json!({"rope_theta": null, "rope_local_base_freq": null, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}));
    assert_eq!(old, new);
    assert_eq!(old.local_rope.map(|rope| (rope.base, rope.scaling)), Some((1e4, RopeScaling::None)));
    let plain = rope(Generated::Qwen3, json!({"rope_theta": null, "rope_parameters": {"rope_theta": 5e6}}));
    assert_eq!((plain.base, plain.scaling), (5e6, RopeScaling::None));
}

#[test]
fn windows_are_those_of_the_layers_that_have_them() {
    let windows = |family, changes| {
        let config = changed(family, changes).expect("read");
        (0..config.layers).map(|layer| config.window_of(layer)).collect::<Vec<_>>()
    };
    let (on, off) = (Some(20), None);
    assert_eq!(windows(Generated::Gemma3, json!({})), [on, on, on, on, on, off, on]);
    assert_eq!(windows(Generated::Gemma3, json!({"sliding_window_pattern": 3})), [on, on, off, on, on, off, on]);
    let kinds: Vec<_> = (0..7).map(|i| if i < 2 { "full_attention" } else { "sliding_attention" }).collect();
    assert_eq!(windows(Generated::Gemma3, json!({"layer_types": kinds})), [off, off, on, on, on, on, on]);

    assert_eq!(windows(Generated::Mistral, json!({"sliding_window": null})), [None; 3]);
    assert_eq!(windows(Generated::Mistral, json!({})), [Some(150); 3]);
    assert_eq!(windows(Generated::Qwen2, json!({"sliding_window": 20})), [off; 3]);
    let on_top = json!({"sliding_window": 20, "use_sliding_window": true, "max_window_layers": 2});
    assert_eq!(windows(Generated::Qwen2, on_top), [off, off, on]);
    // Longer than the context.
    assert_eq!(windows(Generated::Phi3, json!({"sliding_window": 262_144})), [None; 3]);
}

#[test]
fn gemma3_reads_its_scale_and_its_caps() {
    let config = changed(
        Generated::Gemma3,
        json!({"query_pre_attn_scalar": 64, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}),
    );
    let config = config.expect("read");
    assert_eq!(
        (config.attention_scale, config.final_softcap, config.attention_softcap),
        (0.125, Some(30.0), Some(50.0))
    );
}
