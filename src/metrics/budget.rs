//! A budget that calls of a remote engine are held to.

use super::price::tokens_usd;
use crate::engine::{Completion, Engine, EngineError, EngineInfo, FailureKind, Request, Usage, UsageSource};
use crate::nn::chat::Message;
use crate::nn::{Cancel, Grammar};
use crate::record::Price;
use crate::units::Usd;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that a request has beside its texts, as far as they can become tokens: names, roles, a template's own words.
const BESIDE_TEXTS: usize = 4096;

/// What may be spent, and what of it is gone.
#[derive(Debug)]
pub struct Budget {
    most: Usd,
    /// Spent, and set aside for the calls under way.
    gone: Mutex<f64>,
}

impl Budget {
    /// A budget of so many dollars.
    #[must_use]
    pub fn new(most: Usd) -> Self {
        Self { most, gone: Mutex::default() }
    }

    /// A budget of which something is spent already.
    #[must_use]
    pub fn with(most: Usd, spent: Usd) -> Self {
        Self { most, gone: Mutex::new(spent.0) }
    }

    /// What is spent or set aside.
    #[must_use]
    pub fn gone(&self) -> Usd {
        Usd(*self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets aside what a call may cost at most, if that is left.
    fn set_aside(&self, worst: Usd) -> Result<(), Usd> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if *gone + worst.0 > self.most.0 {
            return Err(Usd(*gone));
        }
        *gone += worst.0;
        Ok(())
    }

    /// Puts what a call cost in the place of what was set aside for it.
    fn settle(&self, worst: Usd, cost: Usd) {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) += cost.0 - worst.0;
    }
}

/// An engine whose calls are made only where the budget holds what they may cost at most.
pub struct Budgeted {
    inner: Arc<dyn Engine>,
    price: Price,
    budget: Arc<Budget>,
}

impl Budgeted {
    /// Holds `inner` to a budget, which other engines may share.
    pub fn new(inner: Arc<dyn Engine>, price: Price, budget: Arc<Budget>) -> Self {
        Self { inner, price, budget }
    }

    /// What a request may cost at most: a token is at least a byte of a text, and an answer has at most the tokens asked for.
    fn worst(&self, request: &Request) -> Usd {
        let texts: usize = request.messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        let schema = request.grammar.as_ref().map_or(0, |grammar| format!("{:?}", grammar.rule).len());
        let input = self.price.input_usd_per_million.max(self.price.cache_write_usd_per_million.unwrap_or(0.0));
        let output = self.price.output_usd_per_million.max(self.price.reasoning_usd_per_million.unwrap_or(0.0));
        Usd(((texts + schema + BESIDE_TEXTS) as f64 * input + request.max_tokens as f64 * output) / 1e6)
    }

    /// What a call cost. Where nobody counted and work may have been done, it is taken to have cost what it could at most.
    fn cost(&self, result: &Result<Completion, Box<EngineError>>, worst: Usd) -> Usd {
        let price = |usage: Usage| tokens_usd(usage, &self.price);
        let tries = match result {
            Ok(completion) => &completion.tries,
            Err(error) => &error.tries,
        };
        let (last, earlier) = tries.split_last().map_or((None, &[][..]), |(last, earlier)| (Some(last), earlier));
        let earlier: Usd = earlier.iter().filter_map(|one| one.usage).map(price).sum();
        let last = match result {
            Ok(completion) if completion.usage_source == UsageSource::Missing => worst,
            Ok(completion) => price(completion.usage),
            Err(error) => match last.and_then(|one| one.usage) {
                Some(usage) => price(usage),
                None if may_be_billed(error.kind) => worst,
                None => Usd(0.0),
            },
        };
        earlier + last
    }
}

/// Whether an endpoint may have done, and billed, work for a call that failed so.
fn may_be_billed(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Timeout
            | FailureKind::CutStream
            | FailureKind::Malformed
            | FailureKind::Interrupted
            | FailureKind::Rejected
    )
}

impl Engine for Budgeted {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.complete_unless(request, &Cancel::default())
    }

    fn complete_unless(&self, request: &Request, unwanted: &Cancel) -> Result<Completion, Box<EngineError>> {
        let worst = self.worst(request);
        if let Err(gone) = self.budget.set_aside(worst) {
            let message = format!(
                "the call of {} was not made: it may cost up to {:.6} USD, and {:.6} of the {:.6} USD of --max-cost-usd are spent",
                self.inner.info().model,
                worst.0,
                gone.0,
                self.budget.most.0
            );
            return Err(Box::new(EngineError::new(FailureKind::Budget, message)));
        }
        let result = self.inner.complete_unless(request, unwanted);
        self.budget.settle(worst, self.cost(&result, worst));
        result
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.inner.prompt_tokens(messages)
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.inner.prepare(grammar)
    }

    fn adjustments(&self) -> Vec<String> {
        self.inner.adjustments()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::{Reply, ScriptedEngine, Try};
    use crate::metrics::Prices;

    fn price() -> Price {
        // 2 USD for a million tokens of prompts, 8 for a million of answers.
        Prices::built_in().unwrap().lookup("gpt-4.1").unwrap()
    }

    fn request() -> Request {
        Request {
            messages: vec![Message::new("user", "x".repeat(996))],
            max_tokens: 100,
            temperature: 0.0,
            seed: 0,
            top_logprobs: 0,
            cache_scope: None,
            grammar: None,
        }
    }

    fn budgeted(most: f64, replies: Vec<Result<Reply, EngineError>>) -> (Budgeted, Arc<Budget>) {
        let budget = Arc::new(Budget::new(Usd(most)));
        let engine = ScriptedEngine::queue("big", Clock::fake(), replies);
        (Budgeted::new(Arc::new(engine), price(), Arc::clone(&budget)), budget)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a queue of replies holds")]
    fn answer() -> Result<Reply, EngineError> {
        let usage = Usage { input_tokens: 1000, output_tokens: 50, ..Usage::default() };
        Ok(Reply { usage: Some(usage), ..Reply::new("yes", -0.5) })
    }

    #[test]
    fn a_call_that_could_exceed_the_budget_is_not_made() {
        // At most (1,000 + 4,096) x 2 + 100 x 8 = 10,992 millionths a call; 1,000 x 2 + 50 x 8 = 2,400 in fact.
        let (engine, budget) = budgeted(15_000e-6, (0..9).map(|_| answer()).collect());
        let mut made = 0;
        let refused = loop {
            match engine.complete(&request()) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((made, refused.kind), (2, FailureKind::Budget));
        assert!((budget.gone().0 - 4800e-6).abs() < 1e-12, "{:?}", budget.gone());
        for part in ["0.010992", "0.004800", "0.015000", "--max-cost-usd"] {
            assert!(refused.message.contains(part), "{part} is not in {refused}");
        }
    }

    #[test]
    fn what_was_not_counted_is_taken_at_its_most_where_it_may_have_been_billed() {
        let failed = |kind| Err(EngineError::new(kind, "failed"));
        for (kind, gone) in [
            (FailureKind::CutStream, 10_992.0),
            (FailureKind::Timeout, 10_992.0),
            (FailureKind::Connect, 0.0),
            (FailureKind::RateLimited, 0.0),
        ] {
            let (engine, budget) = budgeted(1.0, vec![failed(kind)]);
            assert!(engine.complete(&request()).is_err());
            assert!((budget.gone().0 * 1e6 - gone).abs() < 1e-6, "{kind:?}: {:?}", budget.gone());
        }
        let counted = Usage { input_tokens: 500, ..Usage::default() };
        let tries = vec![Try { usage: Some(counted), ..Try::default() }; 2];
        let cut = EngineError { tries, ..EngineError::new(FailureKind::CutStream, "cut") };
        let (engine, budget) = budgeted(1.0, vec![Err(cut)]);
        assert!(engine.complete(&request()).is_err());
        assert!((budget.gone().0 * 1e6 - 2000.0).abs() < 1e-6, "{:?}", budget.gone());
    }
}
