//! The loop of one trial.

use super::guard::{outgoing, redacts, unasked};
use super::probe::{Answer, DEFAULT_SAMPLES};
use super::{Attempt, Confidence, Failure, Outcome, Prediction, PromptBuilder, Trial};
use crate::clock::{Clock, Component, Moment, Spans};
use crate::contract::{Contract, ContractMode, Verdict};
use crate::engine::{Engine, FailureKind, Held, Request, Usage, UsageSource};
use crate::memory::{Memory, Retrieval};
use crate::nn::chat::Message;
use crate::router::{AttemptEvidence, Decision, Estimator, Evidence, PromptVariant, Reason, Router, Tier};
use crate::safety::{Action, Finding, Redaction, SafetyPolicy, inspect};
use crate::task::Query;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// No strategy may call models more often than this in one trial; a router that does is at fault.
const MOST_CALLS: usize = 64;

/// Alternatives that are asked for beside each token: what entropy and margin are read from.
pub const ALTERNATIVES: usize = 5;

/// The engines of a cell.
#[derive(Clone)]
pub struct Engines {
    /// The small model.
    pub slm: Arc<dyn Engine>,
    /// The large model.
    pub llm: Arc<dyn Engine>,
    /// Models beyond these two, by the name that a specialist or a cascade gives.
    pub named: BTreeMap<String, Arc<dyn Engine>>,
}

/// Which parts of an answer mean what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFields {
    /// The labels.
    pub labels: Vec<String>,
    /// The property that holds the label.
    pub label: String,
    /// The property that holds the free-text answer.
    pub answer: Option<String>,
    /// The property that holds cited article ids.
    pub citations: Option<String>,
    /// The property that says whether a person must act.
    pub needs_human: Option<String>,
}

/// Everything that the trials of one cell share. There is no target in it.
#[derive(Clone, Copy)]
pub struct CellContext<'a> {
    /// The cell's name.
    pub name: &'a str,
    /// The strategy.
    pub router: &'a dyn Router,
    /// The memory.
    pub memory: &'a dyn Memory,
    /// The contract.
    pub contract: &'a Contract,
    /// Whether it is enforced.
    pub contract_mode: ContractMode,
    /// What follows from safety findings.
    pub safety: &'a SafetyPolicy,
    /// How the confidence of an SLM's answer is read.
    pub confidence: Estimator,
    /// The prompts.
    pub prompts: &'a PromptBuilder,
    /// The engines.
    pub engines: &'a Engines,
    /// What the answer's parts mean.
    pub fields: &'a AnswerFields,
    /// Upper bound of generated tokens in one call.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Seed of the samplers.
    pub seed: u64,
    /// The clock.
    pub clock: &'a Clock,
}

/// Runs one query through one cell.
#[must_use]
pub fn run(query: &Query, cell: &CellContext<'_>) -> Trial {
    let started = cell.clock.now();
    let mut spans = Spans::default();
    let findings = spans.time(cell.clock, Component::Routing, || inspect(&query.input));
    let (action, rules) = cell.safety.ruling(&findings);
    let mut redaction = Redaction::of([&*query.input]);
    spans.time(cell.clock, Component::Routing, || redaction.redact(&query.input, |f| redacts(cell.safety, f)));
    if let Some(outcome) = unasked(action) {
        let state = State::new(query, cell, redaction, None, spans);
        return state.finish(started, outcome, None, None, findings, Retrieval::default());
    }
    let recalled = cell.memory.recall(query, cell.clock, &mut spans);
    let kept_local = (action == Action::KeepLocal).then_some(rules);
    let mut state = State::new(query, cell, redaction, kept_local, spans);
    match recalled {
        Ok(retrieval) => {
            let (outcome, accepted, failure) = state.answer(&retrieval, &findings);
            state.finish(started, outcome, accepted, failure, findings, retrieval)
        }
        Err(error) => {
            let failure = Failure { kind: FailureKind::Local, message: format!("recalling from memory: {error:#}") };
            state.finish(started, Outcome::Failed, None, Some(failure), findings, Retrieval::default())
        }
    }
}

/// A trial in progress.
struct State<'a> {
    query: &'a Query,
    cell: &'a CellContext<'a>,
    redaction: Redaction,
    /// The rules for which the policy lets no remote engine be asked.
    kept_local: Option<Vec<String>>,
    attempts: Vec<Attempt>,
    /// The messages of each attempt, for its repair.
    messages: Vec<Vec<Message>>,
    decisions: Vec<Decision>,
    spans: Spans,
}

impl<'a> State<'a> {
    fn new(
        query: &'a Query,
        cell: &'a CellContext<'a>,
        redaction: Redaction,
        kept_local: Option<Vec<String>>,
        spans: Spans,
    ) -> Self {
        let (attempts, messages, decisions) = (Vec::new(), Vec::new(), Vec::new());
        Self { query, cell, redaction, kept_local, attempts, messages, decisions, spans }
    }

    fn answer(&mut self, retrieval: &Retrieval, findings: &[Finding]) -> (Outcome, Option<usize>, Option<Failure>) {
        loop {
            let decision = match self.decide(findings) {
                Ok(decision) => decision,
                Err(failure) => return (Outcome::Failed, None, Some(failure)),
            };
            self.decisions.push(decision.clone());
            match decision {
                Decision::Call { tier, model, variant, reason } => {
                    self.call(tier, model.as_deref(), variant, reason, retrieval);
                }
                Decision::Accept { attempt, .. } => {
                    let valid = |a: &Attempt| a.verdict.as_ref().is_some_and(|verdict| verdict.valid);
                    let outcome = match self.attempts.get(attempt) {
                        None => {
                            return (
                                Outcome::Failed,
                                None,
                                Some(router_fault("accepted an attempt that was not made")),
                            );
                        }
                        Some(a) if a.failure.is_some() => Outcome::Failed,
                        Some(a) if self.cell.contract_mode.enforces() && !valid(a) => Outcome::ContractFailed,
                        Some(_) => Outcome::Answered,
                    };
                    return (outcome, Some(attempt), None);
                }
                Decision::GiveUp => {
                    let failure = self.attempts.iter().rev().find_map(|attempt| attempt.failure.clone());
                    return (Outcome::Failed, None, failure);
                }
            }
        }
    }

    fn decide(&mut self, findings: &[Finding]) -> Result<Decision, Failure> {
        if self.attempts.len() >= MOST_CALLS {
            return Err(router_fault("asked for more calls than any strategy needs"));
        }
        let start = self.cell.clock.now();
        let enforced = self.cell.contract_mode.enforces();
        let estimator = self.cell.confidence;
        let asked = self.decisions.iter().filter_map(|decision| match decision {
            Decision::Call { model, .. } => Some(model),
            _ => None,
        });
        let evidence: Vec<_> = self
            .attempts
            .iter()
            .zip(asked)
            .map(|(attempt, model)| evidence_of(attempt, model.clone(), enforced, estimator))
            .collect();
        let decision = self.cell.router.decide(self.query, Evidence { attempts: &evidence, findings });
        self.spans.add(Component::Routing, self.cell.clock.since(start));
        let decision =
            decision.map_err(|error| Failure { kind: FailureKind::Local, message: format!("routing: {error:#}") })?;
        Ok(self.within_policy(decision))
    }

    /// A decision as the safety policy lets it stand: where the query must stay here, a call of a remote engine becomes one of
    /// the SLM, or the answer that the SLM gave. No strategy can choose otherwise.
    fn within_policy(&self, decision: Decision) -> Decision {
        let (Some(rules), Decision::Call { tier, model, .. }) = (&self.kept_local, &decision) else { return decision };
        if !self.engine(*tier, model.as_deref()).is_remote() {
            return decision;
        }
        let reason = Reason::KeptLocal { rules: rules.clone() };
        match self.attempts.iter().enumerate().next_back() {
            None if self.cell.engines.slm.is_remote() => Decision::GiveUp,
            None => Decision::Call { tier: Tier::Slm, model: None, variant: PromptVariant::Plain, reason },
            Some((_, latest)) if latest.failure.is_some() => Decision::GiveUp,
            Some((attempt, _)) => Decision::Accept { attempt, reason },
        }
    }

    fn engine(&self, tier: Tier, model: Option<&str>) -> &'a Arc<dyn Engine> {
        let engines = self.cell.engines;
        match (tier, model.and_then(|name| engines.named.get(name))) {
            (_, Some(named)) => named,
            (Tier::Slm, None) => &engines.slm,
            (Tier::Llm, None) => &engines.llm,
        }
    }

    fn call(&mut self, tier: Tier, model: Option<&str>, variant: PromptVariant, reason: Reason, retrieval: &Retrieval) {
        let clock = self.cell.clock;
        let engine = self.engine(tier, model);
        let start = clock.now();
        let messages = self.messages_for(&variant, retrieval);
        self.spans.add(Component::Prompt, clock.since(start));
        let start = clock.now();
        let (outgoing, sent) = if engine.is_remote() {
            let (outgoing, sent) = outgoing(self.cell.safety, &mut self.redaction, &messages);
            (outgoing, Some(sent))
        } else {
            (messages.clone(), None)
        };
        self.spans.add(Component::Routing, clock.since(start));

        let request = Request {
            messages: outgoing,
            max_tokens: self.cell.max_tokens,
            temperature: self.cell.temperature,
            seed: self.cell.seed,
            top_logprobs: ALTERNATIVES,
            cache_scope: Some(self.cell.name.to_owned()),
            grammar: (self.cell.contract_mode == ContractMode::Constrain).then(|| self.cell.contract.grammar().clone()),
        };
        let start = clock.now();
        let answered = engine.complete(&request);
        let total_s = clock.since(start);
        let mut attempt = Attempt {
            tier,
            model: engine.info().model,
            variant,
            reason,
            prompt: String::new(),
            sent,
            completion: None,
            stop: None,
            usage: Usage::default(),
            usage_source: UsageSource::Missing,
            tokens: Vec::new(),
            confidence: None,
            verdict: None,
            prediction: Prediction::default(),
            ttft_s: None,
            total_s,
            spans: Spans::default(),
            retries: 0,
            tries: Vec::new(),
            held: Held::Not,
            forced_tokens: 0,
            failure: None,
            identity: None,
            shared_from: None,
            api_usd: None,
        };
        match answered {
            Ok(completion) => {
                self.spans.merge(&completion.timing.spans);
                let start = clock.now();
                // A remote engine answers with the placeholders that it was given.
                let restored = attempt.sent.as_ref().map(|_| self.redaction.restore(&completion.text));
                let text = restored.as_ref().unwrap_or(&completion.text);
                let verdict = self.cell.contract.check(text);
                attempt.prediction = predict(&verdict, text, self.cell.fields);
                self.spans.add(Component::Contract, clock.since(start));
                let start = clock.now();
                attempt.confidence = Confidence::of(&completion.tokens, &self.cell.fields.label);
                if tier == Tier::Slm && self.cell.confidence.asks_again() {
                    let label = attempt.prediction.label.as_deref();
                    let fields = self.cell.fields;
                    let (request, completion) = (&request, &completion);
                    let answer =
                        Answer { engine: &**engine, request, completion, label, fields, samples: DEFAULT_SAMPLES };
                    match answer.probe(&[self.cell.confidence].into()) {
                        Ok(probed) => {
                            if let Some(confidence) = &mut attempt.confidence {
                                confidence.probed = probed;
                            }
                        }
                        // The answer stands; what could not be asked is an unknown confidence.
                        Err(error) if error.kind != FailureKind::Interrupted => {}
                        Err(error) => {
                            attempt.failure = Some(Failure { kind: error.kind, message: error.message });
                        }
                    }
                }
                self.spans.add(Component::Routing, clock.since(start));
                attempt.model = completion.model;
                attempt.prompt = completion.prompt;
                attempt.completion = Some(completion.text);
                attempt.stop = Some(completion.stop);
                attempt.usage = completion.usage;
                attempt.usage_source = completion.usage_source;
                attempt.tokens = completion.tokens;
                attempt.verdict = Some(verdict);
                attempt.ttft_s = completion.timing.ttft_s;
                attempt.spans = completion.timing.spans;
                attempt.retries = completion.retries;
                attempt.tries = completion.tries;
                attempt.held = completion.held;
                attempt.forced_tokens = completion.forced_tokens;
                attempt.identity = completion.identity;
                attempt.shared_from = completion.shared_from;
            }
            Err(error) => {
                self.spans.merge(&error.spans);
                attempt.prompt = as_text(&request.messages);
                attempt.spans = error.spans;
                attempt.retries = error.retries;
                // Some endpoints count the prompt before an answer that then breaks off.
                if let Some(usage) = error.tries.last().and_then(|last| last.usage) {
                    (attempt.usage, attempt.usage_source) = (usage, UsageSource::Server);
                }
                attempt.tries = error.tries;
                attempt.failure = Some(Failure { kind: error.kind, message: error.message });
            }
        }
        self.attempts.push(attempt);
        self.messages.push(messages);
    }

    fn messages_for(&self, variant: &PromptVariant, retrieval: &Retrieval) -> Vec<Message> {
        let prompts = self.cell.prompts;
        match variant {
            PromptVariant::Plain => prompts.messages(self.query, retrieval, None),
            PromptVariant::Specialist(domain) => prompts.messages(self.query, retrieval, Some(domain)),
            PromptVariant::Repair { of } => {
                let earlier = self.attempts.get(*of).zip(self.messages.get(*of));
                match earlier.and_then(|(attempt, messages)| Some((attempt, attempt.verdict.as_ref()?, messages))) {
                    Some((attempt, verdict, messages)) => {
                        let instruction = self.cell.contract.repair_instruction(verdict);
                        let completion = attempt.completion.as_deref().unwrap_or_default();
                        PromptBuilder::repair(messages.clone(), completion, &instruction)
                    }
                    // A router that repairs what was never answered gets the plain prompt.
                    None => prompts.messages(self.query, retrieval, None),
                }
            }
        }
    }

    fn finish(
        self,
        started: Moment,
        outcome: Outcome,
        accepted: Option<usize>,
        failure: Option<Failure>,
        findings: Vec<Finding>,
        retrieval: Retrieval,
    ) -> Trial {
        let accepted_one = accepted.and_then(|index| self.attempts.get(index));
        // A query that the policy gives to a person asks for one.
        let unanswered =
            Prediction { needs_human: (outcome == Outcome::HandedOver).then_some(true), ..Prediction::default() };
        Trial {
            outcome,
            prediction: accepted_one.map_or(unanswered, |attempt| attempt.prediction.clone()),
            accepted,
            failure,
            attempts: self.attempts,
            decisions: self.decisions,
            findings,
            redaction: self.redaction,
            retrieval,
            spans: self.spans,
            wall_s: self.cell.clock.since(started),
        }
    }
}

fn router_fault(what: &str) -> Failure {
    Failure { kind: FailureKind::Local, message: format!("the router {what}: this is a defect of the router") }
}

fn evidence_of(attempt: &Attempt, model: Option<String>, enforced: bool, estimator: Estimator) -> AttemptEvidence {
    AttemptEvidence {
        tier: attempt.tier,
        model,
        variant: attempt.variant.clone(),
        confidence: attempt.confidence.and_then(|confidence| confidence.value(estimator)),
        contract_valid: attempt.verdict.as_ref().filter(|_| enforced).map(|verdict| verdict.valid),
        failed: attempt.failure.is_some(),
    }
}

/// What an answer predicts. The label must be one of the task's; a text without JSON counts when it names exactly one.
#[must_use]
pub fn predict(verdict: &Verdict, text: &str, fields: &AnswerFields) -> Prediction {
    let known = |name: &str| fields.labels.iter().find(|label| label.eq_ignore_ascii_case(name.trim())).cloned();
    let Some(Value::Object(object)) = &verdict.value else {
        let lower = text.to_lowercase();
        let mut named = fields.labels.iter().filter(|label| lower.contains(&label.to_lowercase()));
        let label = named.next().filter(|_| named.next().is_none()).cloned();
        return Prediction { label, answer: Some(text.trim().to_owned()), ..Prediction::default() };
    };
    let part = |field: &Option<String>| field.as_ref().and_then(|name| object.get(name));
    Prediction {
        label: object.get(&fields.label).and_then(Value::as_str).and_then(known),
        answer: part(&fields.answer).and_then(Value::as_str).map(str::to_owned),
        citations: part(&fields.citations)
            .and_then(Value::as_array)
            .map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
        needs_human: part(&fields.needs_human).and_then(Value::as_bool),
    }
}

fn as_text(messages: &[Message]) -> String {
    messages.iter().flat_map(|message| ["<|", &message.role, "|>\n", &message.content, "\n"]).collect()
}
