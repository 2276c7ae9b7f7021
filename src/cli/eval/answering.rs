//! One model over a task's samples: its answers, whether they are right, and how sure of them it is by every reading.

use crate::clock::{Clock, Spans};
use crate::contract::Contract;
use crate::engine::{Engine, EngineError, FailureKind, Request};
use crate::error::{Context, Error, Interrupted, Result, anyhow};
use crate::memory::Memory;
use crate::router::Estimator;
use crate::task::{Query, Sample, Task};
use crate::trial::{
    ALTERNATIVES, Answer, AnswerFields, Confidence, LabelProbabilities, Probed, PromptBuilder, label_probabilities,
    predict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Answers that may fail outside the model, as a share of all, before nothing is said of the rest.
const MAX_FAILURE_SHARE: f64 = 0.1;

/// One model on one task.
pub(super) struct Answering {
    pub(super) engine: Arc<dyn Engine>,
    contract: Contract,
    pub(super) fields: AnswerFields,
    memory: Arc<dyn Memory>,
    pub(super) prompts: PromptBuilder,
    max_tokens: usize,
    seed: u64,
    clock: Clock,
}

/// What came of one sample.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) right: bool,
    /// Whether the answer keeps the task's schema as it was written.
    pub(super) valid: bool,
    /// The readings that are available.
    pub(super) confidences: BTreeMap<Estimator, f64>,
    pub(super) answer_s: f64,
    /// What readings took beyond the answer, where the model was asked again.
    pub(super) seconds: BTreeMap<Estimator, f64>,
}

/// The rows of answers, and how many calls failed.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) failures: usize,
}

impl Answering {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        task: &Task,
        memory: Arc<dyn Memory>,
        max_tokens: usize,
        seed: u64,
        clock: &Clock,
    ) -> Result<Self> {
        Ok(Self {
            engine,
            contract: Contract::new(&task.name, &task.schema)?,
            fields: super::super::prepare::answer_fields(task),
            prompts: PromptBuilder::new(task, memory.fixed_text()),
            memory,
            max_tokens,
            seed,
            clock: clock.clone(),
        })
    }

    /// Answers samples one after the other; `samples` of each answer are drawn for self-consistency. `progress` hears how
    /// many answers there are.
    pub(super) fn rows(
        &self,
        asked: &[&Sample],
        estimators: &BTreeSet<Estimator>,
        samples: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Rows> {
        let (mut rows, mut failures, mut last) = (Vec::new(), 0, String::new());
        let most = (MAX_FAILURE_SHARE * asked.len() as f64) as usize;
        for sample in asked {
            match self.row(sample, estimators, samples)? {
                Ok(row) => rows.push(row),
                Err(failure) => {
                    failures += 1;
                    last = failure.message;
                    if failures > most && (is_lasting(failure.kind) || failures > most + 3) {
                        break;
                    }
                }
            }
            progress(rows.len() + failures);
        }
        if failures > most {
            let of = asked.len();
            return Err(anyhow!("{failures} of {of} answers failed outside the model, too many to judge it: {last}"));
        }
        Ok(Rows { rows, failures })
    }

    fn request(&self, query: &Query) -> Result<Request> {
        let mut spans = Spans::default();
        let recalled = self.memory.recall(query, &self.clock, &mut spans);
        let retrieval = recalled.with_context(|| format!("recalling for sample {}", query.id))?;
        Ok(Request {
            messages: self.prompts.messages(query, &retrieval, None),
            max_tokens: self.max_tokens,
            temperature: 0.0,
            seed: self.seed,
            top_logprobs: ALTERNATIVES,
            cache_scope: None,
            grammar: None,
        })
    }

    fn row(
        &self,
        sample: &Sample,
        estimators: &BTreeSet<Estimator>,
        samples: usize,
    ) -> Result<std::result::Result<Row, EngineError>> {
        let request = self.request(&sample.query)?;
        let completion = match self.engine.complete(&request) {
            Ok(completion) => completion,
            Err(failure) => return outside(*failure),
        };
        let verdict = self.contract.check(&completion.text);
        let given = predict(&verdict, &completion.text, &self.fields).label;
        let answer = Answer {
            engine: &*self.engine,
            request: &request,
            completion: &completion,
            label: given.as_deref(),
            fields: &self.fields,
            samples,
        };
        let probed = match answer.probe(estimators) {
            Ok(probed) => probed,
            Err(failure) => return outside(*failure),
        };
        let mut confidences = BTreeMap::new();
        let read = Confidence::of(&completion.tokens, &self.fields.label);
        for &estimator in estimators {
            let value = match &read {
                _ if estimator.asks_again() => probed.value(estimator),
                Some(read) => read.value(estimator),
                None => None,
            };
            confidences.extend(value.map(|value| (estimator, value)));
        }
        Ok(Ok(Row {
            right: given.is_some() && given == sample.target.label,
            valid: verdict.valid_as_written(),
            confidences,
            answer_s: completion.timing.total_s.0,
            seconds: seconds(&probed),
        }))
    }

    /// The probabilities of the labels of a query, at the beginning of an answer to it; `None` where the engine scores no
    /// given texts.
    pub(super) fn labels(&self, query: &Query) -> Result<Option<LabelProbabilities>> {
        let request = self.request(query)?;
        label_probabilities(&*self.engine, &request, None, &self.fields).map_err(|error| anyhow!("{}", error.message))
    }
}

fn seconds(probed: &Probed) -> BTreeMap<Estimator, f64> {
    let took = [
        (Estimator::LabelExact, probed.labels_s),
        (Estimator::LabelChoice, probed.labels_s),
        (Estimator::SelfConsistency, probed.samples_s),
        (Estimator::SelfVerification, probed.verification_s),
    ];
    took.into_iter().filter_map(|(estimator, took)| Some((estimator, took?.0))).collect()
}

/// A failure that is no answer; one that the user asked for ends everything.
fn outside<T>(failure: EngineError) -> Result<std::result::Result<T, EngineError>> {
    if failure.kind == FailureKind::Interrupted {
        return Err(Error::new(Interrupted(failure.message)));
    }
    Ok(Err(failure))
}

/// Whether the next call would fail alike.
fn is_lasting(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Rejected | FailureKind::Auth | FailureKind::Offline | FailureKind::Connect)
        || kind.ends_the_run()
}
