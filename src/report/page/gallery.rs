//! What the page shows of single trials: answers side by side, and a list. Every text is cut to a length and cleared of personal
//! data before it is written.

use super::svg::is_direction;
use crate::record::TrialRecord;
use crate::report::collect::{GALLERY_POLICIES, LISTED_TRIALS, Sample};
use crate::report::name_of;
use crate::router::Tier;
use crate::safety::Redaction;
use serde::Serialize;
use serde_json::Value;

/// Characters of a text that are shown, and that are looked through for personal data before it is cut: what begins within the
/// shown part is found whole.
const SHOWN: usize = 1500;
const LOOKED_THROUGH: usize = 6000;
/// Characters of a passage that are shown.
const PASSAGE: usize = 400;
/// Characters of a name that are shown.
const NAME: usize = 80;
/// Bytes that all samples take at most.
const BUDGET: usize = 600_000;

/// A sample and what the policies made of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Shown {
    id: String,
    gold: Option<String>,
    answers: Vec<Answer>,
}

impl Shown {
    /// What it is called in the list.
    pub(super) fn title(&self) -> &str {
        &self.id
    }
}

/// What one policy made of it.
#[derive(Debug, Clone, Serialize)]
struct Answer {
    policy: usize,
    outcome: String,
    right: Option<bool>,
    label: Option<String>,
    failure: Option<String>,
    prompt: String,
    passages: Vec<String>,
    attempts: Vec<Try>,
}

/// One call.
#[derive(Debug, Clone, Serialize)]
struct Try {
    model: String,
    tier: Tier,
    because: String,
    raw: Option<String>,
    parsed: String,
    contract: String,
    confidence: Option<f64>,
    seconds: f64,
}

/// The samples as the page holds them, as many as the budget allows, and whether some were left out for it.
pub(super) fn shown(samples: &[Sample]) -> (Vec<Shown>, bool) {
    let (mut found, mut size) = (Vec::new(), 0);
    for sample in samples {
        let one = one(sample);
        size += serde_json::to_string(&one).map_or(BUDGET, |text| text.len());
        if size > BUDGET {
            return (found, true);
        }
        found.push(one);
    }
    (found, false)
}

fn one(sample: &Sample) -> Shown {
    let records = || sample.records.iter().enumerate().filter_map(|(i, record)| Some((i, record.as_ref()?)));
    let gold = records().find_map(|(_, record)| record.gold_label.clone());
    let mut clean = Clean::default();
    Shown {
        id: clean.name(&sample.id),
        gold: gold.map(|gold| clean.name(&gold)),
        answers: records().take(GALLERY_POLICIES).map(|(policy, record)| answer(policy, record, &mut clean)).collect(),
    }
}

fn answer(policy: usize, record: &TrialRecord, clean: &mut Clean) -> Answer {
    let trial = &record.trial;
    let passages = trial.retrieval.passages.iter().take(4);
    Answer {
        policy,
        outcome: name_of(&trial.outcome),
        right: record.scores.as_ref().and_then(|scores| scores.label_correct),
        label: trial.prediction.label.as_ref().map(|label| clean.name(label)),
        failure: trial.failure.as_ref().map(|failure| clean.cut(&failure.message, PASSAGE)),
        prompt: trial.attempts.first().map_or_else(String::new, |attempt| clean.end(&attempt.prompt)),
        passages: passages.map(|p| format!("{}: {}", clean.name(&p.title), clean.cut(&p.text, PASSAGE))).collect(),
        attempts: trial.attempts.iter().take(6).map(|attempt| attempted(attempt, clean)).collect(),
    }
}

fn attempted(attempt: &crate::trial::Attempt, clean: &mut Clean) -> Try {
    let contract = match (&attempt.verdict, &attempt.failure) {
        (_, Some(failure)) => clean.cut(&failure.message, PASSAGE),
        (None, None) => "not checked".into(),
        (Some(verdict), None) if verdict.valid_as_written() => "kept".into(),
        (Some(verdict), None) if verdict.valid => "kept once its JSON was mended".into(),
        (Some(verdict), None) => {
            let broken = verdict.violations.iter().take(4).map(|violation| violation.message.as_str());
            format!("broken: {}", clean.cut(&broken.collect::<Vec<_>>().join(" "), PASSAGE))
        }
    };
    Try {
        model: clean.name(&attempt.model),
        tier: attempt.tier,
        because: crate::metrics::cause(&attempt.reason).replace('_', " "),
        raw: attempt.completion.as_ref().map(|text| clean.cut(text, SHOWN)),
        parsed: parsed(&attempt.prediction, clean),
        contract,
        confidence: attempt.confidence.as_ref().and_then(|c| c.value(crate::router::Estimator::default())),
        seconds: attempt.total_s.0,
    }
}

fn parsed(prediction: &crate::trial::Prediction, clean: &mut Clean) -> String {
    let mut parts = vec![format!("label: {}", prediction.label.as_deref().unwrap_or("none"))];
    parts.extend(prediction.answer.as_ref().map(|answer| format!("answer: {answer}")));
    if !prediction.citations.is_empty() {
        let cited: Vec<&str> = prediction.citations.iter().take(8).map(String::as_str).collect();
        parts.push(format!("citations: {}", cited.join(", ")));
    }
    parts.extend(prediction.needs_human.map(|needs| format!("needs a person: {needs}")));
    clean.cut(&parts.join("\n"), SHOWN)
}

/// Takes personal data out of the texts of one sample: the same value has the same placeholder in all of them.
#[derive(Default)]
struct Clean {
    redaction: Redaction,
}

impl Clean {
    fn name(&mut self, text: &str) -> String {
        self.cut(text, NAME)
    }

    /// The beginning of a text.
    fn cut(&mut self, text: &str, characters: usize) -> String {
        let window: String = text.chars().take(LOOKED_THROUGH).collect();
        let clean = self.redacted(&window);
        let mut cut: String = clean.chars().take(characters).collect();
        if clean.chars().nth(characters).is_some() || window.len() < text.len() {
            cut.push_str(" […]");
        }
        cut
    }

    /// The end of a text, where a prompt's query stands.
    fn end(&mut self, text: &str) -> String {
        let length = text.chars().count();
        let window: String = text.chars().skip(length.saturating_sub(LOOKED_THROUGH)).collect();
        let clean = self.redacted(&window);
        let left_out = clean.chars().count().saturating_sub(SHOWN);
        let end: String = clean.chars().skip(left_out).collect();
        if left_out > 0 || window.len() < text.len() { format!("[…] {end}") } else { end }
    }

    fn redacted(&mut self, text: &str) -> String {
        let clean: String = text.chars().filter(|c| !is_direction(*c) && (!c.is_control() || *c == '\n')).collect();
        self.redaction.redact(&clean, |_| true)
    }
}

/// The list of trials: for each its sample, policy, outcome, gold label, label, whether it is right, why the LLM was called,
/// attempts, confidence, seconds and dollars for 1,000.
pub(super) fn list(samples: &[Sample]) -> Vec<Value> {
    let mut rows = Vec::new();
    for sample in samples {
        for (policy, record) in sample.records.iter().enumerate().filter_map(|(i, r)| Some((i, r.as_ref()?))) {
            if rows.len() < LISTED_TRIALS {
                rows.push(listed(&sample.id, policy, record));
            }
        }
    }
    rows
}

fn listed(id: &str, policy: usize, record: &TrialRecord) -> Value {
    let mut clean = Clean::default();
    let trial = &record.trial;
    let llm = trial.attempts.iter().find(|attempt| attempt.tier == Tier::Llm);
    let slm = trial.attempts.iter().find(|attempt| attempt.tier == Tier::Slm);
    let confidence = slm.and_then(|attempt| attempt.confidence.as_ref()?.value(crate::router::Estimator::default()));
    serde_json::json!([
        clean.name(id),
        policy,
        name_of(&trial.outcome),
        record.gold_label.as_ref().map(|label| clean.name(label)),
        trial.prediction.label.as_ref().map(|label| clean.name(label)),
        record.scores.as_ref().and_then(|scores| scores.label_correct),
        llm.map(|attempt| crate::metrics::cause(&attempt.reason)),
        trial.attempts.len(),
        confidence,
        trial.wall_s.0 - trial.spans.get(crate::clock::Component::Scoring).0,
        record.cost.api_usd.map(|usd| usd.0 * 1000.0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::router::RouterKind;

    fn sample(text: &str) -> Sample {
        let (header, _) = example::run();
        let mut trial = example::answered("Access");
        trial.attempts[0].completion = Some(text.to_owned());
        trial.attempts[0].prompt = format!("{}{text}", "p".repeat(20_000));
        let record = example::record(RouterKind::SlmDominant, "s1", trial, &example::target(), &header);
        Sample { id: "s1".into(), records: vec![Some(record)] }
    }

    #[test]
    fn texts_are_cut_and_hold_no_personal_data() {
        let long = format!("{} write to jane.doe@example.org or {}", "x".repeat(1480), "y".repeat(10 << 20));
        let text = serde_json::to_string(&shown(&[sample(&long)]).0).unwrap();
        assert!(text.len() < 12_000, "{} bytes", text.len());
        assert!(!text.contains("jane") && text.contains(" […]"), "{text}");
        let text = serde_json::to_string(&shown(&[sample("my mail is jane.doe@example.org")]).0).unwrap();
        assert!(!text.contains("jane.doe") && text.contains("[EMAIL_1]"), "{text}");
    }

    #[test]
    fn samples_stop_at_the_budget() {
        let many: Vec<Sample> = (0..1000).map(|_| sample(&"word ".repeat(2000))).collect();
        let (shown, cut) = shown(&many);
        assert!(cut && !shown.is_empty() && shown.len() < many.len());
        assert!(serde_json::to_string(&shown).unwrap().len() <= BUDGET + 10_000);
    }
}
