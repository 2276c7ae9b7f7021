//! Everything that a run of `bench` needs, loaded and warm: models, stand-in, memory, routers, prompts.

use super::bench::BenchArgs;
use super::memory::{self as memory_limit, LEAST_CONTEXT, Room, Wanted};
use super::output;
use super::pulse::Pulse;
use super::setup::{Llm, Resolved};
use crate::clock::{self, Clock};
use crate::contract::{Contract, ContractMode};
use crate::device::{Energy, EnergySource, Meter, Roots};
use crate::engine::{
    Apart, Cassette, Engine, EngineError, EngineInfo, LocalEngine, Player, Recorder, RemoteEngine, RemoteOptions,
    Request, Timeouts, without_secrets,
};
use crate::error::{Context, Error, Interrupted, Result, anyhow};
use crate::grid::{CellParts, Judge};
use crate::memory::{self, Embed, Memory, MemoryParts, MemorySpec, Passage, Retrieval};
use crate::metrics::grounding::{Grounding, Scorer, Support};
use crate::metrics::{Budget, Budgeted};
use crate::models::{ENCODER, Kind, LocalModel, Store};
use crate::nn::{self, Device, LanguageModel, SentenceEncoder};
use crate::record::{FORMAT, HardwarePrice, Price, RunHeader, machine};
use crate::router::{self, ClassifierKind, DomainClassifier, RouterKind, RouterParts, RouterSettings, RouterSpec};
use crate::safety::SafetyPolicy;
use crate::serve::{StandIn, StandInOptions};
use crate::task::{Label, Query, Specialist, Split, Task};
use crate::trial::{AnswerFields, Engines, PromptBuilder};
use crate::units::{Seconds, Usd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Share of failed trials above which a cell is not judged.
const MAX_FAILURE_SHARE: f64 = 0.1;

/// Train samples of each label that the domain classifier learns from, at most: embedding thousands would hold up the
/// start for minutes.
const CLASSIFIER_EXAMPLES: usize = 64;

/// Groundedness of an answer in passages; `None` is not applicable.
type Grounder = Box<dyn Fn(&str, &[Passage]) -> Result<Option<Grounding>>>;

/// A bench that is ready to run.
pub(super) struct Bench {
    pub(super) header: RunHeader,
    pub(super) cells: Vec<CellParts>,
    engines: Engines,
    contract: Contract,
    fields: AnswerFields,
    ground: Grounder,
    price: Option<Price>,
    hardware: HardwarePrice,
    energy: Energy,
    pulse: Pulse,
    safety: SafetyPolicy,
    max_tokens: usize,
    temperature: f64,
    /// The server of the stand-in LLM; it ends with the bench.
    _stand_in: Option<StandIn>,
}

impl Bench {
    /// What of the requests to the LLM its endpoint did not accept.
    pub(super) fn llm_adjustments(&self) -> Vec<String> {
        self.engines.llm.adjustments()
    }

    /// What the run's energy was counted with.
    pub(super) fn energy(&self) -> EnergySource {
        self.energy.source()
    }

    /// How much longer the same call of the SLM takes now than before the first trial.
    pub(super) fn drift(&self, clock: &Clock) -> Option<f64> {
        self.pulse.drift(clock)
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
            energy: &self.energy,
            safety: &self.safety,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            clock,
        }
    }
}

/// The models of a run, on this machine.
pub(super) struct Weights {
    slm: LocalModel,
    /// The stand-in's.
    llm: Option<LocalModel>,
    encoder: LocalModel,
    /// Those of specialists and cascades, by the name that these give.
    named: BTreeMap<String, LocalModel>,
}

impl Weights {
    /// The memory of the models that this process loads, the SLM's first.
    fn needs(&self) -> Result<Vec<memory_limit::Need>> {
        std::iter::once(&self.slm).chain(self.named.values()).map(memory_limit::need).collect()
    }
}

/// Finds the models, and fetches those that are not in the cache.
pub(super) fn obtain(resolved: &Resolved, quiet: bool) -> Result<Weights> {
    let store = Store::open(resolved.network)?;
    let slm = store.obtain(&resolved.slm, Kind::Gguf, quiet)?;
    let llm = match &resolved.llm {
        Llm::StandIn { model } => Some(store.obtain(model, Kind::Gguf, quiet)?),
        Llm::Endpoint { .. } | Llm::Cassette { .. } => None,
    };
    let encoder = store.obtain(ENCODER, Kind::Encoder, quiet)?;
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
    device: &Device,
    quiet: bool,
    stop: &Arc<AtomicBool>,
    clock: &Clock,
) -> Result<Bench> {
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

    let needs = weights.needs()?;
    let beside = memory_limit::encoder_bytes(&weights.encoder.path);
    let wanted = Wanted { context: None, cached: LEAST_CONTEXT, prefix_cache: args.prefix_cache == "on", beside };
    let rooms = memory_limit::divide(args.memory_limit, wanted, &needs, &Store::open(resolved.network)?)?;
    let shared_out = rooms.clone();
    note(&format!("loading {} on {}", weights.slm.name, device.name()));
    let start = clock.now();
    let loader = Loader {
        device,
        clock,
        stop,
        prefix_cache: args.prefix_cache == "on",
        prompt_lookup: args.prompt_lookup == "on",
    };
    let mut rooms = rooms.into_iter();
    let slm = loader.load(&weights.slm, rooms.next().unwrap_or_default())?;
    let slm_load = clock.since(start);
    let embed: Arc<dyn Embed> = Arc::new(SentenceEncoder::load(&weights.encoder.path, device)?);
    let mut named: BTreeMap<String, Arc<dyn Engine>> = BTreeMap::new();
    for (name, model) in &weights.named {
        note(&format!("loading {name}"));
        named.insert(name.clone(), loader.load(model, rooms.next().unwrap_or_default())?);
    }
    let memory = memory_limit::recorded(args.memory_limit, beside, &needs, &shared_out);
    check_stop(stop)?;

    let gpu = (!device.is_cpu()).then(|| device.name());
    let meter = Arc::new(Meter::open(&Roots::of_machine(), gpu.as_deref()));
    let (mut llm, stand_in) = connect(resolved, threads, stop, clock, quiet)?;
    if stand_in.is_some() {
        llm = Arc::new(Apart::new(llm, Arc::clone(&meter)));
    }
    let engines = Engines { slm, llm, named };
    let memories = recollect(resolved, &embed, &weights.encoder.sha256, &engines.slm, clock, note)?;
    let gate = memories.values().find_map(|one| one.memory.gate());
    let cells = build_cells(resolved, &embed, &weights.encoder.sha256, &memories)?;

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

    let prompts = &memories.values().next().context("a run without a memory has no prompts")?.prompts;
    let pulse = Pulse::start(Arc::clone(&engines.slm), warm_up_request(prompts, args.seed), clock);
    let energy = measure_idle(resolved, meter, clock, note);

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
        "encoder_sha256": weights.encoder.sha256, "slm_load_s": slm_load, "warm_up": warm,
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
        split: args.split,
        samples: samples.iter().map(|sample| sample.query.id.clone()).collect(),
        labels: task.labels.len(),
        cells: resolved.cells.clone(),
        slm: engines.slm.info(),
        llm: EngineInfo { sha256: weights.llm.as_ref().map(|model| model.sha256.clone()), ..engines.llm.info() },
        llm_is_stand_in: resolved.is_stand_in(),
        llm_price: resolved.price.clone(),
        hardware_price: Some(resolved.hardware.clone()),
        memory: Some(memory),
        steadiness: None,
        energy: energy.source(),
        machine: machine(device.name(), threads),
        seed: args.seed,
        settings,
    };
    let scorer = Support::new(embed);
    let ground: Grounder = Box::new(move |answer, passages| scorer.score(answer, passages));
    Ok(Bench {
        header,
        cells,
        engines,
        contract,
        fields: answer_fields(task),
        ground,
        price: resolved.price.clone(),
        hardware: resolved.hardware.clone(),
        energy,
        pulse,
        safety: router_settings(args, task)?.safety,
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        _stand_in: stand_in,
    })
}

/// Watches the loaded machine at rest, where it has counters; a run whose times are a recording's has no energy of its own.
fn measure_idle(resolved: &Resolved, meter: Arc<Meter>, clock: &Clock, note: impl Fn(&str)) -> Energy {
    if resolved.args.cassette.is_some() {
        return Energy::none("the LLM's answers come from a cassette, so that no energy was spent on them");
    }
    if meter.reason().is_none() {
        note("measuring the power of the resting machine");
    }
    Energy::start(meter, resolved.args.watts, clock)
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
    fn load(&self, model: &LocalModel, room: Room) -> Result<Arc<dyn Engine>> {
        let options = room.options(self.prefix_cache, self.prompt_lookup);
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
    threads: usize,
    stop: &Arc<AtomicBool>,
    clock: &Clock,
    quiet: bool,
) -> Result<(Arc<dyn Engine>, Option<StandIn>)> {
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
            let options = RemoteOptions { timeouts, stand_in: true, ..RemoteOptions::new(child.base_url(), model) };
            (Some(options), Some(child))
        }
        Llm::Cassette { .. } => (None, None),
    };
    let mut engine: Arc<dyn Engine> = match (options, &resolved.llm) {
        (None, Llm::Cassette { path, model, .. }) => {
            Arc::new(Player::new(Cassette::open(path)?, Some(model), clock.clone())?)
        }
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
    if let (Some(most), Some(price)) = (args.max_cost_usd, &resolved.price) {
        engine = Arc::new(Budgeted::new(engine, price.clone(), Arc::new(Budget::new(Usd(most)))));
    }
    Ok((engine, stand_in))
}

/// A memory, and the prompts that hold its fixed text.
struct Recollection {
    memory: Arc<dyn Memory>,
    prompts: Arc<PromptBuilder>,
}

/// The folder below which indexes are kept; `None` where the user has no cache folder.
pub(super) fn index_store() -> Option<PathBuf> {
    let set = std::env::var_os("ROUTERGYM_INDEX").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| dirs::cache_dir().map(|caches| caches.join("routergym-local").join("indexes")))
}

/// The memories of the run's cells, by name.
fn recollect(
    resolved: &Resolved,
    embed: &Arc<dyn Embed>,
    encoder_sha256: &str,
    slm: &Arc<dyn Engine>,
    clock: &Clock,
    note: impl Fn(&str),
) -> Result<BTreeMap<&'static str, Recollection>> {
    let args = &resolved.args;
    let counter = Arc::clone(slm);
    let parts = MemoryParts {
        embed: Some(Arc::clone(embed)),
        encoder_sha256: encoder_sha256.to_owned(),
        count_tokens: Arc::new(move |messages| {
            counter.prompt_tokens(messages).unwrap_or_else(|| memory::about_tokens(messages))
        }),
        indexes: index_store(),
        clock: clock.clone(),
    };
    let mut found = BTreeMap::new();
    for kind in resolved.cells.iter().map(|cell| cell.memory) {
        if !found.contains_key(kind.name()) {
            let spec = MemorySpec {
                kind,
                retriever: args.retriever,
                top_k: args.top_k,
                token_budget: args.token_budget,
                gate: args.gate,
            };
            let memory = memory::build(&spec, &resolved.task, &parts, &mut |text| note(text))?;
            let memory: Arc<dyn Memory> = Arc::from(memory);
            let prompts = Arc::new(PromptBuilder::new(&resolved.task, memory.fixed_text()));
            found.insert(kind.name(), Recollection { memory, prompts });
        }
    }
    Ok(found)
}

fn build_cells(
    resolved: &Resolved,
    embed: &Arc<dyn Embed>,
    encoder_sha256: &str,
    memories: &BTreeMap<&'static str, Recollection>,
) -> Result<Vec<CellParts>> {
    let args = &resolved.args;
    let task = &resolved.task;
    let settings = router_settings(args, task)?;
    let specialists = used_specialists(task, |_| ());
    let mut cells = Vec::new();
    for cell in &resolved.cells {
        let spec = resolved.routers.iter().find(|router| router.name() == cell.router_name());
        let spec = spec.context("a cell names a router that was not read")?;
        let own = spec.settings(&settings);
        let classifier = match spec.kind {
            RouterKind::HybridSpecialist => Some(classifier(task, own.classifier, embed)?),
            _ => None,
        };
        let embed = Some((Arc::clone(embed), encoder_sha256));
        let parts = RouterParts { specialists: &specialists, classifier, embed, seed: cell.seed };
        let Recollection { memory, prompts } =
            memories.get(cell.memory.name()).context("a cell names a memory that was not built")?;
        cells.push(CellParts {
            cell: cell.clone(),
            router: router::build(spec, &settings, parts)?,
            confidence: own.confidence,
            memory: Arc::clone(memory),
            prompts: Arc::clone(prompts),
        });
    }
    Ok(cells)
}

/// The routers' settings; the safety policy among them, the task's with the flags over it, is the trial's too.
pub(super) fn router_settings(args: &BenchArgs, task: &Task) -> Result<RouterSettings> {
    let mut safety = SafetyPolicy::of_task(task)?;
    args.safety.iter().try_for_each(|text| safety.set_from_text(text))?;
    Ok(RouterSettings {
        confidence: args.confidence,
        threshold: args.threshold,
        max_repairs: args.max_repairs,
        safety,
        downshift_max_chars: args.downshift,
        classifier: args.classifier,
        ..RouterSettings::default()
    })
}

/// The task's specialists. Where it names none, the SLM with the task's own prompt is the specialist of every domain that
/// the classifier can learn: a table of labels alone can then be benched under every router, and the user is told.
fn used_specialists(task: &Task, note: impl Fn(&str)) -> Vec<Specialist> {
    if !task.specialists.is_empty() {
        return task.specialists.clone();
    }
    note(
        "task.toml names no specialist: hybrid-specialist gives each domain that its classifier is sure of to the SLM",
    );
    let taught =
        |label: &&Label| task.split(Split::Train).any(|sample| sample.target.label.as_ref() == Some(&label.name));
    let of = |label: &Label| Specialist { domain: label.name.clone(), model: None, prompt: None };
    task.labels.iter().filter(taught).map(of).collect()
}

/// The classifier of the domains, trained on the train split alone.
fn classifier(task: &Task, kind: ClassifierKind, embed: &Arc<dyn Embed>) -> Result<DomainClassifier> {
    let mut of_label: BTreeMap<&str, usize> = BTreeMap::new();
    let mut examples: Vec<(String, String)> = Vec::new();
    for sample in task.split(Split::Train) {
        let Some(label) = &sample.target.label else { continue };
        let count = of_label.entry(label).or_default();
        *count += 1;
        if *count <= CLASSIFIER_EXAMPLES {
            examples.push((sample.query.input.clone(), label.clone()));
        }
    }
    DomainClassifier::train(kind, &examples, Arc::clone(embed))
        .context("training the domain classifier of hybrid-specialist on the train split")
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

fn warm_up_request(prompts: &PromptBuilder, seed: u64) -> Request {
    let query = Query { id: "warm-up".to_owned(), input: "Hello".to_owned() };
    Request {
        messages: prompts.messages(&query, &Retrieval::default(), None),
        max_tokens: 1,
        temperature: 0.0,
        seed,
        top_logprobs: 2,
        cache_scope: None,
        grammar: None,
    }
}

/// One short call of each model, so that no measured trial pays for first touches of memory, connections and the fixed
/// prefix. It also finds out whether the endpoint answers at all. Its cost is kept beside the settings.
fn warm_up(engines: &Engines, prompts: &PromptBuilder, seed: u64, clock: &Clock) -> Result<Value> {
    let request = warm_up_request(prompts, seed);
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
