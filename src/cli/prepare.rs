//! Everything that the cells of one pair of models need, loaded and warm: models, stand-in, memory, routers, prompts.

use super::cells::{Recollection, build_cells, recollect, router_settings, used_specialists};
use super::kept::KeptVectors;
use super::output;
use super::setup::{Llm, Resolved, Slm};
use crate::clock::{self, Clock};
use crate::contract::{Contract, ContractMode};
use crate::engine::{
    Cassette, Engine, EngineError, LocalEngine, Player, Recorder, RemoteEngine, RemoteOptions, Request, Script,
    Timeouts, without_secrets,
};
use crate::error::{Context, Error, Interrupted, Result, anyhow};
use crate::grid::{CellParts, Judge};
use crate::memory::{Embed, MemoryKind, Passage, Retrieval};
use crate::metrics::grounding::{Grounding, Scorer, Support};
use crate::metrics::{Budget, Budgeted};
use crate::models::{ENCODER, Kind, LocalModel, Store};
use crate::nn::{self, Device, LanguageModel, LoadOptions, SentenceEncoder};
use crate::record::{FORMAT, HardwarePrice, Price, RunHeader, machine};
use crate::router::{RouterKind, RouterSpec};
use crate::safety::SafetyPolicy;
use crate::serve::{StandIn, StandInOptions};
use crate::task::{Query, Task};
use crate::trial::{AnswerFields, Engines, PromptBuilder};
use crate::units::Seconds;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Share of failed trials above which a cell is not judged.
const MAX_FAILURE_SHARE: f64 = 0.1;

/// Groundedness of an answer in passages; `None` is not applicable.
type Grounder = Box<dyn Fn(&str, &[Passage]) -> Result<Option<Grounding>> + Send + Sync>;

/// A bench that is ready to run.
pub(super) struct Bench {
    pub(super) header: RunHeader,
    /// The cells, each with its number in the run.
    pub(super) cells: Vec<(usize, CellParts)>,
    engines: Engines,
    contract: Contract,
    fields: AnswerFields,
    ground: Grounder,
    price: Option<Price>,
    hardware: HardwarePrice,
    safety: SafetyPolicy,
    max_tokens: usize,
    temperature: f64,
    embeds: bool,
    /// The server of the stand-in LLM; it ends with the bench.
    _stand_in: Option<StandIn>,
}

impl Bench {
    /// What of the requests to the LLM its endpoint did not accept.
    pub(super) fn llm_adjustments(&self) -> Vec<String> {
        self.engines.llm.adjustments()
    }

    /// Whether anything of it is embedded.
    pub(super) fn embeds(&self) -> bool {
        self.embeds
    }

    /// What all trials share.
    pub(super) fn judge<'a>(&'a self, clock: &'a Clock) -> Judge<'a> {
        Judge {
            engines: &self.engines,
            contract: &self.contract,
            fields: &self.fields,
            ground: &*self.ground,
            price: self.price.as_ref(),
            hardware: Some(&self.hardware),
            safety: &self.safety,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            clock,
        }
    }
}

/// The models of a run, on this machine.
pub(super) struct Weights {
    /// None where it is scripted.
    slm: Option<LocalModel>,
    /// The stand-in's.
    llm: Option<LocalModel>,
    /// None where nothing is embedded.
    encoder: Option<LocalModel>,
    /// Those of specialists and cascades, by the name that these give.
    named: BTreeMap<String, LocalModel>,
}

impl Weights {
    pub(super) fn slm_sha256(&self) -> Option<&str> {
        self.slm.as_ref().map(|model| &*model.sha256)
    }

    pub(super) fn llm_sha256(&self) -> Option<&str> {
        self.llm.as_ref().map(|model| &*model.sha256)
    }

    pub(super) fn encoder_sha256(&self) -> Option<&str> {
        self.encoder.as_ref().map(|model| &*model.sha256)
    }

    pub(super) fn named_sums(&self) -> impl Iterator<Item = (&str, &str)> {
        self.named.iter().map(|(name, model)| (name.as_str(), &*model.sha256))
    }
}

/// What is the same for every pair of models of a run.
pub(super) struct Setting<'a> {
    pub(super) device: &'a Device,
    pub(super) quiet: bool,
    pub(super) stop: &'a Arc<AtomicBool>,
    pub(super) clock: &'a Clock,
    /// What the LLM's calls may cost.
    pub(super) budget: Option<Arc<Budget>>,
    /// Whether vectors of texts are kept for who asks again; only where no time of them is a figure.
    pub(super) sharing: bool,
}

/// What one pair of models leaves to the next, so that it is loaded once.
#[derive(Default)]
pub(super) struct Loaded {
    /// The small model, by the hash of its weights.
    slm: Option<(String, Arc<dyn Engine>, Seconds)>,
    embed: Option<Arc<dyn Embed>>,
}

/// Whether anything of a run looks at vectors of texts.
fn embeds(resolved: &Resolved) -> bool {
    let searches = |kind: MemoryKind| !matches!(kind, MemoryKind::None | MemoryKind::Static);
    resolved.cells.iter().any(|cell| searches(cell.memory))
        || resolved.routers.iter().any(|router| router.kind == RouterKind::HybridSpecialist || router.fitted.is_some())
}

/// Finds the models, and fetches those that are not in the cache.
pub(super) fn obtain(resolved: &Resolved, quiet: bool) -> Result<Weights> {
    let store = Store::open(resolved.network)?;
    let slm = match &resolved.slm {
        Slm::Model(model) => Some(store.obtain(model, Kind::Gguf, quiet)?),
        Slm::Scripted { .. } => None,
    };
    let llm = match &resolved.llm {
        Llm::StandIn { model } => Some(store.obtain(model, Kind::Gguf, quiet)?),
        Llm::Endpoint { .. } | Llm::Cassette { .. } | Llm::Scripted { .. } => None,
    };
    let encoder = embeds(resolved).then(|| store.obtain(ENCODER, Kind::Encoder, quiet)).transpose()?;
    let mut named = BTreeMap::new();
    for name in resolved.named_models() {
        let model = store.obtain(&name, Kind::Gguf, quiet)?;
        named.insert(name, model);
    }
    Ok(Weights { slm, llm, encoder, named })
}

/// Loads the models, starts the stand-in where the user gave no endpoint, builds memory, routers and prompts, and warms
/// the engines.
pub(super) fn prepare(
    resolved: &Resolved,
    weights: &Weights,
    setting: &Setting<'_>,
    loaded: &mut Loaded,
    first_cell: usize,
) -> Result<Bench> {
    let Setting { device, quiet, stop, clock, .. } = *setting;
    let args = &resolved.args;
    let task = &resolved.task;
    let note = |text: &str| {
        if !quiet {
            output::note(text);
        }
    };
    resolved.notes.iter().for_each(|text| note(text));
    let contract = Contract::of_task(task)?;
    let threads = nn::threads();

    let loader = Loader {
        device,
        clock,
        stop,
        prefix_cache: args.prefix_cache == "on",
        prompt_lookup: args.prompt_lookup == "on",
    };
    let (slm, slm_load) = match (&weights.slm, &resolved.slm) {
        (Some(model), _) => {
            // One that another pair of models has had stays; another is given back before this one comes.
            drop(loaded.slm.take_if(|kept| kept.0 != model.sha256));
            let (_, slm, took) = if let Some(kept) = loaded.slm.take() {
                kept
            } else {
                note(&format!("loading {} on {}", model.name, device.name()));
                let start = clock.now();
                (model.sha256.clone(), loader.load(model)?, clock.since(start))
            };
            loaded.slm = Some((model.sha256.clone(), Arc::clone(&slm), took));
            (slm, Some(took))
        }
        (None, Slm::Scripted { path, .. }) => {
            loaded.slm = None;
            (Arc::new(Script::open(path, false, clock.clone(), Arc::clone(stop))?) as Arc<dyn Engine>, None)
        }
        (None, Slm::Model(model)) => return Err(anyhow!("the weights of {model} were not looked for; start again")),
    };
    if let (Some(encoder), None) = (&weights.encoder, &loaded.embed) {
        let embed: Arc<dyn Embed> = Arc::new(SentenceEncoder::load(&encoder.path, device)?);
        loaded.embed = Some(embed);
    }
    let embed =
        weights.encoder.as_ref().and_then(|encoder| Some((Arc::clone(loaded.embed.as_ref()?), &*encoder.sha256)));
    let mut named: BTreeMap<String, Arc<dyn Engine>> = BTreeMap::new();
    for (name, model) in &weights.named {
        note(&format!("loading {name}"));
        named.insert(name.clone(), loader.load(model)?);
    }
    check_stop(stop)?;

    let (llm, stand_in) = connect(resolved, weights.llm_sha256().map(str::to_owned), threads, setting)?;
    let engines = Engines { slm, llm, named };
    let memories = recollect(resolved, embed.as_ref(), &engines.slm, clock, note)?;
    let gate = memories.values().find_map(|one| one.memory.gate());
    let cells = (first_cell..).zip(build_cells(resolved, embed.as_ref(), &memories)?).collect();

    let left_out = if args.contract.contains(&ContractMode::Constrain) {
        prepare_grammar(&engines, &contract, note)?
    } else {
        BTreeMap::new()
    };
    note("warming up both models with the fixed part of the prompt");
    let mut warm = serde_json::Map::new();
    for (memory, Recollection { prompts, .. }) in &memories {
        warm.insert((*memory).to_owned(), warm_up(&engines, prompts, args.seed, clock)?);
        check_stop(stop)?;
    }

    let hybrid = resolved.routers.iter().any(|router| router.kind == RouterKind::HybridSpecialist);
    let routed = if hybrid { used_specialists(task, note) } else { Vec::new() };
    let routed: BTreeMap<_, _> =
        routed.iter().map(|s| (&s.domain, json!({"model": s.model, "prompt": s.prompt}))).collect();
    let routers: Vec<_> = resolved.routers.iter().map(RouterSpec::outline).collect();
    let sums: BTreeMap<_, _> = weights.named.iter().map(|(name, model)| (name, &model.sha256)).collect();
    let references: Vec<&String> = task.schema_references.iter().map(|(address, _)| address).collect();
    let settings = json!({
        "threshold": args.threshold, "max_repairs": args.max_repairs, "downshift": args.downshift,
        "retriever": args.retriever, "top_k": args.top_k, "token_budget": args.token_budget, "gate": gate,
        "max_tokens": args.max_tokens, "temperature": args.temperature, "prefix_cache": args.prefix_cache,
        "prompt_lookup": args.prompt_lookup,
        "cassette": args.cassette.as_ref().map(|path| path.display().to_string()), "max_cost_usd": args.max_cost_usd,
        "margin": args.margin, "max_failure_share": MAX_FAILURE_SHARE, "timeout_s": args.timeout,
        "encoder_sha256": weights.encoder.as_ref().map(|encoder| &encoder.sha256), "slm_load_s": slm_load, "warm_up": warm,
        "grammar_leaves_out": left_out, "answer_schema": task.schema,
        "answer_formats": task.schema_formats, "answer_references": references, "router": router_settings(args, task)?, "routers": routers,
        "specialists": routed, "named_sha256": sums, "notes": resolved.notes,
    });
    let samples = resolved.samples();
    let header = RunHeader {
        format: FORMAT,
        id: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args_os().map(|argument| without_secrets(&argument.to_string_lossy())).collect(),
        started_at: clock::utc_string(clock::unix_time()),
        finished_at: None,
        interrupted: false,
        aborted: None,
        llm_adjustments: Vec::new(),
        task: task.name.clone(),
        task_sha256: task.sha256.clone(),
        split: resolved.choice.split,
        samples: samples.iter().map(|sample| sample.query.id.clone()).collect(),
        labels: task.labels.len(),
        cells: resolved.cells.clone(),
        slm: engines.slm.info(),
        llm: engines.llm.info(),
        llm_is_stand_in: resolved.is_stand_in(),
        llm_price: resolved.price.clone(),
        hardware_price: Some(resolved.hardware.clone()),
        machine: machine(device.name(), threads),
        seed: args.seed,
        plan: None,
        models: Vec::new(),
        resumed_at: Vec::new(),
        settings,
    };
    let ground: Grounder = match embed {
        // Without passages there is nothing to be grounded in.
        None => Box::new(|_, _| Ok(None)),
        Some((embed, _)) => {
            let scorer = Support::new(if setting.sharing { Arc::new(KeptVectors::new(embed)) } else { embed });
            Box::new(move |answer, passages| scorer.score(answer, passages))
        }
    };
    Ok(Bench {
        header,
        cells,
        engines,
        contract,
        fields: answer_fields(task),
        ground,
        price: resolved.price.clone(),
        hardware: resolved.hardware.clone(),
        safety: router_settings(args, task)?.safety,
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        embeds: weights.encoder.is_some(),
        _stand_in: stand_in,
    })
}

fn check_stop(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::SeqCst) {
        return Err(Error::new(Interrupted("interrupted before the first sample: nothing was measured".to_owned())));
    }
    Ok(())
}

pub(super) fn answer_fields(task: &Task) -> AnswerFields {
    AnswerFields {
        labels: task.labels.iter().map(|label| label.name.clone()).collect(),
        label: task.label_field.clone(),
        answer: task.answer_field.clone(),
        citations: task.citations_field.clone(),
        needs_human: task.needs_human_field.clone(),
    }
}

/// Loads local models, all in the same way.
struct Loader<'a> {
    device: &'a Device,
    clock: &'a Clock,
    stop: &'a Arc<AtomicBool>,
    prefix_cache: bool,
    prompt_lookup: bool,
}

impl Loader<'_> {
    fn load(&self, model: &LocalModel) -> Result<Arc<dyn Engine>> {
        let options = LoadOptions {
            prefix_cache: self.prefix_cache,
            prompt_lookup: self.prompt_lookup,
            ..LoadOptions::default()
        };
        let loaded = LanguageModel::load(&model.path, self.device, &options)
            .with_context(|| format!("loading {} from {}", model.name, model.path.display()))?;
        let sha256 = Some(model.sha256.clone());
        let engine = LocalEngine::new(loaded, model.name.clone(), sha256, self.device.name(), self.clock.clone());
        Ok(Arc::new(engine.with_stop(Arc::clone(self.stop))))
    }
}

/// The LLM, always over HTTP: the user's endpoint, or this program's own server as a stand-in; or what was recorded of one.
/// Around it stand the recorder and the budget, where they are asked for.
fn connect(
    resolved: &Resolved,
    sha256: Option<String>,
    threads: usize,
    setting: &Setting<'_>,
) -> Result<(Arc<dyn Engine>, Option<StandIn>)> {
    let Setting { quiet, stop, clock, .. } = *setting;
    let args = &resolved.args;
    let time = Duration::from_secs_f64(args.timeout);
    let timeouts = Timeouts { total: time, first_byte: time, ..Timeouts::default() };
    let (options, stand_in) = match &resolved.llm {
        Llm::Endpoint { spec, .. } => (Some(spec.options(timeouts)?), None),
        Llm::StandIn { model } => {
            if !quiet {
                output::note(&format!(
                    "no LLM endpoint was given, so {model} on this machine stands in for it, over HTTP: its latency is \
                     not that of a remote API, and its price is taken from the row {} of the price table",
                    resolved.price.as_ref().map_or("(none)", |price| &price.name)
                ));
            }
            let child = StandIn::start(&StandInOptions {
                device: Some(args.device.to_string()),
                threads: Some(threads),
                prefix_cache: args.prefix_cache == "on",
                prompt_lookup: args.prompt_lookup == "on",
                offline: resolved.network.is_offline(),
                stop: Arc::clone(stop),
                ..StandInOptions::new(model)
            })?;
            let options =
                RemoteOptions { timeouts, stand_in: true, sha256, ..RemoteOptions::new(child.base_url(), model) };
            (Some(options), Some(child))
        }
        Llm::Cassette { .. } | Llm::Scripted { .. } => (None, None),
    };
    let mut engine: Arc<dyn Engine> = match (options, &resolved.llm) {
        (None, Llm::Cassette { path, model, .. }) => {
            Arc::new(Player::new(Cassette::open(path)?, Some(model), clock.clone())?)
        }
        (None, Llm::Scripted { path, .. }) => Arc::new(Script::open(path, true, clock.clone(), Arc::clone(stop))?),
        (None, _) => return Err(anyhow!("there is no LLM to connect to; start the run again")),
        (Some(options), _) => {
            let secrets = options.secrets();
            let engine: Arc<dyn Engine> =
                Arc::new(RemoteEngine::new(options, resolved.network, clock.clone(), Arc::clone(stop))?);
            match &args.record_cassette {
                Some(path) => Arc::new(Recorder::create(path, engine, secrets, stand_in.is_some())?),
                None => engine,
            }
        }
    };
    if let (Some(budget), Some(price)) = (&setting.budget, &resolved.price) {
        engine = Arc::new(Budgeted::new(engine, price.clone(), Arc::clone(budget)));
    }
    Ok((engine, stand_in))
}

/// Compiles the contract's grammar for each model, so that no measured trial pays for it, and says what it leaves out.
fn prepare_grammar(
    engines: &Engines,
    contract: &Contract,
    note: impl Fn(&str),
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut left_out = BTreeMap::new();
    for engine in [&engines.slm, &engines.llm].into_iter().chain(engines.named.values()) {
        let model = engine.info().model;
        let notes = engine.prepare(contract.grammar()).map_err(|error| anyhow!("{error}"))?;
        for what in &notes {
            note(&format!("{model}: not held while it generates, but checked at the end: {what}"));
        }
        if !notes.is_empty() {
            left_out.insert(model, notes);
        }
    }
    Ok(left_out)
}

/// One short call of each model, so that no measured trial pays for first touches of memory, connections and the fixed
/// prefix. It also finds out whether the endpoint answers at all. Its cost is kept beside the settings.
fn warm_up(engines: &Engines, prompts: &PromptBuilder, seed: u64, clock: &Clock) -> Result<Value> {
    let query = Query { id: "warm-up".to_owned(), input: "Hello".to_owned() };
    let request = Request {
        messages: prompts.messages(&query, &Retrieval::default(), None),
        max_tokens: 1,
        temperature: 0.0,
        seed,
        top_logprobs: 2,
        cache_scope: None,
        grammar: None,
    };
    let mut results = serde_json::Map::new();
    let pair =
        [("slm", &engines.slm), ("llm", &engines.llm)].into_iter().map(|(tier, engine)| (tier.to_owned(), engine));
    let named = engines.named.iter().map(|(name, engine)| (name.clone(), engine));
    for (name, engine) in pair.chain(named) {
        let start = clock.now();
        let completion = engine.complete(&request).map_err(|error| refused(&name, &error))?;
        let took: Seconds = clock.since(start);
        results.insert(name, json!({ "total_s": took, "ttft_s": completion.timing.ttft_s, "usage": completion.usage }));
    }
    Ok(Value::Object(results))
}

fn refused(name: &str, error: &EngineError) -> Error {
    match error.kind {
        crate::engine::FailureKind::Interrupted => {
            Error::new(Interrupted("interrupted before the first sample: nothing was measured".to_owned()))
        }
        _ => anyhow!("the {name} did not answer the first call, so nothing was measured: {}", error.message),
    }
}
