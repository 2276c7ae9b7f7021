//! Strategies as files: `[[router]]` tables in TOML.

use super::fitted::Fitted;
use super::{ClassifierKind, Estimator, RouterKind, RouterSettings};
use crate::error::{Context, Result, toml_reason, usage};
use crate::files;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A file of strategies is at most so long: nearest neighbours of some ten thousand queries.
const MOST_BYTES: u64 = 256 << 20;
/// Models of a cascade at most.
const MOST_MODELS: usize = 8;
/// Repairs beyond these mend nothing, and a trial must end.
pub const MOST_REPAIRS: usize = 5;
/// Letters of a name at most.
const LONGEST_NAME: usize = 64;

/// One strategy: its kind, and what is set for it alone. What it leaves out is as the flags of the verb say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterSpec {
    /// The strategy.
    pub kind: RouterKind,
    /// Its name in tables and records; the kind's where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How confidence is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Estimator>,
    /// An SLM answer below this confidence escalates. Where `fitted` holds a calibration, the confidence is what that makes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Whether an SLM answer without a confidence escalates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_required: Option<bool>,
    /// Repairs of each model's answer at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_repairs: Option<usize>,
    /// hybrid-specialist: how it tells a query's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierKind>,
    /// hybrid-specialist: a specialist is called only for a domain of at least this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_domain_probability: Option<f64>,
    /// llm-first: queries of at most so many characters go to the SLM first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downshift_max_chars: Option<usize>,
    /// random: the share of queries that the LLM gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// cascade: the models, cheapest first: `slm`, `llm`, or a local model's name or path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// cascade: the confidence below which each model but the last gives up; `threshold` for all where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f64>>,
    /// knn, logistic, mf: the expected gain in quality above which the LLM is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// cascade-routing: what a right answer is worth, in dollars; the λ of its source is one over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_right_answer: Option<f64>,
    /// What was learned, and from what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub fitted: Option<Fitted>,
}

/// The form of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    router: Vec<RouterSpec>,
}

impl RouterSpec {
    /// A strategy with nothing set for it.
    #[must_use]
    pub fn plain(kind: RouterKind) -> Self {
        Self {
            kind,
            name: None,
            confidence: None,
            threshold: None,
            confidence_required: None,
            max_repairs: None,
            classifier: None,
            min_domain_probability: None,
            downshift_max_chars: None,
            share: None,
            models: None,
            thresholds: None,
            gain: None,
            usd_per_right_answer: None,
            fitted: None,
        }
    }

    /// The name in tables and records.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name())
    }

    /// The models that it names: `slm`, `llm`, and local ones.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        let listed = self.models.iter().flatten().map(String::as_str);
        let fitted = self.fitted.iter().flat_map(|fitted| &fitted.models).map(|model| model.name.as_str());
        listed.chain(fitted)
    }

    /// The local ones beyond the run's own two.
    pub fn named_models(&self) -> impl Iterator<Item = &str> {
        self.model_names().filter(|name| !["slm", "llm"].contains(name))
    }

    /// The settings of the flags with those of this strategy over them.
    #[must_use]
    pub fn settings(&self, flags: &RouterSettings) -> RouterSettings {
        RouterSettings {
            confidence: self.confidence.unwrap_or(flags.confidence),
            threshold: self.threshold.unwrap_or(flags.threshold),
            confidence_required: self.confidence_required.unwrap_or(flags.confidence_required),
            max_repairs: self.max_repairs.unwrap_or(flags.max_repairs),
            safety: flags.safety.clone(),
            classifier: self.classifier.unwrap_or(flags.classifier),
            min_domain_probability: self.min_domain_probability.unwrap_or(flags.min_domain_probability),
            downshift_max_chars: self.downshift_max_chars.or(flags.downshift_max_chars),
        }
    }

    /// The same without what was learned, which may be megabytes: for a run's header.
    #[must_use]
    pub fn outline(&self) -> serde_json::Value {
        let mut outline = serde_json::to_value(Self { fitted: None, ..self.clone() }).unwrap_or_default();
        if let (Some(object), Some(fitted)) = (outline.as_object_mut(), &self.fitted) {
            object.insert("fitted_on".to_owned(), fitted.outline());
        }
        outline
    }

    /// The keys that are set, beside kind and name.
    fn given(&self) -> Vec<&'static str> {
        // Taken apart, so that a new key cannot be forgotten here.
        let Self {
            kind: _,
            name: _,
            confidence,
            threshold,
            confidence_required,
            max_repairs,
            classifier,
            min_domain_probability,
            downshift_max_chars,
            share,
            models,
            thresholds,
            gain,
            usd_per_right_answer,
            fitted,
        } = self;
        let keys = [
            ("confidence", confidence.is_some()),
            ("threshold", threshold.is_some()),
            ("confidence_required", confidence_required.is_some()),
            ("max_repairs", max_repairs.is_some()),
            ("classifier", classifier.is_some()),
            ("min_domain_probability", min_domain_probability.is_some()),
            ("downshift_max_chars", downshift_max_chars.is_some()),
            ("share", share.is_some()),
            ("models", models.is_some()),
            ("thresholds", thresholds.is_some()),
            ("gain", gain.is_some()),
            ("usd_per_right_answer", usd_per_right_answer.is_some()),
            ("fitted", fitted.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    /// Refuses settings that the kind does not read, and values that mean nothing.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(usage(format!("the router {:?} {what}", self.name())));
        let reads = self.kind.reads();
        if let Some(key) = self.given().into_iter().find(|key| !reads.contains(key)) {
            let (kind, reads) = (self.kind.name(), reads.join(", "));
            return wrong(format!("sets `{key}`, which {kind} does not read; it reads {reads}"));
        }
        if let Some(name) = &self.name
            && (name.trim() != name
                || name.is_empty()
                || name.chars().count() > LONGEST_NAME
                || name.contains('/')
                || name.starts_with(['=', '+', '-', '@'])
                || name.chars().any(turns)
                || name.chars().any(char::is_control))
        {
            return wrong(format!(
                "needs a name of 1 to {LONGEST_NAME} printable characters without `/`, spaces at its ends, and one of = + - @ at its \
                 beginning"
            ));
        }
        if self.name.as_deref().and_then(RouterKind::of_name).is_some_and(|kind| kind != self.kind) {
            return wrong(format!("is of the kind {}: a name must not say another", self.kind.name()));
        }
        let shares = [
            ("threshold", self.threshold),
            ("min_domain_probability", self.min_domain_probability),
            ("share", self.share),
        ];
        for (key, value) in shares {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return wrong(format!("sets `{key}` to {value}, which is not between 0 and 1"));
            }
        }
        if let Some(gain) = self.gain.filter(|gain| !(-1.0..=1.0).contains(gain)) {
            return wrong(format!("sets `gain` to {gain}, which is not between -1 and 1"));
        }
        if let Some(usd) = self.usd_per_right_answer.filter(|usd| !(usd.is_finite() && *usd > 0.0)) {
            return wrong(format!("sets `usd_per_right_answer` to {usd}, which is no amount of dollars above 0"));
        }
        if let Some(repairs) = self.max_repairs.filter(|repairs| *repairs > MOST_REPAIRS) {
            return wrong(format!("sets `max_repairs` to {repairs}; {MOST_REPAIRS} are the most"));
        }
        self.check_models()?;
        self.check_fitted()
    }

    fn check_models(&self) -> Result<()> {
        let wrong = |what: String| Err(usage(format!("the router {:?} {what}", self.name())));
        let Some(models) = &self.models else {
            if self.kind == RouterKind::Cascade {
                return wrong("needs `models`, cheapest first, such as models = [\"slm\", \"llm\"]; set it in a [[router]] of a file".into());
            }
            return Ok(());
        };
        if !(2..=MOST_MODELS).contains(&models.len()) {
            return wrong(format!("names {} models; a cascade has 2 to {MOST_MODELS}", models.len()));
        }
        if let Some(twice) = models.iter().enumerate().find(|(i, name)| models[..*i].contains(name)) {
            return wrong(format!("names the model {:?} twice", twice.1));
        }
        if self.thresholds.is_some() && self.threshold.is_some() {
            return wrong("sets `threshold` and `thresholds`; keep one".into());
        }
        if let Some(thresholds) = &self.thresholds {
            if thresholds.len() + 1 != models.len() {
                let (thresholds, models) = (thresholds.len(), models.len());
                return wrong(format!("sets {thresholds} thresholds for {models} models; each but the last has one"));
            }
            if let Some(value) = thresholds.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return wrong(format!("sets a threshold of {value}, which is not between 0 and 1"));
            }
        }
        Ok(())
    }

    fn check_fitted(&self) -> Result<()> {
        match (&self.fitted, self.kind.is_fitted()) {
            (None, true) => Err(usage(format!(
                "the router {:?} learns from a run: make its file with `fit --run RUN --kind {} -o FILE.toml` and name the file",
                self.name(),
                if self.kind == RouterKind::CascadeRouting { "cascade" } else { self.kind.name() }
            ))),
            (None, false) => Ok(()),
            (Some(_), _) if self.kind == RouterKind::CascadeRouting && self.usd_per_right_answer.is_none() => {
                Err(usage(format!(
                    "the router {:?} must know what a right answer is worth: set `usd_per_right_answer`",
                    self.name()
                )))
            }
            (Some(fitted), _) => {
                fitted.check(self).with_context(|| format!("reading what the router {:?} learned", self.name()))
            }
        }
    }
}

/// Whether a character turns the direction of what follows, which makes tables unreadable.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Reads the strategies of a file; each is checked.
pub fn read_routers(path: &Path) -> Result<Vec<RouterSpec>> {
    let shown = path.display();
    let bytes = files::read(path, MOST_BYTES)
        .map_err(|error| usage(format!("cannot read the routers of {shown}: {error:#}")))?;
    let text = String::from_utf8(bytes).map_err(|_| usage(format!("the routers of {shown} are no UTF-8 text")))?;
    let file: File = toml::from_str(&text)
        .map_err(|error| usage(format!("{shown} is no file of [[router]] tables: {}", toml_reason(&error, &text))))?;
    if file.router.is_empty() {
        return Err(usage(format!("{shown} has no [[router]]")));
    }
    for router in &file.router {
        router.check().with_context(|| format!("reading {shown}"))?;
    }
    Ok(file.router)
}

/// The text of a file of strategies.
pub fn routers_text(routers: &[RouterSpec]) -> Result<String> {
    toml::to_string(&File { router: routers.to_vec() }).context("writing routers as TOML")
}
