//! A classifier picks the domain; specialists answer theirs, the LLM the rest.

use super::repair::{Step, call, follow, safety};
use super::{Decision, DomainClassifier, Evidence, PromptVariant, Reason};
use super::{Router, RouterKind, RouterSettings, Tier};
use crate::error::{Result, usage};
use crate::task::{Query, Specialist};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A query whose domain has a specialist, by a classifier that is sure enough, goes to that specialist (a small model,
/// a prompt, or both); every other query, and every specialist that fails as in slm-dominant, goes to the LLM.
pub struct HybridSpecialist {
    settings: RouterSettings,
    classifier: Arc<DomainClassifier>,
    /// Domain to the specialist's own model; `None` is the run's SLM.
    specialists: BTreeMap<String, Option<String>>,
}

impl HybridSpecialist {
    /// From the settings, a trained classifier and the task's specialists. A specialist for a domain that the classifier
    /// cannot pick is an error: it would silently never be called.
    pub fn new(
        settings: RouterSettings,
        classifier: Arc<DomainClassifier>,
        specialists: &[Specialist],
    ) -> Result<Self> {
        if specialists.is_empty() {
            return Err(usage(
                "the hybrid-specialist router needs at least one specialist, and the task names none; add a \
                 [[specialist]] to task.toml or leave this router out",
            ));
        }
        let mut by_domain = BTreeMap::new();
        for specialist in specialists {
            if !classifier.labels().contains(&specialist.domain) {
                return Err(usage(format!(
                    "task.toml names a specialist for the domain {:?}, but no sample of the train split has that \
                     label (it has {}); correct the name or add train samples",
                    specialist.domain,
                    classifier.labels().join(", "),
                )));
            }
            if by_domain.insert(specialist.domain.clone(), specialist.model.clone()).is_some() {
                return Err(usage(format!(
                    "task.toml names two specialists for the domain {:?}; keep one",
                    specialist.domain
                )));
            }
        }
        Ok(Self { settings, classifier, specialists: by_domain })
    }

    fn first(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        if let Some(reason) = safety(&self.settings.safety, evidence) {
            return Ok(call(&Step::llm(), reason));
        }
        let (domain, probability) = self.classifier.classify(&query.input)?;
        Ok(match self.specialists.get(&domain) {
            Some(model) if probability >= self.settings.min_domain_probability => Decision::Call {
                tier: Tier::Slm,
                model: model.clone(),
                variant: PromptVariant::Specialist(domain.clone()),
                reason: Reason::Domain { domain, probability },
            },
            _ => call(&Step::llm(), Reason::NoSpecialist { domain, probability }),
        })
    }
}

impl Router for HybridSpecialist {
    fn kind(&self) -> RouterKind {
        RouterKind::HybridSpecialist
    }

    fn decide(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        let Some(first) = evidence.attempts.first() else { return self.first(query, evidence) };
        let steps = [Step::specialist(&self.settings, first.model.clone()), Step::llm()];
        Ok(follow(&self.settings, &steps, evidence.attempts, Reason::FirstChoice))
    }
}
