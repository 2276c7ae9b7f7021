//! What a record holds of a query whose safety policy redacts: placeholders, as a remote engine saw them.

use super::{Prediction, Trial};
use crate::error::{Context, Result};
use crate::safety::Redaction;
use serde_json::Value;

impl Trial {
    /// Puts placeholders in the place of redacted values wherever the trial repeats texts. Done once it is scored, before it
    /// is written.
    pub fn conceal(&mut self) -> Result<()> {
        if self.redaction.is_empty() {
            return Ok(());
        }
        let redaction = std::mem::take(&mut self.redaction);
        prediction(&mut self.prediction, &redaction);
        for attempt in &mut self.attempts {
            attempt.prompt = redaction.conceal(&attempt.prompt);
            // What stands here is no longer what was answered.
            attempt.identity = None;
            prediction(&mut attempt.prediction, &redaction);
            let concealed = attempt.completion.as_deref().map(|text| redaction.conceal(text));
            if concealed != attempt.completion {
                attempt.completion = concealed;
                // Their texts would spell the values.
                for token in &mut attempt.tokens {
                    token.text.clear();
                    token.bytes = None;
                    token.top.clear();
                }
            }
            if let Some(verdict) = attempt.verdict.take() {
                let mut value = serde_json::to_value(&verdict).context("writing a verdict")?;
                strings(&mut value, &redaction);
                attempt.verdict = Some(serde_json::from_value(value).context("reading a concealed verdict")?);
            }
            if let Some(failure) = &mut attempt.failure {
                failure.message = redaction.conceal(&failure.message);
            }
        }
        if let Some(failure) = &mut self.failure {
            failure.message = redaction.conceal(&failure.message);
        }
        Ok(())
    }
}

fn prediction(prediction: &mut Prediction, redaction: &Redaction) {
    if let Some(answer) = &mut prediction.answer {
        *answer = redaction.conceal(answer);
    }
}

fn strings(value: &mut Value, redaction: &Redaction) {
    match value {
        Value::String(text) => *text = redaction.conceal(text),
        Value::Array(items) => items.iter_mut().for_each(|item| strings(item, redaction)),
        Value::Object(object) => object.values_mut().for_each(|item| strings(item, redaction)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
