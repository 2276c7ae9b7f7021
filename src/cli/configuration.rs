//! What bears on the outputs of a run, by name: a run is continued, and shards are put together, where all of it is the same.

use super::cells::router_settings;
use super::prepare::Weights;
use super::setup::{Llm, Slm};
use super::sweep::Sweep;
use crate::task::Sample;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Longest value that a change shows, in characters.
const LONGEST_SHOWN: usize = 160;

/// The configuration of a run over these samples. Limits of time and money are not in it: they may be raised.
pub(super) fn of(sweep: &Sweep, weights: &[Weights], samples: &[&Sample]) -> BTreeMap<String, Value> {
    let mut named: BTreeMap<String, Value> = BTreeMap::new();
    let mut set = |name: String, value: Value| named.insert(name, value);
    let ids: String = samples.iter().flat_map(|sample| [sample.query.id.as_str(), "\n"]).collect();
    set(
        "samples".into(),
        json!(format!("{} with the hash {:.16}", samples.len(), format!("{:x}", Sha256::digest(ids)))),
    );
    set("sharing".into(), json!(sweep.sharing));
    set("cells".into(), json!(sweep.cells().iter().map(|cell| cell.name.clone()).collect::<Vec<_>>()));
    for (pair, weights) in sweep.pairs.iter().zip(weights) {
        let args = &pair.args;
        set("task".into(), json!(pair.task.name));
        set("task_sha256".into(), json!(pair.task.sha256));
        set("split".into(), json!(pair.choice.split));
        set("samples_seed".into(), json!(pair.choice.seed));
        set(format!("slm {}", pair.slm.model()), slm(&pair.slm, weights));
        set(format!("llm {}", pair.llm.model()), llm(&pair.llm, weights));
        for (name, sha256) in weights.named_sums() {
            set(format!("model {name}"), json!(sha256));
        }
        if let Some(sha256) = weights.encoder_sha256() {
            set("encoder_sha256".into(), json!(sha256));
        }
        for router in &pair.routers {
            set(format!("router {}", router.name()), router.outline());
        }
        // What is wrong with the settings was found when they were resolved.
        let safety = router_settings(args, &pair.task).map(|settings| json!(settings.safety)).unwrap_or_default();
        let settings = json!({
            "confidence": args.confidence, "threshold": args.threshold, "max_repairs": args.max_repairs,
            "classifier": args.classifier, "downshift": args.downshift, "safety": safety, "retriever": args.retriever,
            "top_k": args.top_k, "token_budget": args.token_budget, "gate": args.gate, "max_tokens": args.max_tokens,
            "temperature": args.temperature, "prefix_cache": args.prefix_cache, "prompt_lookup": args.prompt_lookup,
            "device": args.device.to_string(),
        });
        if let Value::Object(settings) = settings {
            for (name, value) in settings {
                set(name, value);
            }
        }
        set(format!("price of {}", pair.llm.model()), json!(pair.price));
        set("hardware_price".into(), json!(pair.hardware));
    }
    named
}

fn slm(slm: &Slm, weights: &Weights) -> Value {
    match slm {
        Slm::Model(_) => json!(weights.slm_sha256()),
        Slm::Scripted { path, .. } => json!(file_sha256(path)),
    }
}

fn llm(llm: &Llm, weights: &Weights) -> Value {
    match llm {
        Llm::Endpoint { shown, spec } => json!(format!("{} at {shown}", spec.model)),
        Llm::StandIn { .. } => json!(weights.llm_sha256()),
        Llm::Cassette { path, .. } | Llm::Scripted { path, .. } => json!(file_sha256(path)),
    }
}

/// The hash of a file's content; a file that cannot be read differs from every other.
fn file_sha256(path: &std::path::Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(format!("{:x}", Sha256::digest(bytes)))
}

/// What differs, one line each.
pub(super) fn changes(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Vec<String> {
    let shown = |value: Option<&Value>| {
        let text = value.map_or_else(|| "absent".to_owned(), Value::to_string);
        let short: String = text.chars().take(LONGEST_SHOWN).collect();
        if short.len() < text.len() { format!("{short}…") } else { short }
    };
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let differs = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
    differs.map(|name| format!("  {name}: {} before, {} now", shown(before.get(name)), shown(now.get(name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_with_both_values() {
        let of = |threshold: f64| {
            BTreeMap::from([("threshold".to_owned(), json!(threshold)), ("task".to_owned(), json!("a"))])
        };
        assert!(changes(&of(0.5), &of(0.5)).is_empty());
        assert_eq!(changes(&of(0.5), &of(0.75)), ["  threshold: 0.5 before, 0.75 now"]);
        assert_eq!(
            changes(&of(0.5), &BTreeMap::from([("task".to_owned(), json!("a"))])),
            ["  threshold: 0.5 before, absent now"]
        );
    }
}
