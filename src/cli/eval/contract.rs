//! `eval contract`: whether verdicts agree with other people's tests, and whether constrained answers keep their schemas.

use super::super::{Common, output, threads};
use crate::clock::Clock;
use crate::contract::suite::{Agreement, Suite, agreement, read_rows, read_suites};
use crate::contract::{Contract, ContractOptions};
use crate::error::{Context, ExitStatus, Result, usage};
use crate::metrics::significant;
use crate::metrics::statistics::quantile;
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::chat::Message;
use crate::nn::{Device, DeviceChoice, GenerateOptions, Generated, LanguageModel, LoadOptions, Stop};
use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use serde_json::json;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `eval contract`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ContractArgs {
    /// Tests: a folder in the layout of JSON-Schema-Test-Suite, or a file with a row {"schema", "tests"} to a line
    #[arg(value_name = "PATH", required_unless_present_any = ["suite", "file", "schemas"])]
    path: Vec<PathBuf>,
    /// A folder of tests, as PATH
    #[arg(long, value_name = "DIR", env = "ROUTERGYM_SUITE")]
    suite: Option<PathBuf>,
    /// A file of rows, as PATH
    #[arg(long, value_name = "FILE", env = "ROUTERGYM_FILE")]
    file: Option<PathBuf>,
    /// Tests of what drafts leave open, too
    #[arg(long, env = "ROUTERGYM_OPTIONAL", value_parser = FalseyValueParser::new())]
    optional: bool,
    /// Whether `format` is asserted
    #[arg(long, env = "ROUTERGYM_FORMATS", value_parser = FalseyValueParser::new())]
    formats: bool,
    /// Instead of tests: let this model answer under the constraint of each schema of --schemas
    #[arg(long, value_name = "NAME|PATH", requires = "schemas", env = "ROUTERGYM_MODEL")]
    model: Option<String>,
    /// A file with a row {"schema": …} to a line
    #[arg(long, value_name = "FILE", requires = "model", env = "ROUTERGYM_SCHEMAS")]
    schemas: Option<PathBuf>,
    /// How many schemas at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    limit: usize,
    /// Generated tokens of one answer at most
    #[arg(long, default_value_t = 256, value_name = "N", env = "ROUTERGYM_MAX_TOKENS")]
    max_tokens: usize,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.0, env = "ROUTERGYM_TEMPERATURE")]
    temperature: f64,
    /// Seed of the sampler
    #[arg(long, default_value_t = 0, env = "ROUTERGYM_SEED")]
    seed: u64,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    device: DeviceChoice,
    /// Threads of the model [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, value_name = "N", env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &ContractArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    if let (Some(model), Some(schemas)) = (&args.model, &args.schemas) {
        let rows = read_rows(schemas)?;
        return answers(args, model, &rows, network, common);
    }
    let mut suites = Vec::new();
    let mut options = ContractOptions { formats: args.formats, ..ContractOptions::default() };
    for path in args.path.iter().chain(&args.suite).chain(&args.file) {
        let (read, resources) = read_suites(path, args.optional)?;
        suites.extend(read);
        options.resources.extend(resources);
    }
    let found = agreement(&suites, &options);
    output::data(&if args.json { serde_json::to_string(&found)? } else { agreement_text(&found) })?;
    Ok(ExitStatus::Done)
}

fn agreement_text(found: &Agreement) -> String {
    let Agreement { suites, tests, agree, disagree, unsupported, disagreements, refused } = found;
    let mut lines = vec![format!(
        "{tests} tests of {suites} schemas: {agree} agree, {disagree} disagree, {unsupported} of schemas that are refused"
    )];
    let word = |valid: bool| if valid { "valid" } else { "not valid" };
    lines.extend(disagreements.iter().map(|one| {
        format!("disagree: {} ({}): expected {}, found {}", one.test, one.place, word(one.expected), word(one.found))
    }));
    lines.extend(
        refused
            .iter()
            .map(|one| format!("refused: {} ({}, {} tests): {}", one.suite, one.place, one.tests, one.reason)),
    );
    lines.join("\n")
}

/// What came of a model's answers.
#[derive(Debug, Default, Serialize)]
struct Answers {
    model: String,
    schemas: usize,
    /// Schemas that no grammar can be made of, with the reason.
    refused: Vec<Place>,
    /// What the grammar leaves out of schemas: it is checked at the end alone.
    left_out: Vec<Place>,
    /// Answers that ended.
    finished: usize,
    /// Of those, answers that were closed because their tokens came to an end.
    closed_early: usize,
    /// Of those that ended, answers that keep their schema.
    valid: usize,
    /// Answers for which nothing was left that the schema allows.
    stuck: usize,
    /// `valid / finished`; null where none finished.
    valid_share: Option<f64>,
    /// Finished answers that break their schema.
    broken: Vec<Place>,
    /// Answers that did not end.
    unfinished: Vec<Place>,
    tokens: usize,
    forced_tokens: usize,
    /// Medians over the schemas of the time for each token that was chosen.
    time_per_token_ms: WithAndWithout,
    mask_ms: Quantiles,
    /// Median time of finding the tokens that may come, beside the median time of a step without a constraint.
    mask_share_of_step: Option<f64>,
    compile_ms: Quantiles,
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

fn answers(args: &ContractArgs, name: &str, rows: &[Suite], network: Network, common: &Common) -> Result<ExitStatus> {
    if args.max_tokens == 0 {
        return Err(usage("--max-tokens 0 leaves no answer"));
    }
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
    let local = Store::open(network)?.obtain(name, Kind::Gguf, common.quiet)?;
    let device = Device::open(args.device)?;
    // Without guesses from the prompt, so that a token is a step on both sides.
    let options = LoadOptions { prompt_lookup: false, ..LoadOptions::default() };
    let mut model = LanguageModel::load(&local.path, &device, &options)
        .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
    let clock = Clock::real();
    let mut found = Answers { model: local.name, ..Answers::default() };
    let (mut with, mut without, mut masks, mut compiling) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let limit = if args.limit == 0 { rows.len() } else { args.limit };
    let started = clock.now();
    for (index, row) in rows.iter().take(limit).enumerate() {
        found.schemas += 1;
        let start = clock.now();
        let contract_options = ContractOptions { formats: args.formats, ..ContractOptions::default() };
        let read = match &row.unreadable {
            Some(reason) => Err(usage(reason.clone())),
            None => Contract::with_options("the schema", &row.schema, &contract_options),
        };
        let made = read.and_then(|contract| Ok((model.constraint(contract.grammar())?, contract)));
        let (constraint, contract) = match made {
            Ok(made) => made,
            Err(error) => {
                found.refused.push(Place { place: row.place.clone(), reason: format!("{error:#}") });
                continue;
            }
        };
        compiling.push(clock.since(start).0 * 1e3);
        if !constraint.notes().is_empty() {
            found.left_out.push(Place { place: row.place.clone(), reason: constraint.notes().join("; ") });
        }
        let prompt = prompt(&model, row)?;
        let options = GenerateOptions {
            max_tokens: args.max_tokens,
            temperature: args.temperature,
            seed: args.seed,
            constraint: Some(Arc::new(constraint)),
            ..GenerateOptions::default()
        };
        let answer = match generate(&mut model, &prompt, &options, &clock) {
            Ok(answer) => answer,
            Err(error) => {
                found.unfinished.push(Place { place: row.place.clone(), reason: format!("{error:#}") });
                continue;
            }
        };
        // Forced tokens are computed beside others, and the first chosen token's time is that of the prompt.
        let steps = |answer: &Generated| (answer.tokens.len() - answer.forced_tokens).saturating_sub(1);
        let rate = |answer: &Generated| (answer.decode + answer.constrain).0 * 1e3 / steps(answer) as f64;
        if steps(&answer) > 0 {
            with.push(rate(&answer));
            let free = GenerateOptions { max_tokens: answer.tokens.len(), constraint: None, ..options };
            let free = generate(&mut model, &prompt, &free, &clock)?;
            if steps(&free) > 0 {
                without.push(rate(&free));
            }
        }
        masks.extend(answer.mask_times.iter().map(|time| time.0 * 1e3));
        found.tokens += answer.tokens.len();
        found.forced_tokens += answer.forced_tokens;
        found.stuck += usize::from(answer.stop == Stop::Stuck);
        if answer.stop != Stop::EndOfTurn {
            let why = if answer.stop == Stop::Stuck {
                "nothing is left that the schema allows"
            } else {
                "the tokens came to an end"
            };
            let reason = format!("{why}; the answer so far: {}", answer.text);
            found.unfinished.push(Place { place: row.place.clone(), reason });
        }
        if answer.stop == Stop::EndOfTurn {
            found.finished += 1;
            found.closed_early += usize::from(answer.closed_early);
            let verdict = contract.check(&answer.text);
            if verdict.valid_as_written() {
                found.valid += 1;
            } else {
                let told = verdict.violations.first().map_or("mended", |violation| &*violation.message);
                let reason = format!("{told}; the answer: {}", answer.text);
                found.broken.push(Place { place: row.place.clone(), reason });
            }
        }
        if !common.quiet && (index + 1).is_multiple_of(25) {
            output::note(&format!("{} of {limit} schemas, {:.0} s", index + 1, clock.since(started).0));
        }
    }
    found.valid_share = (found.finished > 0).then(|| found.valid as f64 / found.finished as f64);
    let median = |values: &[f64]| quantile(values, 0.5).ok();
    found.time_per_token_ms = WithAndWithout { with: median(&with), without: median(&without) };
    found.mask_ms = Quantiles::of(&masks);
    found.compile_ms = Quantiles::of(&compiling);
    found.mask_share_of_step = found.mask_ms.p50.zip(found.time_per_token_ms.without).map(|(mask, step)| mask / step);
    output::data(&if args.json { serde_json::to_string(&found)? } else { answers_text(&found) })?;
    Ok(ExitStatus::Done)
}

/// The request for an answer, as a conversation where the model has a template for it.
fn prompt(model: &LanguageModel, row: &Suite) -> Result<Vec<u32>> {
    let asked = json!({"Write JSON that keeps this JSON Schema": row.schema}).to_string();
    let asked = format!("{asked}\nAnswer with the JSON alone.");
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

fn generate(model: &mut LanguageModel, prompt: &[u32], options: &GenerateOptions, clock: &Clock) -> Result<Generated> {
    model.generate(prompt, options, clock, &mut |_| ControlFlow::Continue(()))
}

fn answers_text(found: &Answers) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |ms| format!("{} ms", significant(ms, 3)));
    let percent =
        |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let mut lines = vec![
        format!(
            "{}: {} schemas, {} refused; {} answers finished ({} of them closed where their tokens came to an end), {} of them \
             valid ({}); {} stuck",
            found.model,
            found.schemas,
            found.refused.len(),
            found.finished,
            found.closed_early,
            found.valid,
            percent(found.valid_share),
            found.stuck
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
    if !found.left_out.is_empty() {
        lines.push(format!(
            "of {} schemas the grammar leaves something out, which is checked at the end:",
            found.left_out.len()
        ));
    }
    lines.extend(found.left_out.iter().map(|one| format!("left out: {}: {}", one.place, one.reason)));
    lines.extend(found.unfinished.iter().map(|one| format!("unfinished: {}: {}", one.place, one.reason)));
    lines.extend(found.broken.iter().map(|one| format!("broken: {}: {}", one.place, one.reason)));
    lines.extend(found.refused.iter().map(|one| format!("refused: {}: {}", one.place, one.reason)));
    lines.join("\n")
}
