//! A model's answers, each held to a schema, a regular expression or a set of texts: do they finish, are they right, and what
//! does it cost?

use super::super::super::{Common, interrupt, output, setup, threads};
use super::ContractArgs;
use crate::clock::Clock;
use crate::contract::{ContractOptions, Form, FormRow, Held};
use crate::error::{Context, Error, ExitStatus, Interrupted, Result, usage};
use crate::metrics::significant;
use crate::metrics::statistics::quantile;
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::chat::Message;
use crate::nn::{Constraint, Device, GenerateOptions, Generated, LanguageModel, LoadOptions, Stop};
use serde::Serialize;
use serde_json::json;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What came of a model's answers.
#[derive(Debug, Default, Serialize)]
struct Answers {
    model: String,
    /// Rows that were tried.
    schemas: usize,
    /// Rows that no grammar can be made of, with the reason.
    refused: Vec<Place>,
    /// What the grammar leaves out: it is checked on the way and at the end.
    left_out: Vec<Place>,
    /// Answers that ended.
    finished: usize,
    /// Of those, answers that were closed because their tokens came to an end.
    closed_early: usize,
    /// Of those that ended, answers that are right.
    valid: usize,
    /// Answers for which nothing was left that is allowed.
    stuck: usize,
    /// Answers whose grammar reached one of its limits.
    limited: usize,
    /// `valid / finished`; null where none finished.
    valid_share: Option<f64>,
    /// Finished answers that are wrong.
    broken: Vec<Place>,
    /// Answers that did not end.
    unfinished: Vec<Place>,
    tokens: usize,
    forced_tokens: usize,
    /// Medians over the rows of the time for each token that was chosen.
    time_per_token_ms: WithAndWithout,
    mask_ms: Quantiles,
    /// Median time of finding the tokens that may come, beside the median time of a step without a constraint.
    mask_share_of_step: Option<f64>,
    compile_ms: Quantiles,
    /// Whether Ctrl-C ended it before the last row.
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct Place {
    place: String,
    reason: String,
}

#[derive(Debug, Default, Serialize)]
struct WithAndWithout {
    with: Option<f64>,
    without: Option<f64>,
}

#[derive(Debug, Default, Serialize)]
struct Quantiles {
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Quantiles {
    fn of(values: &[f64]) -> Self {
        Self { p50: quantile(values, 0.5).ok(), p99: quantile(values, 0.99).ok() }
    }
}

/// Answers every row, and says of each what came of it as soon as it is known.
pub(super) fn run(
    args: &ContractArgs,
    name: &str,
    rows: &[FormRow],
    network: Network,
    common: &Common,
) -> Result<ExitStatus> {
    if args.max_tokens == 0 {
        return Err(usage("--max-tokens 0 leaves no answer"));
    }
    setup::check_temperature(args.temperature)?;
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
    let local = Store::open(network)?.obtain(name, Kind::Gguf, common.quiet)?;
    let device = Device::open(args.device)?;
    // Without guesses from the prompt, so that a token is a step on both sides.
    let options = LoadOptions { prompt_lookup: false, ..LoadOptions::default() };
    let mut model = LanguageModel::load(&local.path, &device, &options)
        .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
    let stop = interrupt::flag("the answer in work is left out, finished ones are kept")?;
    let clock = Clock::real();
    let mut measuring =
        Measuring { found: Answers { model: local.name, ..Answers::default() }, times: Times::default(), args, clock };
    let limit = if args.limit == 0 { rows.len() } else { args.limit.min(rows.len()) };
    let start = measuring.clock.now();
    for (index, row) in rows.iter().take(limit).enumerate() {
        let told = measuring.row(row, &mut model, &stop)?;
        let Some(told) = told.filter(|_| !stop.load(Ordering::Relaxed)) else {
            measuring.found.interrupted = true;
            break;
        };
        if !common.quiet {
            let seconds = measuring.clock.since(start).0;
            output::note(&format!("{} of {limit}, {seconds:.1} s: {}: {told}", index + 1, row.place));
        }
    }
    let found = measuring.end();
    if found.interrupted && found.schemas == 0 {
        return Err(Error::new(Interrupted("interrupted before the first answer: nothing was measured".to_owned())));
    }
    output::data(&if args.json { serde_json::to_string(&found)? } else { text(&found) })?;
    Ok(if found.interrupted { ExitStatus::Interrupted } else { ExitStatus::Done })
}

/// What is measured, row by row.
struct Measuring<'a> {
    found: Answers,
    times: Times,
    args: &'a ContractArgs,
    clock: Clock,
}

/// Milliseconds.
#[derive(Default)]
struct Times {
    with: Vec<f64>,
    without: Vec<f64>,
    masks: Vec<f64>,
    compiling: Vec<f64>,
}

impl Measuring<'_> {
    /// Answers one row, and returns what came of it; `None` where it was cut.
    fn row(&mut self, row: &FormRow, model: &mut LanguageModel, stop: &AtomicBool) -> Result<Option<String>> {
        let place = |reason: String| Place { place: row.place.clone(), reason };
        let start = self.clock.now();
        let (form, held, constraint) = match made(row, model, self.args, stop) {
            Ok(made) => made,
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(None),
            Err(error) => {
                let reason = format!("{error:#}");
                let told = format!("refused: {reason}");
                self.found.schemas += 1;
                self.found.refused.push(place(reason));
                return Ok(Some(told));
            }
        };
        let compiling = self.clock.since(start).0 * 1e3;
        let left_out = constraint.notes().join("; ");
        let prompt = prompt(model, form)?;
        let options = GenerateOptions {
            max_tokens: self.args.max_tokens,
            temperature: self.args.temperature,
            seed: self.args.seed,
            constraint: Some(Arc::new(constraint)),
            ..GenerateOptions::default()
        };
        let answer = generate(model, &prompt, &options, &self.clock, stop)?;
        if answer.stop == Stop::Cancelled {
            return Ok(None);
        }
        self.found.schemas += 1;
        self.times.compiling.push(compiling);
        if !left_out.is_empty() {
            self.found.left_out.push(place(left_out));
        }
        let steps = steps(&answer);
        if steps > 0 {
            self.times.with.push(rate(&answer));
            let free = GenerateOptions { max_tokens: answer.tokens.len(), constraint: None, ..options };
            let free = generate(model, &prompt, &free, &self.clock, stop)?;
            if self::steps(&free) > 0 && free.stop != Stop::Cancelled {
                self.times.without.push(rate(&free));
            }
        }
        self.times.masks.extend(answer.mask_times.iter().map(|time| time.0 * 1e3));
        let found = &mut self.found;
        found.tokens += answer.tokens.len();
        found.forced_tokens += answer.forced_tokens;
        let tokens = answer.tokens.len();
        if answer.stop != Stop::EndOfTurn {
            found.stuck += usize::from(answer.stop == Stop::Stuck);
            found.limited += usize::from(answer.stop == Stop::Limit);
            let why = match answer.stop {
                Stop::Stuck => "nothing is left that is allowed",
                Stop::Limit => answer.limit.as_deref().unwrap_or("the grammar reached a limit"),
                _ => "the tokens came to an end",
            };
            found.unfinished.push(place(format!("{why}; the answer so far: {}", answer.text)));
            return Ok(Some(format!("unfinished after {tokens} tokens: {why}")));
        }
        found.finished += 1;
        found.closed_early += usize::from(answer.closed_early);
        let early = if answer.closed_early { ", closed where its tokens came to an end" } else { "" };
        Ok(Some(match held.broken(&answer.text) {
            None => {
                found.valid += 1;
                format!("finished and right, {tokens} tokens{early}")
            }
            Some(reason) => {
                let told = format!("finished and wrong: {reason}");
                found.broken.push(place(format!("{reason}; the answer: {}", answer.text)));
                told
            }
        }))
    }

    fn end(self) -> Answers {
        let Self { mut found, times, .. } = self;
        found.valid_share = (found.finished > 0).then(|| found.valid as f64 / found.finished as f64);
        let median = |values: &[f64]| quantile(values, 0.5).ok();
        found.time_per_token_ms = WithAndWithout { with: median(&times.with), without: median(&times.without) };
        found.mask_ms = Quantiles::of(&times.masks);
        found.compile_ms = Quantiles::of(&times.compiling);
        let mask_and_step = found.mask_ms.p50.zip(found.time_per_token_ms.without);
        found.mask_share_of_step = mask_and_step.map(|(mask, step)| mask / step);
        found
    }
}

/// The form of a row, made ready for the model.
fn made<'a>(
    row: &'a FormRow,
    model: &LanguageModel,
    args: &ContractArgs,
    stop: &AtomicBool,
) -> Result<(&'a Form, Held, Constraint)> {
    let form = row.form.as_ref().map_err(|reason| usage(reason.clone()))?;
    let held = form.held(&ContractOptions { formats: args.formats, ..ContractOptions::default() })?;
    let constraint = model.constraint_unless(held.grammar(), stop)?;
    Ok((form, held, constraint))
}

/// Tokens that took a step each: forced ones are computed beside others, and the first one's time is that of the prompt.
fn steps(answer: &Generated) -> usize {
    (answer.tokens.len() - answer.forced_tokens).saturating_sub(1)
}

/// Milliseconds of a step.
fn rate(answer: &Generated) -> f64 {
    (answer.decode + answer.constrain).0 * 1e3 / steps(answer) as f64
}

/// The request for an answer, as a conversation where the model has a template for it.
fn prompt(model: &LanguageModel, form: &Form) -> Result<Vec<u32>> {
    let asked = match form {
        Form::Schema(schema) => json!({"Write JSON that keeps this JSON Schema": schema}),
        Form::Regex(pattern) => json!({"Write a text that matches this regular expression": pattern}),
        Form::Choices(texts) => json!({"Choose one of these texts": texts}),
    };
    let alone = if matches!(form, Form::Schema(_)) { "the JSON alone" } else { "the text alone" };
    let asked = format!("{asked}\nAnswer with {alone}.");
    let text = if model.info().has_chat_template {
        model.render(&[Message { role: "user".to_owned(), content: asked }])?
    } else {
        format!("{asked}\n")
    };
    let mut tokens = model.tokenize(&text)?;
    // A schema may be longer than the context; what it asks for stands at its beginning.
    tokens.truncate(model.info().context_length / 2);
    Ok(tokens)
}

fn generate(
    model: &mut LanguageModel,
    prompt: &[u32],
    options: &GenerateOptions,
    clock: &Clock,
    stop: &AtomicBool,
) -> Result<Generated> {
    let mut on_token =
        |_: &_| if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    model.generate(prompt, options, clock, &mut on_token)
}

fn text(found: &Answers) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |ms| format!("{} ms", significant(ms, 3)));
    let percent =
        |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let mut lines = vec![
        format!(
            "{}: {} schemas, {} refused; {} answers finished ({} of them closed where their tokens came to an end), {} of them \
             valid ({}); {} stuck, {} whose grammar reached a limit",
            found.model,
            found.schemas,
            found.refused.len(),
            found.finished,
            found.closed_early,
            found.valid,
            percent(found.valid_share),
            found.stuck,
            found.limited
        ),
        format!("{} tokens, {} of them forced by the grammar", found.tokens, found.forced_tokens),
        format!(
            "time per chosen token {} with the constraint, {} without; finding the tokens that may come {} at the median, {} at \
             the 99th percentile, {} of a step; compiling a schema {}, {}",
            ms(found.time_per_token_ms.with),
            ms(found.time_per_token_ms.without),
            ms(found.mask_ms.p50),
            ms(found.mask_ms.p99),
            percent(found.mask_share_of_step),
            ms(found.compile_ms.p50),
            ms(found.compile_ms.p99)
        ),
    ];
    if found.interrupted {
        lines.push("interrupted: the figures cover the rows that were finished".to_owned());
    }
    if !found.left_out.is_empty() {
        lines.push(format!("of {} schemas the grammar leaves something out, which is checked:", found.left_out.len()));
    }
    let told = |what: &str, places: &[Place]| -> Vec<String> {
        places.iter().map(|one| format!("{what}: {}: {}", one.place, one.reason)).collect()
    };
    lines.extend(told("left out", &found.left_out));
    lines.extend(told("unfinished", &found.unfinished));
    lines.extend(told("broken", &found.broken));
    lines.extend(told("refused", &found.refused));
    lines.join("\n")
}
