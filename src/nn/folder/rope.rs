//! Rotary embedding as a `config.json` describes it.
//!
//! Two spellings exist: `rope_theta` beside a `rope_scaling` object, and, since version 5 of transformers, one
//! `rope_parameters` object that holds both, with one such object for each kind of layer where kinds differ.

use super::Family;
use super::json::{MEND, Object};
use crate::error::{Context, Result, bail, ensure};
use crate::nn::config::{Factors, Rope, RopeScaling};
use std::f64::consts::TAU;

/// The ropes of a model.
pub(super) struct Ropes {
    pub(super) global: Rope,
    /// That of the layers with a window, where it differs.
    pub(super) local: Option<Rope>,
    /// The context that the model was trained with, where the ropes are right for that only.
    pub(super) original_context: Option<usize>,
}

const BASE: f64 = 10_000.0;
/// Of gemma3's layers without a window.
const GEMMA_BASE: f64 = 1_000_000.0;

pub(super) fn read(file: &Object, family: Family, head_dim: usize) -> Result<Ropes> {
    let parameters = file.inner("rope_parameters")?;
    let by_kind = match &parameters {
        Some(all) => Some((all.inner("full_attention")?, all.inner("sliding_attention")?)),
        None => None,
    };
    let (scaling, local) = match by_kind {
        Some((Some(global), local)) => (Some(global), local),
        Some((None, _)) => (parameters, None),
        None => (file.inner("rope_scaling")?, None),
    };
    let base = |object: Option<&Object>| object.map_or(Ok(None), |object| object.positive("rope_theta"));
    let usual = if family == Family::Gemma3 { GEMMA_BASE } else { BASE };
    let global_base = base(scaling.as_ref())?.or(file.positive("rope_theta")?).unwrap_or(usual);
    let local_base = base(local.as_ref())?.or(file.positive("rope_local_base_freq")?).unwrap_or(BASE);

    if let Some(local) = &local {
        let kind = local.text("rope_type")?.unwrap_or("default");
        ensure!(
            kind == "default",
            "{}: a rope_type of {kind} for layers with a window is not supported: take another model",
            local.origin()
        );
    }

    let share = match file.positive("partial_rotary_factor")? {
        Some(share) => Some(share),
        None => scaling.as_ref().map_or(Ok(None), |object| object.positive("partial_rotary_factor"))?,
    };
    let dims = (head_dim as f64 * share.unwrap_or(1.0)) as usize;
    ensure!(
        dims > 0 && dims <= head_dim && dims.is_multiple_of(2),
        "{}: partial_rotary_factor leaves {dims} of {head_dim} elements to turn, which is impossible: {MEND}",
        file.origin()
    );
    let plain =
        Rope { interleaved: false, dims, base: global_base, scaling: RopeScaling::None, factors: None, magnitude: 1.0 };
    let local = (family == Family::Gemma3).then(|| Rope { base: local_base, ..plain.clone() });
    let (global, original_context) = match scaling {
        None => (plain, None),
        Some(scaling) => scaled(file, &scaling, plain)?,
    };
    Ok(Ropes { global, local, original_context })
}

fn scaled(file: &Object, scaling: &Object, plain: Rope) -> Result<(Rope, Option<usize>)> {
    let origin = scaling.origin();
    let kind = match scaling.text("rope_type")? {
        Some(kind) => Some(kind),
        None => scaling.text("type")?,
    };
    // A factor of no kind would be left out, and longer texts would give wrong results.
    ensure!(kind.is_some() || scaling.get("factor").is_none(), "{origin} has a factor, but lacks rope_type: {MEND}");
    let kind = kind.unwrap_or("default");
    let factor = || scaling.required("factor", scaling.positive("factor")?);
    let original = || match scaling.size("original_max_position_embeddings")? {
        Some(original) => Ok(Some(original)),
        None => file.size("original_max_position_embeddings"),
    };
    let trained = || Ok::<_, crate::error::Error>(original()?.unwrap_or(file.needed("max_position_embeddings")?));
    Ok(match kind {
        "default" => (plain, None),
        "linear" => (Rope { scaling: RopeScaling::Linear { factor: factor()? }, ..plain }, None),
        "llama3" => {
            let original = scaling.required("original_max_position_embeddings", original()?)? as f64;
            let needed = |key: &str| scaling.required(key, scaling.positive(key)?);
            let (low, high) = (needed("low_freq_factor")?, needed("high_freq_factor")?);
            ensure!(high > low, "{origin}: high_freq_factor {high} is not above low_freq_factor {low}: {MEND}");
            let values = llama3(&plain, factor()?, low, high, original);
            (Rope { factors: Some(Factors::Values(values)), ..plain }, None)
        }
        "yarn" => {
            ensure!(
                scaling.boolean("truncate")?.unwrap_or(true),
                "{origin}: truncate is false, which is not supported: take another model"
            );
            let factor = factor()?;
            let magnitude = match scaling.positive("attention_factor")? {
                Some(magnitude) => magnitude,
                None => match (scaling.positive("mscale")?, scaling.positive("mscale_all_dim")?) {
                    (Some(above), Some(below)) => yarn_magnitude(factor, above) / yarn_magnitude(factor, below),
                    _ => yarn_magnitude(factor, 1.0),
                },
            };
            let spread = RopeScaling::Yarn {
                factor,
                original_context: trained()? as f64,
                fast: scaling.positive("beta_fast")?.unwrap_or(32.0),
                slow: scaling.positive("beta_slow")?.unwrap_or(1.0),
            };
            (Rope { scaling: spread, magnitude, ..plain }, None)
        }
        // "su" is its old name. Which of its two sets is used, and why, see the reading of GGUF files.
        "longrope" | "su" => {
            let values = short_factors(scaling, plain.dims / 2)?;
            let trained = trained()?;
            let stretch = file.needed("max_position_embeddings")? as f64 / trained as f64;
            let magnitude = match scaling.positive("attention_factor")? {
                Some(magnitude) => magnitude,
                None if stretch <= 1.0 => 1.0,
                None => (1.0 + stretch.ln() / (trained as f64).ln()).sqrt(),
            };
            (Rope { factors: Some(Factors::Values(values)), magnitude, ..plain }, Some(trained))
        }
        other => bail!(
            "{origin}: rope_type is {other}; default, linear, llama3, yarn and longrope are supported: take another model"
        ),
    })
}

/// Pairs that turn often within the original context keep their frequency, those that do so seldom are slowed by the whole
/// factor, and a ramp joins them.
fn llama3(rope: &Rope, factor: f64, low: f64, high: f64, original: f64) -> Vec<f32> {
    let turns = |frequency: f64| original * frequency / TAU;
    let factor_of = |turns: f64| {
        if turns > high {
            1.0
        } else if turns < low {
            factor
        } else {
            let smooth = (turns - low) / (high - low);
            ((1.0 - smooth) / factor + smooth).recip()
        }
    };
    rope.frequencies(None).into_iter().map(|frequency| factor_of(turns(frequency)) as f32).collect()
}

fn yarn_magnitude(factor: f64, share: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * share * factor.ln() + 1.0 }
}

fn short_factors(scaling: &Object, pairs: usize) -> Result<Vec<f32>> {
    let origin = scaling.origin();
    let list = scaling.required("short_factor", scaling.list("short_factor")?)?;
    ensure!(list.len() == pairs, "{origin}: short_factor has {} entries for {pairs} pairs: {MEND}", list.len());
    let positive = |value: &serde_json::Value| {
        let value = value.as_f64().map(|value| value as f32).filter(|value| value.is_finite() && *value > 0.0);
        value.with_context(|| format!("{origin}: short_factor holds a value that is not positive: {MEND}"))
    };
    list.iter().map(positive).collect()
}
