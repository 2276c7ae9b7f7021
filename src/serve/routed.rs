//! A server over a policy: each request is a query, and a router decides which model answers it.
//!
//! There is no task: the request's messages are sent as they are, what the user's messages say is the query that the router
//! and the safety policy see, and the request's own schema is the contract.

use super::route::{RouteCall, tier_name};
use super::{Answer, Backend, Route, StandIn};
use crate::clock::Clock;
use crate::contract::{Contract, ContractMode};
use crate::engine::{
    Completion, Engine, EngineError, EngineInfo, FailureKind, Request, Sampling, Scored, StopReason, Timing,
    TokenLogprob,
};
use crate::memory::Nothing;
use crate::metrics::{self, cause};
use crate::nn::chat::Message;
use crate::nn::{Cancel, Grammar, Rule};
use crate::record::{HardwarePrice, Price};
use crate::router::{Estimator, Router};
use crate::safety::SafetyPolicy;
use crate::task::Query;
use crate::trial::{self, AnswerFields, Attempt, CellContext, Engines, Outcome, PromptBuilder, Trial};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Who answers which query.
pub struct Policy {
    /// What it is called; clients may ask for it as a model.
    pub name: String,
    /// The strategy.
    pub router: Box<dyn Router>,
    /// How the confidence of an SLM's answer is read.
    pub confidence: Estimator,
    /// What follows from safety findings.
    pub safety: SafetyPolicy,
    /// The property of answers that holds the label, where the application's answers have one.
    pub label_field: Option<String>,
    /// Tokens of an answer where the request gives no limit.
    pub max_tokens: usize,
    /// What the LLM's tokens cost.
    pub price: Option<Price>,
    /// What the machine costs.
    pub hardware: Option<HardwarePrice>,
}

/// A backend that answers through a policy.
pub struct Routed {
    policy: Policy,
    engines: Engines,
    at_once: usize,
    clock: Clock,
    /// No memory, no schema and no label: what a request does not bring.
    any: Contract,
    /// The server of the LLM's stand-in; it ends with the policy.
    _stand_in: Option<StandIn>,
}

/// A property that no JSON object can have as it stands in a text: there is no label.
const NO_LABEL: &str = "\u{0}";

impl Routed {
    /// A backend over these engines, for so many requests at once.
    pub fn new(policy: Policy, engines: Engines, at_once: usize, clock: Clock) -> crate::error::Result<Self> {
        let any = Contract::new("no schema", &serde_json::Value::Bool(true))?;
        Ok(Self { policy, engines, at_once, clock, any, _stand_in: None })
    }

    /// The same backend, which holds the server of its LLM's stand-in.
    #[must_use]
    pub fn beside(self, stand_in: StandIn) -> Self {
        Self { _stand_in: Some(stand_in), ..self }
    }

    /// The trial of one request.
    fn run(&self, request: &Request, contract: Option<&Contract>, cancel: &Cancel) -> Trial {
        let policy = &self.policy;
        let of_user = request.messages.iter().filter(|message| message.role == "user");
        let input = of_user.map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
        let query = Query { id: "request".to_owned(), input };
        let prompts = PromptBuilder::verbatim(request.messages.clone());
        let wanted = |engine: &Arc<dyn Engine>| -> Arc<dyn Engine> {
            Arc::new(Wanted { engine: Arc::clone(engine), cancel: cancel.clone() })
        };
        let engines = Engines {
            slm: wanted(&self.engines.slm),
            llm: wanted(&self.engines.llm),
            named: self.engines.named.iter().map(|(name, engine)| (name.clone(), wanted(engine))).collect(),
        };
        let fields = AnswerFields {
            labels: Vec::new(),
            label: policy.label_field.clone().unwrap_or_else(|| NO_LABEL.to_owned()),
            answer: None,
            citations: None,
            needs_human: None,
        };
        let cell = CellContext {
            name: request.cache_scope.as_deref().unwrap_or(&policy.name),
            router: &*policy.router,
            memory: &Nothing,
            contract: contract.unwrap_or(&self.any),
            contract_mode: if contract.is_some() { ContractMode::Constrain } else { ContractMode::Off },
            safety: &policy.safety,
            confidence: policy.confidence,
            prompts: &prompts,
            engines: &engines,
            fields: &fields,
            max_tokens: if request.max_tokens == usize::MAX { policy.max_tokens } else { request.max_tokens },
            temperature: request.temperature,
            seed: request.seed,
            clock: &self.clock,
        };
        trial::run(&query, &cell)
    }

    fn route(&self, trial: &mut Trial, accepted: usize, has_contract: bool) -> Option<Route> {
        let policy = &self.policy;
        let cost = metrics::bill(trial, policy.price.as_ref(), policy.hardware.as_ref(), None);
        let chosen = trial.attempts.get(accepted)?;
        let asked_llm = trial.attempts.iter().any(|attempt| attempt.tier == crate::router::Tier::Llm);
        let call = |attempt: &Attempt| {
            let confidence = attempt.confidence.and_then(|confidence| confidence.value(policy.confidence));
            let valid = attempt.verdict.as_ref().filter(|_| has_contract).map(|verdict| verdict.valid);
            RouteCall::of(attempt, confidence, valid)
        };
        Some(Route {
            router: policy.name.clone(),
            model: chosen.model.clone(),
            tier: tier_name(chosen.tier),
            reason: cause(&chosen.reason),
            outcome: if trial.outcome == Outcome::ContractFailed { "contract_failed" } else { "answered" },
            // Where the LLM was not asked there is nothing to pay for.
            api_usd: if asked_llm { cost.api_usd.map(|usd| usd.0) } else { Some(0.0) },
            price: policy.price.as_ref().map(|price| format!("{} as of {}", price.name, price.as_of)),
            hardware_usd: cost.hardware_usd.map(|usd| usd.0),
            calls: trial.attempts.iter().map(call).collect(),
        })
    }
}

impl Backend for Routed {
    fn info(&self) -> EngineInfo {
        let slm = self.engines.slm.info();
        EngineInfo { model: self.policy.name.clone(), place: "routed".to_owned(), sha256: None, ..slm }
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    /// The answer is shown when it is whole: until then a stronger model may still be asked for another.
    fn answer(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        _on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>> {
        refuse_what_models_do_not_share(sampling)?;
        let contract = request.grammar.as_deref().map(contract).transpose()?;
        let mut trial = self.run(request, contract.as_ref(), &cancel);
        if cancel.is_asked_for() {
            return Err(Box::new(EngineError::new(FailureKind::Interrupted, "nobody waits for the answer any more")));
        }
        let accepted = trial.accepted.filter(|_| matches!(trial.outcome, Outcome::Answered | Outcome::ContractFailed));
        let route = accepted.and_then(|accepted| self.route(&mut trial, accepted, contract.is_some()));
        let (Some(route), Some(attempt)) = (route, accepted.and_then(|accepted| trial.attempts.get(accepted))) else {
            return Err(Box::new(refusal(&trial)));
        };
        let completion = shown(attempt, &trial, request.top_logprobs);
        Ok(Answer { completion: cut(completion, &sampling.stop), route: Some(route) })
    }
}

/// Options that not every endpoint takes would change some answers and not others.
fn refuse_what_models_do_not_share(sampling: &Sampling) -> Result<(), Box<EngineError>> {
    let wrong = |what: &str| {
        let message =
            format!("{what} is not offered by a routed server, whose models do not all know it; leave it out");
        Err(Box::new(EngineError::new(FailureKind::Rejected, message)))
    };
    match sampling {
        Sampling { raw: true, .. } => wrong("a text completion (ask for a chat instead), which"),
        Sampling { top_k: 1.., .. } => wrong("top_k"),
        Sampling { top_p, .. } if *top_p < 1.0 => wrong("top_p below 1"),
        Sampling { min_p, .. } if *min_p > 0.0 => wrong("min_p"),
        _ => Ok(()),
    }
}

fn contract(grammar: &Grammar) -> Result<Contract, Box<EngineError>> {
    let wrong = |message: String| Box::new(EngineError::new(FailureKind::Grammar, message));
    match &grammar.rule {
        Rule::JsonSchema(schema) => {
            Contract::new("response_format", schema).map_err(|error| wrong(format!("{error:#}")))
        }
        Rule::Regex(_) | Rule::Choice(_) => Err(wrong(
            "guided_regex and guided_choice are not offered by a routed server: hold the answer by a JSON Schema"
                .to_owned(),
        )),
    }
}

/// The accepted answer, with the values back in the place of their placeholders.
fn shown(attempt: &Attempt, trial: &Trial, top_logprobs: usize) -> Completion {
    let given = attempt.completion.clone().unwrap_or_default();
    let text = if attempt.sent.is_some() { trial.redaction.restore(&given) } else { given.clone() };
    // The tokens of placeholders are not those of what stands there.
    let mut tokens = if text == given { attempt.tokens.clone() } else { Vec::new() };
    for token in &mut tokens {
        token.top.truncate(top_logprobs);
    }
    Completion {
        model: attempt.model.clone(),
        prompt: attempt.prompt.clone(),
        text,
        tokens,
        usage: attempt.usage,
        usage_source: attempt.usage_source,
        stop: attempt.stop.unwrap_or(StopReason::Other),
        timing: Timing { ttft_s: None, total_s: trial.wall_s, spans: trial.spans.clone() },
        retries: attempt.retries,
        held: attempt.held,
        forced_tokens: attempt.forced_tokens,
        tries: attempt.tries.clone(),
        identity: None,
        shared_from: None,
    }
}

/// The answer up to the first stop text.
fn cut(mut completion: Completion, stops: &[String]) -> Completion {
    let Some(at) = stops.iter().filter_map(|stop| completion.text.find(stop.as_str())).min() else {
        return completion;
    };
    completion.text.truncate(at);
    let mut left = at;
    completion.tokens.retain_mut(|token| {
        let is_kept = left > 0;
        let own = token.own_bytes().to_vec();
        if let Some(kept) = token.text.get(..left.min(token.text.len())) {
            left -= kept.len();
            *token = TokenLogprob {
                top: std::mem::take(&mut token.top),
                ..TokenLogprob::new(kept.to_owned(), &own, token.logprob)
            };
        }
        is_kept
    });
    completion.stop = StopReason::EndOfTurn;
    completion
}

/// Why there is no answer.
fn refusal(trial: &Trial) -> EngineError {
    let rules = || {
        let mut rules: Vec<_> = trial.findings.iter().map(|finding| finding.rule.as_str()).collect();
        rules.dedup();
        rules.join(", ")
    };
    match (trial.outcome, &trial.failure) {
        (Outcome::Refused, _) => {
            EngineError::new(FailureKind::Rejected, format!("the safety policy refuses this request ({})", rules()))
        }
        (Outcome::HandedOver, _) => {
            let message = format!("the safety policy gives this request to a person ({})", rules());
            EngineError::new(FailureKind::Rejected, message)
        }
        (_, Some(failure)) => EngineError::new(failure.kind, failure.message.clone()),
        (_, None) => {
            let last = trial.attempts.iter().rev().find_map(|attempt| attempt.failure.as_ref());
            match last {
                Some(failure) => EngineError::new(failure.kind, failure.message.clone()),
                None => EngineError::new(FailureKind::Local, "no model answered"),
            }
        }
    }
}

/// An engine for one request, which asks nothing more once nobody waits for the answer.
struct Wanted {
    engine: Arc<dyn Engine>,
    cancel: Cancel,
}

impl Wanted {
    fn check(&self) -> Result<(), Box<EngineError>> {
        if self.cancel.is_asked_for() {
            return Err(Box::new(EngineError::new(FailureKind::Interrupted, "nobody waits for the answer any more")));
        }
        Ok(())
    }
}

impl Engine for Wanted {
    fn info(&self) -> EngineInfo {
        self.engine.info()
    }

    fn is_remote(&self) -> bool {
        self.engine.is_remote()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.check()?;
        self.engine.complete_unless(request, &self.cancel)
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.engine.prompt_tokens(messages)
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.engine.prepare(grammar)
    }

    fn score(&self, request: &Request, texts: &[String]) -> Result<Option<Scored>, Box<EngineError>> {
        self.check()?;
        self.engine.score(request, texts)
    }

    fn sample(
        &self,
        request: &Request,
        times: usize,
        enough: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Completion>, Box<EngineError>> {
        self.check()?;
        self.engine.sample(request, times, enough)
    }
}
