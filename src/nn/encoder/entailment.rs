//! Natural-language inference: a BERT that has read a premise and a hypothesis together says whether the one follows from the other.

use super::bert::{Bert, Linear, Text};
use super::{BATCH_TOKENS, check_sizes, json, read, together, tokenizer};
use crate::error::{Context as _, Result, anyhow, bail, ensure};
use crate::nn::folder::check_weights;
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::Config;
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::{Encoding, Tokenizer};

/// Tokens of a pair that count at most: what BERT is trained on.
const MOST_TOKENS: usize = 512;
/// What the classes are called, in whatever case.
const CLASSES: [&str; 3] = ["entailment", "neutral", "contradiction"];

/// A cross-encoder of premises and hypotheses, on the processor.
pub struct Entailment {
    model: Bert,
    pooler: Linear,
    classifier: Linear,
    tokenizer: Tokenizer,
    /// The place of entailment among the classes.
    place: usize,
}

/// `config.json`, as far as it says what the model is.
#[derive(Deserialize)]
struct Described {
    model_type: Option<String>,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
}

impl Entailment {
    /// Loads a BERT for sequence classification from a folder: `config.json`, whose `id2label` names the classes entailment, neutral and
    /// contradiction, `tokenizer.json` and `model.safetensors`.
    pub fn load(folder: &Path) -> Result<Self> {
        ensure!(
            folder.is_dir(),
            "there is no folder {}: an entailment model is a folder with config.json, tokenizer.json and model.safetensors",
            folder.display()
        );
        let path = folder.join("config.json");
        let described: Described = json(&path)?;
        let kind = described.model_type.as_deref().unwrap_or("none that is named");
        ensure!(
            kind == "bert",
            "{} describes a model of the type `{kind}`: of entailment models only `bert` is supported, and no RoBERTa or \
             DeBERTa; take a BERT that was trained on natural-language inference",
            path.display()
        );
        let place = class(&described.id2label).with_context(|| format!("reading {}", path.display()))?;
        let config: Config = json(&path)?;
        check_sizes(&config, &path)?;
        ensure!(
            Bert::runs(&config),
            "{} names an activation other than `gelu`, which is not supported",
            path.display()
        );
        let most = MOST_TOKENS.min(config.max_position_embeddings);
        let tokenizer = tokenizer(&folder.join("tokenizer.json"), most)?;

        let path = folder.join("model.safetensors");
        let bytes = read(&path)?;
        check_weights(&path).context("looking at an entailment model's weights")?;
        let width = config.hidden_size;
        let parts = || -> candle_core::Result<(Bert, Linear, Linear)> {
            let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
            let pooler = weights.pp("bert.pooler.dense");
            Ok((
                Bert::load(&weights, &config)?,
                Linear::load(&[pooler], width, width)?,
                Linear::load(&[weights.pp("classifier")], CLASSES.len(), width)?,
            ))
        };
        let (model, pooler, classifier) = parts()
            .map_err(|error| anyhow!("loading an entailment model's weights from {}: {error}", path.display()))?;
        Ok(Self { model, pooler, classifier, tokenizer, place })
    }

    /// For each pair of a premise and a hypothesis the probability that the hypothesis follows. Pairs that are too long lose the end of
    /// the longer text.
    pub fn probabilities(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>> {
        let tokens = pairs.par_iter().map(|pair| self.tokens(*pair)).collect::<Result<Vec<_>>>()?;
        let mut found = Vec::with_capacity(pairs.len());
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(together(rest, BATCH_TOKENS));
            found.extend(self.classified(batch)?);
            rest = later;
        }
        Ok(found)
    }

    fn tokens(&self, pair: (&str, &str)) -> Result<Encoding> {
        let tokens = self
            .tokenizer
            .encode_fast(pair, true)
            .map_err(|error| anyhow!("tokenising a pair of texts for the entailment model: {error}"))?;
        ensure!(!tokens.is_empty(), "the entailment model's tokenizer gives no token for a pair of texts");
        Ok(tokens)
    }

    fn classified(&self, pairs: &[Encoding]) -> Result<Vec<f64>> {
        let texts: Vec<Text> =
            pairs.iter().map(|pair| Text { ids: pair.get_ids(), types: pair.get_type_ids() }).collect();
        let states = self
            .model
            .states(&texts)
            .context("the entailment model's tokenizer gives tokens or token types that the model does not have")?;
        let width = self.pooler.outputs();
        let (mut first, mut at) = (Vec::with_capacity(pairs.len() * width), 0);
        for pair in pairs {
            first.extend_from_slice(&states[at * width..(at + 1) * width]);
            at += pair.len();
        }
        let mut pooled = self.pooler.apply(&first);
        for value in &mut pooled {
            *value = value.tanh();
        }
        self.classifier.apply(&pooled).chunks_exact(CLASSES.len()).map(|logits| self.probability(logits)).collect()
    }

    fn probability(&self, logits: &[f32]) -> Result<f64> {
        let exponentials: Vec<f64> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
        let probability = exponentials[self.place] / exponentials.iter().sum::<f64>();
        ensure!(
            probability.is_finite(),
            "the entailment model gave a result that is no number: its weights are damaged"
        );
        Ok(probability)
    }
}

/// The class of entailment among the three.
fn class(labels: &BTreeMap<String, String>) -> Result<usize> {
    let mut names: Vec<String> = labels.values().map(|name| name.to_lowercase()).collect();
    names.sort_unstable();
    let mut wanted = CLASSES;
    wanted.sort_unstable();
    let place = labels.iter().find(|(_, name)| name.eq_ignore_ascii_case(CLASSES[0]));
    match place.and_then(|(place, _)| place.parse().ok()).filter(|&place: &usize| place < CLASSES.len()) {
        Some(place) if names == wanted => Ok(place),
        _ => bail!(
            "its id2label names {}, and not entailment, neutral and contradiction: it is no model of natural-language \
             inference",
            if labels.is_empty() {
                "no class".to_owned()
            } else {
                labels.values().cloned().collect::<Vec<_>>().join(", ")
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn fixture() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/entailment")
    }

    #[derive(Deserialize)]
    struct Row {
        premise: String,
        hypothesis: String,
        entailment: f64,
    }

    #[test]
    fn probabilities_are_those_of_numpy() {
        let rows: Vec<Row> =
            serde_json::from_slice(&std::fs::read(fixture().join("expected.json")).expect("read")).expect("rows");
        let model = Entailment::load(&fixture()).expect("loaded");
        let pairs: Vec<_> = rows.iter().map(|row| (row.premise.as_str(), row.hypothesis.as_str())).collect();
        let found = model.probabilities(&pairs).expect("judged");
        let spread = rows.iter().map(|row| row.entailment).fold((1.0, 0.0), |(low, high), p| (p.min(low), p.max(high)));
        assert!(spread.1 - spread.0 > 0.1, "pairs that are all alike would show nothing: {spread:?}");
        for ((found, row), pair) in found.iter().zip(&rows).zip(&pairs) {
            assert!((found - row.entailment).abs() < 2e-3, "{pair:?}: {found}, not {}", row.entailment);
            assert_eq!(model.probabilities(&[*pair]).expect("judged"), [*found], "in any company");
        }
    }

    #[test]
    fn other_architectures_other_classes_and_missing_files_are_refused_by_name() {
        let load = |from: &str, to: &str| {
            let folder = tempfile::tempdir().expect("folder");
            for name in ["config.json", "tokenizer.json", "model.safetensors"] {
                std::fs::copy(fixture().join(name), folder.path().join(name)).expect("copied");
            }
            let path = folder.path().join("config.json");
            let text = std::fs::read_to_string(&path).expect("read");
            assert!(text.contains(from), "{from}");
            std::fs::write(&path, text.replace(from, to)).expect("written");
            format!("{:#}", Entailment::load(folder.path()).map(|_| ()).expect_err("refused"))
        };
        for (from, to, said) in [
            ("\"bert\"", "\"roberta\"", "`roberta`"),
            ("\"bert\"", "\"deberta-v2\"", "`deberta-v2`"),
            ("\"ENTAILMENT\"", "\"LABEL_0\"", "LABEL_0"),
            ("\"hidden_size\": 16", "\"hidden_size\": 17", "inconsistent"),
            ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.safetensors"),
        ] {
            let told = load(from, to);
            assert!(told.contains(said), "{told}");
        }
        let told = format!("{:#}", Entailment::load(&fixture().join("none")).map(|_| ()).expect_err("refused"));
        assert!(told.contains("no folder") && told.contains("config.json"), "{told}");
    }
}
