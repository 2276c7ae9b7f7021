//! What a strategy learned from recorded answers, as it stands in its file.

use super::predictor::Predictor;
use super::spec::RouterSpec;
use super::{Rising, RouterKind};
use crate::error::{Result, usage};
use crate::models::Identity;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// What was learned, and from what. A sample that it was learned from must not be scored under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// The task.
    pub task: String,
    /// The runs.
    pub runs: Vec<String>,
    /// The small model that answered.
    pub slm: String,
    /// The hash of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slm_sha256: Option<String>,
    /// The large model that answered.
    pub llm: String,
    /// The hash of its weights; an endpoint gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_sha256: Option<String>,
    /// What the setting was chosen for, in words, and what it gave on the samples that it was chosen on, which flatters it.
    pub chosen_for: String,
    /// Marks of the texts of the samples, see [`mark`].
    pub samples: Vec<String>,
    /// The sentence encoder behind `predictor` and the models' weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_sha256: Option<String>,
    /// What a confidence means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Rising>,
    /// What a text means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<Predictor>,
    /// What each model is good for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<FittedModel>,
}

/// What cascade-routing knows of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedModel {
    /// `slm`, `llm`, or a local model's name or path.
    pub name: String,
    /// Mean dollars of an answer.
    pub usd: f64,
    /// Weights of "wrong" and of "right" on the query's embedding, the bias last.
    pub weights: Vec<Vec<f64>>,
    /// What a confidence of its answer means; where it is missing, an answer is as good as was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Rising>,
    /// Quantiles, equally spaced, of what its confidences meant: how far they tell answers apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<f64>,
}

/// The mark of a sample: the first 16 digits of the SHA-256 of its text. It holds whatever the task and the sample are called.
#[must_use]
pub fn mark(text: &str) -> String {
    let sum = Sha256::digest(text.trim().as_bytes());
    format!("{:016x}", sum.iter().take(8).fold(0_u64, |number, &byte| number << 8 | u64::from(byte)))
}

impl Fitted {
    /// For a run's header.
    pub(super) fn outline(&self) -> Value {
        json!({
            "task": self.task, "runs": self.runs, "slm": self.slm, "llm": self.llm, "samples": self.samples.len(),
            "chosen_for": self.chosen_for,
        })
    }

    /// How many of these texts it was fitted on.
    #[must_use]
    pub fn known<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> usize {
        let marks: HashSet<&str> = self.samples.iter().map(String::as_str).collect();
        texts.into_iter().filter(|text| marks.contains(mark(text).as_str())).count()
    }

    /// Refuses a run of other models, whose prices and confidences are not those that it learned, and other weights of the
    /// encoder, whose vectors mean something else. `router` is its name; an encoder that is not known is not checked.
    pub fn check_run(&self, router: &str, slm: &Identity, llm: &Identity, encoder: Option<&str>) -> Result<()> {
        let identity = |name: &String, sha256: &Option<String>| Identity { name: name.clone(), sha256: sha256.clone() };
        let (own_slm, own_llm) = (identity(&self.slm, &self.slm_sha256), identity(&self.llm, &self.llm_sha256));
        if !(own_slm.is(slm) && own_llm.is(llm)) {
            return Err(usage(format!(
                "the router {router:?} was fitted to answers of {own_slm} and {own_llm}, not of {slm} and {llm}: fit it to a run \
                 of these"
            )));
        }
        encoder.map_or(Ok(()), |here| self.check_encoder(router, here))
    }

    /// Refuses other weights of the encoder; `here` is the hash of those that there are.
    pub(super) fn check_encoder(&self, router: &str, here: &str) -> Result<()> {
        match &self.encoder_sha256 {
            Some(wanted) if wanted != here => Err(usage(format!(
                "the router {router:?} was fitted on the embeddings of other encoder weights ({wanted}, not {here}): fit it again"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self, router: &RouterSpec) -> Result<()> {
        let damaged = |what: &str| Err(usage(format!("{what}: fit it again")));
        let is_mark = |mark: &String| mark.len() == 16 && mark.bytes().all(|b| b.is_ascii_hexdigit());
        if self.samples.is_empty() || !self.samples.iter().all(is_mark) {
            return damaged("the marks of the samples that it was fitted on are missing or damaged");
        }
        if self.encoder_sha256.is_none() && (self.predictor.is_some() || !self.models.is_empty()) {
            return damaged("it reads texts, and the encoder's weights are not named");
        }
        if self
            .calibration
            .iter()
            .chain(self.models.iter().filter_map(|m| m.calibration.as_ref()))
            .any(|c| !c.is_sound())
        {
            return damaged("a calibration is no rising curve between 0 and 1");
        }
        if self.calibration.is_some() && router.confidence.is_none() {
            return damaged("a calibration belongs to one estimator, and `confidence` does not say which");
        }
        let learned = self.predictor.as_ref().map(|predictor| predictor.learner().kind());
        if learned != Some(router.kind).filter(|kind| kind.predicts()) {
            return damaged("what was learned is not what this kind of router needs");
        }
        if let Some(predictor) = &self.predictor {
            predictor.check()?;
        }
        if router.kind == RouterKind::CascadeRouting {
            self.check_models(router)
        } else if self.models.is_empty() {
            Ok(())
        } else {
            damaged("`models` are there for cascade-routing alone")
        }
    }

    fn check_models(&self, router: &RouterSpec) -> Result<()> {
        let damaged = |what: &str| Err(usage(format!("{what}: fit it again")));
        if self.models.is_empty() || self.models.len() > 8 {
            return damaged("cascade-routing knows between 1 and 8 models");
        }
        let dimension = self.models[0].weights.first().map_or(0, Vec::len);
        for (i, model) in self.models.iter().enumerate() {
            if self.models[..i].iter().any(|other| other.name == model.name) {
                return damaged("a model stands there twice");
            }
            if !(model.usd.is_finite() && model.usd >= 0.0) {
                return damaged("the price of an answer is no amount of dollars");
            }
            let numbers = |class: &Vec<f64>| class.len() == dimension && class.iter().all(|x| x.is_finite());
            if dimension < 2 || model.weights.len() != 2 || !model.weights.iter().all(numbers) {
                return damaged("the weights of a model do not belong together");
            }
            if model.spread.iter().any(|x| !(0.0..=1.0).contains(x)) {
                return damaged("the spread of a model is not between 0 and 1");
            }
            if model.calibration.is_some() && router.confidence.is_none() {
                return damaged("a calibration belongs to one estimator, and `confidence` does not say which");
            }
        }
        Ok(())
    }

    /// The dimension of the embeddings that it reads; `None` where it reads none.
    pub(super) fn dimension(&self) -> Option<usize> {
        let of_models = self.models.first().and_then(|model| model.weights.first()).map(|class| class.len() - 1);
        self.predictor.as_ref().and_then(Predictor::dimension).or(of_models)
    }
}
