//! Confidences for which the model is asked again: about each label, for more answers, about its own answer.

use super::AnswerFields;
use super::confidence::value_range;
use crate::engine::{Completion, Engine, EngineError, Request, Scored, TokenLogprob};
use crate::nn::chat::Message;
use crate::router::Estimator;
use crate::units::Seconds;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Answers that self-consistency samples where nothing else is said.
pub const DEFAULT_SAMPLES: usize = 5;
/// The temperature of those samples where the answer itself was greedy, as in Wang et al., "Self-Consistency", 2022.
const TEMPERATURE: f64 = 0.7;
/// The spellings of yes and of no whose probabilities are added up.
const VERDICTS: [&str; 4] = ["Yes", "yes", "No", "no"];

/// What the model said when it was asked again; `None` where it was not asked, or the engine cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probed {
    /// Probability of the answer's label among all labels, by the probability of each as a whole.
    pub label_exact: Option<f64>,
    /// The same, token by token among the tokens with which a label can go on.
    pub label_choice: Option<f64>,
    /// Share of the sampled answers that have the answer's label.
    pub self_consistency: Option<f64>,
    /// Probability of yes against no.
    pub self_verification: Option<f64>,
    /// Time that scoring the labels took.
    pub labels_s: Option<Seconds>,
    /// Time that sampling took.
    pub samples_s: Option<Seconds>,
    /// Time that the question took.
    pub verification_s: Option<Seconds>,
}

impl Probed {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One reading; `None` where it is not available, and for those that are read from the answer's own tokens.
    #[must_use]
    pub fn value(&self, estimator: Estimator) -> Option<f64> {
        match estimator {
            Estimator::LabelExact => self.label_exact,
            Estimator::LabelChoice => self.label_choice,
            Estimator::SelfConsistency => self.self_consistency,
            Estimator::SelfVerification => self.self_verification,
            _ => None,
        }
    }
}

/// An answer to ask about.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// Who gave it.
    pub engine: &'a dyn Engine,
    /// What was asked.
    pub request: &'a Request,
    /// What was answered.
    pub completion: &'a Completion,
    /// The label that the answer names; an answer without one has no probability of it.
    pub label: Option<&'a str>,
    /// What the answer's parts mean.
    pub fields: &'a AnswerFields,
    /// Answers to sample for self-consistency.
    pub samples: usize,
}

/// The probabilities of all labels in their place in an answer, in the order of [`AnswerFields::labels`].
#[derive(Debug, Clone, PartialEq)]
pub struct LabelProbabilities {
    /// Natural logarithm of each as a whole.
    pub log: Vec<f64>,
    /// Each as a whole, among them all.
    pub exact: Vec<f64>,
    /// Each token by token, were only labels allowed.
    pub choice: Vec<f64>,
    /// What scoring took.
    pub total_s: Seconds,
}

impl Answer<'_> {
    /// Asks what the estimators need.
    pub fn probe(&self, estimators: &BTreeSet<Estimator>) -> Result<Probed, Box<EngineError>> {
        let mut probed = Probed::default();
        let named = self.label.and_then(|label| self.fields.labels.iter().position(|known| known == label));
        if (estimators.contains(&Estimator::LabelExact) || estimators.contains(&Estimator::LabelChoice))
            && let Some(labels) = label_probabilities(self.engine, self.request, Some(self.completion), self.fields)?
        {
            let of = |probabilities: &[f64]| Some(named.map_or(0.0, |index| probabilities[index]));
            (probed.label_exact, probed.label_choice) = (of(&labels.exact), of(&labels.choice));
            probed.labels_s = Some(labels.total_s);
        }
        if estimators.contains(&Estimator::SelfConsistency) && self.samples > 0 {
            let (share, time) = self.consistency()?;
            (probed.self_consistency, probed.samples_s) = (Some(share), Some(time));
        }
        if estimators.contains(&Estimator::SelfVerification)
            && let Some((yes, time)) = self.verification()?
        {
            (probed.self_verification, probed.verification_s) = (Some(yes), Some(time));
        }
        Ok(probed)
    }

    /// The share of sampled answers with this label. Each sample ends where its label does.
    fn consistency(&self) -> Result<(f64, Seconds), Box<EngineError>> {
        let temperature = if self.request.temperature > 0.0 { self.request.temperature } else { TEMPERATURE };
        // The answer itself was the first draw of its seed.
        let seed = self.request.seed.wrapping_add(1);
        let request = Request { temperature, seed, top_logprobs: 0, ..self.request.clone() };
        let field = &self.fields.label;
        let enough = |text: &str| value_range(text, field).is_some_and(|range| range.end < text.len());
        let samples = self.engine.sample(&request, self.samples, &enough)?;
        let same = |sample: &&Completion| {
            let value = value_range(&sample.text, field).map(|range| sample.text[range].trim());
            value.zip(self.label).is_some_and(|(value, label)| value.eq_ignore_ascii_case(label))
        };
        let time = samples.iter().map(|sample| sample.timing.total_s.0).fold(0.0, f64::max);
        Ok((samples.iter().filter(same).count() as f64 / samples.len().max(1) as f64, Seconds(time)))
    }

    /// The probability of yes against no when the model is asked whether its own answer is right.
    fn verification(&self) -> Result<Option<(f64, Seconds)>, Box<EngineError>> {
        let mut messages = self.request.messages.clone();
        messages.push(Message::new("assistant", self.completion.text.as_str()));
        let question = format!(
            "Is the value of \"{}\" in your answer right for the ticket? Answer with one word, Yes or No.",
            self.fields.label
        );
        messages.push(Message::new("user", question));
        let request = Request { messages, grammar: None, ..self.request.clone() };
        let Some(scored) = self.engine.score(&request, &VERDICTS.map(str::to_owned))? else { return Ok(None) };
        let shares = softmax(&totals(&scored));
        Ok(Some((shares[0] + shares[1], scored.total_s)))
    }
}

/// Scores every label where it stands in this answer to the request, or, where there is none, at the beginning of one.
/// `None` where there are no labels, or the engine scores no given texts.
pub fn label_probabilities(
    engine: &dyn Engine,
    request: &Request,
    answer: Option<&Completion>,
    fields: &AnswerFields,
) -> Result<Option<LabelProbabilities>, Box<EngineError>> {
    if fields.labels.is_empty() {
        return Ok(None);
    }
    let (tokens, text) = answer.map_or((&[][..], ""), |answer| (&answer.tokens[..], answer.text.as_str()));
    let texts = in_place(tokens, text, &fields.label, &fields.labels);
    Ok(engine.score(request, &texts)?.map(|scored| probabilities(&scored)))
}

/// For each label the answer's text up to its own label, that label, and what the token says further that ends it: a model
/// writes the closing quote together with what follows, and scored without that it would be improbable after every label.
/// Where no label stands in the answer, the label is taken to be the first property of the object.
fn in_place(tokens: &[TokenLogprob], text: &str, field: &str, labels: &[String]) -> Vec<String> {
    let (before, after) = match value_range(text, field) {
        Some(range) => {
            let mut end = 0;
            let closing = tokens.iter().map(|token| {
                end += token.text.len();
                end
            });
            let stop = closing.into_iter().find(|&end| end > range.end).unwrap_or(text.len()).min(text.len());
            let after = text.get(range.end..stop).filter(|after| after.starts_with('"')).unwrap_or("\"");
            (text[..range.start].to_owned(), after.to_owned())
        }
        None => (format!("{{\"{field}\": \""), "\"".to_owned()),
    };
    let written = |label: &String| {
        let quoted = serde_json::Value::from(label.as_str()).to_string();
        format!("{before}{}{after}", &quoted[1..quoted.len() - 1])
    };
    labels.iter().map(written).collect()
}

fn totals(scored: &Scored) -> Vec<f64> {
    scored.texts.iter().map(|tokens| tokens.iter().map(|token| token.logprob).sum()).collect()
}

fn softmax(logs: &[f64]) -> Vec<f64> {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| if log.is_finite() { (log - top).exp() } else { 0.0 }).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| if sum > 0.0 { weight / sum } else { 0.0 }).collect()
}

fn probabilities(scored: &Scored) -> LabelProbabilities {
    let log = totals(scored);
    LabelProbabilities { exact: softmax(&log), choice: by_choice(scored), log, total_s: scored.total_s }
}

/// The probability of each text when every token is chosen among those with which one of the texts goes on. Where one text
/// ends and others go on, the end has what their tokens leave.
fn by_choice(scored: &Scored) -> Vec<f64> {
    let mut ways: BTreeMap<Vec<u32>, BTreeMap<u32, f64>> = BTreeMap::new();
    let mut ends: BTreeSet<Vec<u32>> = BTreeSet::new();
    for tokens in &scored.texts {
        let mut before = Vec::with_capacity(tokens.len());
        for token in tokens {
            ways.entry(before.clone()).or_default().insert(token.id, token.logprob.exp());
            before.push(token.id);
        }
        ends.insert(before);
    }
    // Of the ways on from a place: what all of them have together, and what its end has.
    let shares = |before: &Vec<u32>| {
        let on: f64 = ways.get(before).map_or(0.0, |ways| ways.values().sum());
        let end = if ends.contains(before) { (1.0 - on).max(0.0) } else { 0.0 };
        (on + end, end)
    };
    let of = |tokens: &Vec<crate::engine::ScoredToken>| {
        let (mut probability, mut before) = (1.0, Vec::with_capacity(tokens.len()));
        for token in tokens {
            let all = shares(&before).0;
            probability *= if all > 0.0 { token.logprob.exp() / all } else { 0.0 };
            before.push(token.id);
        }
        let (all, end) = shares(&before);
        probability * if all > 0.0 { end / all } else { 0.0 }
    };
    scored.texts.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ScoredToken;

    fn scored(texts: &[&[(u32, f64)]]) -> Scored {
        let token = |&(id, p): &(u32, f64)| ScoredToken { id, logprob: p.ln() };
        Scored { texts: texts.iter().map(|text| text.iter().map(token).collect()).collect(), ..Scored::default() }
    }

    #[test]
    fn labels_stand_where_the_answers_own_label_stood() {
        let parts = ["{\"category\":", " \"", "HR", "\",", " \"x\"", ": 1}"];
        let tokens: Vec<_> = parts.map(|t| TokenLogprob::new(t.into(), t.as_bytes(), -0.1)).to_vec();
        let labels = ["HR".to_owned(), "A \"b\"".to_owned()];
        let texts = in_place(&tokens, &parts.concat(), "category", &labels);
        assert_eq!(texts, [r#"{"category": "HR","#, r#"{"category": "A \"b\"","#]);
        let texts = in_place(&[], "I do not know", "category", &labels[..1]);
        assert_eq!(texts, ["{\"category\": \"HR\""]);
        let texts = in_place(&[], "{\"category\": \"HR", "category", &labels[..1]);
        assert_eq!(texts, ["{\"category\": \"HR\""], "a cut answer is closed");
    }

    #[test]
    fn whole_labels_and_choices_token_by_token_share_the_mass_differently() {
        // 7 is common to the first two; after it they part.
        let scored = scored(&[&[(7, 0.4), (1, 0.5)], &[(7, 0.4), (2, 0.1)], &[(8, 0.1), (3, 0.9)]]);
        let found = probabilities(&scored);
        let whole = [0.2, 0.04, 0.09];
        for (ours, whole) in found.exact.iter().zip(whole) {
            assert!((ours - whole / 0.33).abs() < 1e-12);
        }
        for (ours, expected) in found.choice.iter().zip([0.8 * 0.5 / 0.6, 0.8 * 0.1 / 0.6, 0.2]) {
            assert!((ours - expected).abs() < 1e-12, "{ours} against {expected}");
        }
    }

    #[test]
    fn a_text_that_begins_another_has_what_the_longer_leaves() {
        let found = by_choice(&scored(&[&[(1, 0.5)], &[(1, 0.5), (2, 0.25)]]));
        assert!((found[0] - 0.75).abs() < 1e-12 && (found[1] - 0.25).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn probabilities_of_many_labels_add_up_to_one() {
        let texts: Vec<Vec<(u32, f64)>> = (0..1000_u32).map(|i| vec![(i % 10, 0.05), (i / 10, 0.003)]).collect();
        let texts: Vec<&[(u32, f64)]> = texts.iter().map(Vec::as_slice).collect();
        let found = probabilities(&scored(&texts));
        for all in [&found.exact, &found.choice] {
            assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
