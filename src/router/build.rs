//! From settings to a router.

use super::cascade::Cascade;
use super::cascade_routing::CascadeRouting;
use super::fitted::Fitted;
use super::predicted::Predicted;
use super::random::Random;
use super::repair::Step;
use super::{ClassifierKind, DomainClassifier, Estimator, HybridSpecialist, LlmFirst, Router, RouterKind, RouterSpec};
use crate::error::{Context, Result, usage};
use crate::memory::Embed;
use crate::safety::SafetyPolicy;
use crate::task::Specialist;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The share of the LLM where the random control is given none.
const RANDOM_SHARE: f64 = 0.5;

/// What the strategies can be set to by flags; each reads what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSettings {
    /// How confidence is read.
    pub confidence: Estimator,
    /// An SLM answer below this confidence escalates.
    pub threshold: f64,
    /// Whether an SLM answer without a confidence escalates; `false` accepts it unjudged.
    pub confidence_required: bool,
    /// Repairs of each model's answer at most.
    pub max_repairs: usize,
    /// What follows from findings. A strategy that has the choice sends a query to the LLM before any call where this asks to
    /// escalate; all else in it the trial sees to, whatever the strategy.
    pub safety: SafetyPolicy,
    /// How hybrid-specialist tells a query's domain.
    pub classifier: ClassifierKind,
    /// A specialist is called only for a domain of at least this probability.
    pub min_domain_probability: f64,
    /// llm-first keeps queries of at most this many characters, without findings, at the SLM first; `None` never does.
    pub downshift_max_chars: Option<usize>,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            confidence: Estimator::default(),
            threshold: 0.8,
            confidence_required: true,
            max_repairs: 2,
            safety: SafetyPolicy::default(),
            classifier: ClassifierKind::default(),
            min_domain_probability: 0.5,
            downshift_max_chars: None,
        }
    }
}

/// What some strategies need besides settings.
#[derive(Default)]
pub struct RouterParts<'a> {
    /// hybrid-specialist: who answers which domain.
    pub specialists: &'a [Specialist],
    /// hybrid-specialist: what tells domains apart.
    pub classifier: Option<Arc<DomainClassifier>>,
    /// The sentence encoder of those that look at the query's text, and the hash of its weights.
    pub embed: Option<(Arc<dyn Embed>, &'a str)>,
    /// Seed of the random control.
    pub seed: u64,
}

/// Builds a router from what is set for it, over the settings of the flags.
pub fn build(spec: &RouterSpec, flags: &RouterSettings, parts: RouterParts<'_>) -> Result<Box<dyn Router>> {
    spec.check()?;
    let settings = spec.settings(flags);
    check(&settings)?;
    let calibration = spec.fitted.as_ref().and_then(|fitted| fitted.calibration.clone());
    let slm = Step::slm(&settings).calibrated(calibration);
    let kind = spec.kind;
    let cascade = |settings, steps| Ok(Box::new(Cascade::new(kind, settings, steps)) as Box<dyn Router>);
    match kind {
        RouterKind::LlmFirst => Ok(Box::new(LlmFirst::new(settings, slm))),
        RouterKind::SlmDominant => cascade(settings, vec![slm, Step::llm()]),
        RouterKind::SlmOnly => cascade(settings, vec![slm]),
        RouterKind::LlmOnly => cascade(settings, vec![Step::llm()]),
        RouterKind::Cascade => {
            let models = spec.models.iter().flatten().enumerate();
            let threshold = |at: usize| match &spec.thresholds {
                Some(thresholds) => thresholds.get(at).copied().unwrap_or(0.0),
                None => settings.threshold,
            };
            let steps = models.map(|(at, name)| Step::named(name, threshold(at))).collect();
            cascade(settings, steps)
        }
        RouterKind::Random => Ok(Box::new(Random::new(settings, spec.share.unwrap_or(RANDOM_SHARE), parts.seed))),
        RouterKind::HybridSpecialist => {
            let classifier = parts.classifier.ok_or_else(|| {
                usage(
                    "the hybrid-specialist router needs a domain classifier, which is trained on labelled samples of \
                     the train split; add some or leave this router out",
                )
            })?;
            Ok(Box::new(HybridSpecialist::new(settings, classifier, parts.specialists)?))
        }
        RouterKind::Knn | RouterKind::Logistic | RouterKind::Mf => {
            let embed = encoder(spec, parts.embed)?;
            let predictor = spec.fitted.as_ref().and_then(|fitted| fitted.predictor.clone());
            let predictor = predictor.context("a router that predicts was fitted without a predictor")?;
            Ok(Box::new(Predicted::new(kind, settings, predictor, spec.gain.unwrap_or(0.0), embed)))
        }
        RouterKind::CascadeRouting => {
            let embed = encoder(spec, parts.embed)?;
            let models = spec.fitted.as_ref().map_or(&[][..], |fitted| &fitted.models);
            let worth =
                spec.usd_per_right_answer.context("cascade-routing was not told what a right answer is worth")?;
            Ok(Box::new(CascadeRouting::new(settings, models, worth, embed)))
        }
    }
}

/// The encoder that a router was fitted with.
fn encoder(spec: &RouterSpec, embed: Option<(Arc<dyn Embed>, &str)>) -> Result<Arc<dyn Embed>> {
    let (embed, sha256) = embed.context("a router that reads texts has no encoder")?;
    let fitted = spec.fitted.as_ref();
    fitted.map_or(Ok(()), |fitted| fitted.check_encoder(spec.name(), sha256))?;
    let dimension = embed.embed(&["a"])?.first().map_or(0, Vec::len);
    match fitted.and_then(Fitted::dimension) {
        Some(wanted) if wanted != dimension => Err(usage(format!(
            "the router {:?} was fitted on embeddings of {wanted} numbers, but the encoder gives {dimension}: fit it again",
            spec.name()
        ))),
        _ => Ok(embed),
    }
}

fn check(settings: &RouterSettings) -> Result<()> {
    for (name, value) in
        [("confidence threshold", settings.threshold), ("least domain probability", settings.min_domain_probability)]
    {
        if !(0.0..=1.0).contains(&value) {
            return Err(usage(format!("the router's {name} is {value}, but a probability lies between 0 and 1")));
        }
    }
    Ok(())
}
