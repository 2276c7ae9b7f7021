//! From settings to a router.

use super::{
    ClassifierKind, DomainClassifier, Estimator, HybridSpecialist, LlmFirst, Router, RouterKind, SlmDominant, SlmOnly,
};
use crate::error::{Result, usage};
use crate::safety::SafetyPolicy;
use crate::task::Specialist;
use serde::{Deserialize, Serialize};

/// What the strategies can be set to; each reads what it needs.
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

/// Builds a router. Only hybrid-specialist reads `specialists` and `classifier`, and it needs both.
pub fn build(
    kind: RouterKind,
    settings: &RouterSettings,
    specialists: &[Specialist],
    classifier: Option<DomainClassifier>,
) -> Result<Box<dyn Router>> {
    check(settings)?;
    let settings = settings.clone();
    Ok(match kind {
        RouterKind::LlmFirst => Box::new(LlmFirst::new(settings)),
        RouterKind::SlmDominant => Box::new(SlmDominant::new(settings)),
        RouterKind::SlmOnly => Box::new(SlmOnly::new(settings)),
        RouterKind::HybridSpecialist => {
            let classifier = classifier.ok_or_else(|| {
                usage(
                    "the hybrid-specialist router needs a domain classifier, which is trained on labelled samples of \
                     the train split; add some or leave this router out",
                )
            })?;
            Box::new(HybridSpecialist::new(settings, classifier, specialists)?)
        }
    })
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
